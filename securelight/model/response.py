"""An answer: status, fields, body. Framing (lengths, chunking, connection control) belongs to the protocol adapters.

`fields` never holds content-length, transfer-encoding, connection, date or server: the adapter writes those.
"""

from __future__ import annotations

import http
from typing import TYPE_CHECKING, Any

from securelight.model.body import AsyncBody, Body, FileSlice

if TYPE_CHECKING:
    from securelight.model.headers import Field, Fields

FRAMING_FIELDS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"date",
                            b"server", b"proxy-connection"})  # fmt: skip
"""What a handler may not put into `fields`; apps that try are corrected by their handler."""

BODYLESS_STATUSES = frozenset({204, 205, 304})
"""Final statuses whose responses have no content (RFC 9110, sections 15.3.5, 15.3.6, 15.4.5)."""


def _length_of(body: Body) -> int | None:
    if isinstance(body, bytes):
        return len(body)
    if isinstance(body, AsyncBody):
        return None
    return body.length


class Response:
    """One final response.

    Args:
        status: 200 to 599.
        fields: pairs of (lower-case name, value), without those of FRAMING_FIELDS.
        body: what follows the head. For HEAD it may be given as for GET: it is not sent, and its length is announced.
        content_length: announced length; by default that of the body, None (chunked, or until the end of the stream)
            for an AsyncBody that does not know it.
        shared: True for a response that is sent many times (a cached file): adapters then keep its serialised head in
            `heads` for as long as the Date stays the same.
        serialised: that of another response with the same status, fields and length but not the same body, to share.

    Attributes:
        heads: what is kept of a shared response, by whoever made it of the response; None if it is not shared.
        serialised: what adapters keep of the head alone: `heads` for a shared response, that of others with the same
            head if they share it, otherwise None.
    """

    __slots__ = ("body", "content_length", "fields", "heads", "serialised", "status")

    def __init__(
        self,
        status: int,
        fields: Fields = (),
        body: Body = b"",
        *,
        content_length: int | None = None,
        shared: bool = False,
        serialised: dict[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.content_length = _length_of(body) if content_length is None else content_length
        self.heads: dict[str, Any] | None = {} if shared else None
        self.serialised = serialised if serialised is not None else self.heads

    def with_fields(self, *extra: Field) -> Response:
        """A copy with `extra` fields after the present ones."""
        return Response(self.status, (*self.fields, *extra), self.body, content_length=self.content_length)

    def release(self) -> None:
        """Give back the open files of a body that will not be sent."""
        body = self.body
        if isinstance(body, FileSlice):
            body.file.release()
        elif not isinstance(body, (bytes, AsyncBody)):
            for part in body.parts:
                if isinstance(part, FileSlice):
                    part.file.release()

    def __repr__(self) -> str:
        return f"<Response {self.status}, {self.content_length} bytes>"


def reason_phrase(status: int) -> str:
    """The reason phrase of RFC 9110, or `Unknown` (HTTP/1.1 status lines; clients ignore it)."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
