"""Writes HTTP/1.1 responses: head lines, body framing, and the bytes that wait to be sent.

Owns: what a response head says about its framing, and that no field of ours can break out of its line. Both HTTP/1
adapters write through here, so their answers are the same to the byte.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from securelight.model.dates import current_date
from securelight.model.response import BODYLESS_STATUSES, FRAMING_FIELDS, reason_phrase
from securelight.protocol.adapter import SERVER_FIELD

if TYPE_CHECKING:
    from securelight.model.headers import Fields
    from securelight.model.response import Response

NO_BODY, WITH_LENGTH, CHUNKED, UNTIL_CLOSE = range(4)
"""How the end of a response body is told (RFC 9112, section 6.3)."""

_FIELD_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++: [\t -~\x80-\xff]*+\r\n)*+")
_SERVER_LINE = b"server: " + SERVER_FIELD + b"\r\n"
_JOIN_BYTES = 65_536
"""A body up to this size is joined to its head at once, so that both leave in one write."""


def field_lines(fields: Fields) -> bytes:
    """`fields` as the lines of a head or a trailer section.

    Errors: ValueError for a name or value that cannot be written on one line (CR, LF, NUL, other controls), and for
    fields that only an adapter may write. It is our own fault, or a handler's, never the client's.
    """
    for name, _ in fields:
        if name in FRAMING_FIELDS:
            raise ValueError(f"the field {name!r} is written by the protocol adapter alone")
    lines = b"".join([name + b": " + value + b"\r\n" for name, value in fields])
    if not _FIELD_LINES.fullmatch(lines) or lines.count(b"\n") != len(fields):
        raise ValueError("a response field is malformed")
    return lines


@functools.cache
def _status_line(status: int) -> bytes:
    """Kept for each of the 400 final statuses."""
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is not the status of a final response")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason_phrase(status).encode("ascii"))


def response_head(response: Response, framing: int, length: int | None, *, close: bool) -> bytes:
    """The head of `response`, its empty line included.

    Args:
        framing: NO_BODY, WITH_LENGTH, CHUNKED or UNTIL_CLOSE.
        length: what content-length announces; None leaves it out.
        close: say that the connection closes after it.

    Errors: ValueError, see `field_lines`, and for a status that is not final.
    """
    parts = [_status_line(response.status), field_lines(response.fields)]
    if length is not None:
        parts.append(b"content-length: %d\r\n" % length)
    elif framing == CHUNKED:
        parts.append(b"transfer-encoding: chunked\r\n")
    parts += (b"date: ", current_date(), b"\r\n", _SERVER_LINE)
    parts.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    return b"".join(parts)


def upgrade_head(protocol: bytes, fields: Fields) -> bytes:
    """The 101 that switches to `protocol` (RFC 9110, section 15.2.2), its empty line included.

    Errors: ValueError, see `field_lines`.
    """
    return b"".join(
        (
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ", protocol, b"\r\n",
            field_lines(fields),
            b"date: ", current_date(), b"\r\n", _SERVER_LINE, b"\r\n",
        )
    )  # fmt: skip


def shared_head(response: Response, *, close: bool) -> bytes:
    """`response_head` of a shared response with a length, kept for as long as the Date stays the same."""
    heads = response.serialised
    assert heads is not None
    key = "http1-close" if close else "http1"
    kept = heads.get(key)
    date = current_date()
    if kept is not None and kept[0] is date:
        head: bytes = kept[1]
        return head
    head = response_head(response, WITH_LENGTH, response.content_length, close=close)
    heads[key] = (date, head)
    return head


def choose_framing(response: Response, method: str, *, chunks: bool, whole: int | None) -> tuple[int, int | None]:
    """(framing, announced length) of `response` to a request with `method`.

    Args:
        chunks: the client understands chunked bodies.
        whole: the size of the body if all of it is at hand.
    """
    status = response.status
    length = response.content_length
    if status in BODYLESS_STATUSES:
        return NO_BODY, 0 if status == 205 else None
    if method == "HEAD":
        return NO_BODY, length
    if length is None:
        length = whole
    if length is not None:
        return WITH_LENGTH, length
    return (CHUNKED if chunks else UNTIL_CLOSE), None


class OutputQueue:
    """Bytes that wait for `take`; `queued_bytes` counts them."""

    __slots__ = ("_parts", "queued_bytes")

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self.queued_bytes = 0

    def put(self, data: bytes | memoryview) -> None:
        """Queue `data`."""
        self._parts.append(data)
        self.queued_bytes += len(data)

    def put_head(self, head: bytes, data: bytes) -> None:
        """Queue a response head and the body bytes at hand."""
        if len(data) <= _JOIN_BYTES:
            joined = head + data
            self._parts.append(joined)
            self.queued_bytes += len(joined)
        else:
            self.put(head)
            self.put(data)

    def take(self, limit: int) -> bytes | memoryview:
        """Up to `limit` bytes, taken out."""
        parts = self._parts
        if self.queued_bytes <= limit:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            self.queued_bytes = 0
            return data
        taken: list[bytes | memoryview] = []
        room = limit
        number = 0
        while room > 0:
            part = parts[number]
            if len(part) > room:
                view = memoryview(part)
                taken.append(view[:room])
                parts[number] = view[room:]
                break
            taken.append(part)
            room -= len(part)
            number += 1
        del parts[:number]
        self.queued_bytes -= limit
        return b"".join(taken)

    def clear(self) -> None:
        """Forget all of it."""
        self._parts.clear()
        self.queued_bytes = 0
