"""A stored file as a representation: the fields that go with it, and its 200, 206 and 304 answers.

A file in memory has one Response that is sent again and again (its head is serialised once a second by the adapters);
a large one gets a new Response each time, which holds the open file until it is sent.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from securelight.files.byte_range import parse_range
from securelight.files.preconditions import CONDITIONAL_NAMES, evaluate, range_applies
from securelight.model.body import FileSlice, Parts
from securelight.model.errors import Refusal
from securelight.model.response import Response

if TYPE_CHECKING:
    from securelight.files.stored_file import StoredFile
    from securelight.model.body import Body
    from securelight.model.headers import Fields
    from securelight.model.request import Request

REPRESENTATION_OVERHEAD_BYTES = 2_048
"""What a representation takes beside the content: fields, answers, and the heads that adapters and filters keep with
them. Measured, with an entry's own: 2.0 kB bare, 3.1 kB with two filters and two adapters, and 1.4 kB for each sibling.
Without it, 100,000 tiny files would take 300 MB past the bound of the cache."""

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_ACCEPT_RANGES = (b"accept-ranges", b"bytes")


class Representation:
    """One file in one content coding.

    Args:
        stored: the file.
        content_type: of what is inside the coding.
        coding: its Content-Encoding; empty for identity.
        varies: fields that belong on the answer whatever its status: Vary, Cache-Control.
    """

    __slots__ = ("_content_type", "_fields", "_whole", "not_modified", "stored")

    def __init__(self, stored: StoredFile, content_type: bytes, coding: bytes = b"", varies: Fields = ()) -> None:
        self.stored = stored
        self._content_type = content_type
        validators = ((b"etag", stored.etag), (b"last-modified", stored.last_modified))
        self._fields: Fields = (
            *validators,
            *(((b"content-encoding", coding),) if coding else ()),
            *varies,
            _NOSNIFF,
        )
        whole_fields = ((b"content-type", content_type), _ACCEPT_RANGES, *self._fields)
        # Without content in memory this answers HEAD only.
        self._whole = Response(200, whole_fields, stored.content or b"", content_length=stored.size, shared=True)
        self.not_modified = Response(304, (*validators, *varies), shared=True)

    @property
    def shared(self) -> Response | None:
        """The one 200 answer for GET and HEAD, if the file is in memory."""
        return None if self.stored.content is None else self._whole

    def answer(self, request: Request, ranges_limit: int) -> Response:
        """The answer to a GET or HEAD, by its preconditions and ranges (RFC 9110, sections 13 and 14).

        Errors: Refusal 412 and 416.
        """
        headers = request.headers
        if headers.isdisjoint(CONDITIONAL_NAMES):
            return self.whole(request.method)
        stored = self.stored
        status = evaluate(headers, stored.etag, stored.modified_seconds)
        if status == 304:
            return self.not_modified
        if status == 412:
            raise Refusal(412, "The file is not in the state that the request asks for.")
        range_value = headers.get(b"range")
        if (
            range_value is not None
            and request.method == "GET"
            and range_applies(headers, stored.etag, stored.modified_seconds)
        ):
            ranges = parse_range(range_value, stored.size, ranges_limit)
            if ranges:
                return self.part(ranges)
            if ranges is not None:
                raise Refusal(
                    416,
                    f"The file has {stored.size} bytes.",
                    fields=((b"content-range", b"bytes */%d" % stored.size),),
                )
        return self.whole(request.method)

    def whole(self, method: str) -> Response:
        """The 200 answer."""
        if self.stored.content is not None or method == "HEAD":
            return self._whole
        return Response(200, self._whole.fields, self._slice(0, self.stored.size))

    def part(self, ranges: tuple[tuple[int, int], ...]) -> Response:
        """The 206 answer with `ranges`, (start, end) pairs inside the file, at least one."""
        size = self.stored.size
        if len(ranges) == 1:
            start, end = ranges[0]
            fields = (
                (b"content-type", self._content_type),
                (b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)),
                *self._fields,
            )
            return Response(206, fields, self._slice(start, end))
        boundary = secrets.token_hex(16).encode()
        parts: list[bytes | FileSlice] = []
        for start, end in ranges:
            parts.append(
                b"\r\n--%b\r\ncontent-type: %b\r\ncontent-range: bytes %d-%d/%d\r\n\r\n"
                % (boundary, self._content_type, start, end - 1, size)
            )
            parts.append(self._slice(start, end))
        parts.append(b"\r\n--%b--\r\n" % boundary)
        body: Body = Parts(tuple(parts))
        if self.stored.content is not None:
            body = b"".join(part for part in parts if isinstance(part, bytes))
        return Response(206, ((b"content-type", b"multipart/byteranges; boundary=" + boundary), *self._fields), body)

    def _slice(self, start: int, end: int) -> bytes | FileSlice:
        content, file = self.stored.content, self.stored.file
        if content is not None:
            return content[start:end]
        assert file is not None
        return FileSlice(file.acquire(), start, end - start)
