"""The head of a response as CGI writes it (RFC 3875, section 6), read strictly.

Refused: heads without an end, larger or with more fields than the limits say, names and values that no field may have,
two Status fields or lengths, statuses below 200, and heads that say nothing at all. A Location without a Status is a
302 for the client, unless it is a local path and the only field: then the server itself is to answer with what is
there (section 6.2.2).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from securelight.model.application_fields import checked_head

if TYPE_CHECKING:
    from securelight.model.headers import Field
    from securelight.model.limits import Limits

_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/(?:1\.[01]|2(?:\.0)?) (.*)")
"""Programs give back the SERVER_PROTOCOL that they were told."""
_STATUS_LINE_BYTES = 1024
_LOCAL = re.compile(rb"/(?!/)[\x21-\x7e]*")
_STATUS = re.compile(rb"([2-5][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")


class CgiHead:
    """A head.

    Attributes:
        status: 200 to 599.
        fields: without those of the framing, and without Status.
        length: announced; None without.
        redirect: the path and query of a local redirect; empty for any other answer.
    """

    __slots__ = ("fields", "length", "redirect", "status")

    def __init__(self, status: int, fields: list[Field], length: int | None, redirect: bytes = b"") -> None:
        self.status = status
        self.fields = fields
        self.length = length
        self.redirect = redirect


class StatusLine:
    """Makes a Status field of the line that begins a whole HTTP response, as programs write it that parse no header
    (RFC 3875, section 5) and those behind uwsgi.

    Attributes:
        whole: the line has come; `feed` gives back what it gets.
    """

    __slots__ = ("_line", "whole")

    def __init__(self) -> None:
        self._line = b""
        self.whole = False

    def feed(self, data: bytes) -> bytes:
        """`data` with the line replaced; b"" until it has come.

        Errors: ValueError for what begins like no response.
        """
        if self.whole:
            return data
        self._line += data
        line, end, rest = self._line.partition(b"\n")
        if not end and len(line) <= _STATUS_LINE_BYTES:
            return b""
        match = _STATUS_LINE.fullmatch(line.removesuffix(b"\r"))
        if match is None or len(line) > _STATUS_LINE_BYTES:
            raise ValueError(f"the status line {line[:40]!r}")
        self.whole = True
        self._line = b""
        return b"Status: " + match[1] + b"\r\n" + rest


def split_head(data: bytes | bytearray, limits: Limits) -> tuple[CgiHead, bytes] | None:
    """(the head, what follows it), None while it is not whole.

    Errors: ValueError for what is no head.
    """
    end = _END.search(data, 0, limits.upstream_head_bytes + 4)
    if end is None or end.start() > limits.upstream_head_bytes:
        if len(data) > limits.upstream_head_bytes:
            raise ValueError(f"a head of more than {limits.upstream_head_bytes} bytes")
        return None
    return _parse(bytes(data[: end.start()]), limits), bytes(data[end.end() :])


def _parse(head: bytes, limits: Limits) -> CgiHead:
    pairs: list[tuple[bytes, bytes]] = []
    status = 0
    location = b""
    lines = head.split(b"\n")
    if len(lines) > limits.upstream_fields:
        raise ValueError(f"more than {limits.upstream_fields} fields")
    for line in lines:
        name, colon, value = line.removesuffix(b"\r").partition(b":")
        if not colon:
            raise ValueError(f"the line {line[:40]!r} in the head is no field")
        lower = name.lower()
        if lower == b"status":
            match = _STATUS.fullmatch(value.strip(b" \t"))
            if match is None or status:
                raise ValueError(f"the status {value[:40]!r}")
            status = int(match[1])
            continue
        if lower == b"transfer-encoding":
            raise ValueError("a Transfer-Encoding")
        if lower == b"location":
            if location:
                raise ValueError("two locations")
            location = value.strip(b" \t")
        pairs.append((name, value))
    fields, length = checked_head(pairs)
    if not status:
        if not location and not any(name == b"content-type" for name, _value in fields):
            raise ValueError("neither Content-Type nor Location nor Status")
        if location and len(lines) == 1 and _LOCAL.fullmatch(location):
            return CgiHead(302, fields, length, location)
        status = 302 if location else 200
    return CgiHead(status, fields, length)
