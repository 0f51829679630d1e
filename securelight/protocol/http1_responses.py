"""Reads the HTTP/1.1 responses of one upstream connection, and writes the requests that they answer. No waiting.

As strict as http1_guard is with requests, for the same reason: a body whose end two readers could see in two places
would put bytes of one client's response into another's. So: CRLF only, one Content-Length or one `chunked` and never
both (RFC 9112, section 6.3), chunk lines as the grammar has them, no folded lines. Bytes behind the end of a response
are never read as a next one: nothing was asked for yet, so the connection is `reusable` no more.

Refused: transfer codings other than `chunked` (none was asked for), 101 without a request to upgrade, HTTP/0.9.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from securelight.model.errors import StreamFault
from securelight.protocol.request_head import checked_trailers
from securelight.protocol.response_head import ResponseFault, ResponseHead

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits

INTERIM_RESPONSES = 16
"""1xx before one final response; real servers send one or two."""

_TCHAR = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_TEXT = rb"[\t -~\x80-\xff]"
_FIELD_LINES = rb"(?:" + _TCHAR + rb"++:" + _TEXT + rb"*+\r\n)*+"
_HEAD = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: " + _TEXT + rb"*+)?\r\n(" + _FIELD_LINES + rb")\r\n")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;" + _TEXT + rb"*+|[ \t]*+)\r\n")
_TRAILER_LINES = re.compile(_FIELD_LINES)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_BINDS_CONNECTION = re.compile(rb"(?i:ntlm|negotiate)\b")
"""Schemes that log a connection in rather than a request: the next client on it would be the one before."""
_BEGINNING = b"HTTP/1."
_DECIDING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"www-authenticate"})
"""Fields that say something of the framing or of the connection."""
_FIELD = re.compile(rb"([^:]++):([^\r]*+)\r\n")
"""Of lines that have the right syntax."""
_CHUNK_SIZE_DIGITS = 16

HEADS_KEPT = 128
"""Of responses that came before: servers repeat theirs to the byte, but for the date, within its second."""
HEAD_BYTES = 1024
_NOT_KEPT = frozenset({b"set-cookie", b"authentication-info"})

_known: dict[Limits, dict[bytes, ResponseHead]] = {}
"""Heads with a length that were found right; the verdict rests on their bytes and the limits alone."""


class Http1Responses:
    """The responses of one connection, one after the other.

    Args:
        limits: for the sizes of heads, trailers and chunk lines.

    Attributes:
        whole: the response is complete.
        trailers: of a chunked response, once it is whole.
        touched: something of the response has come.
    """

    __slots__ = (
        "_chunk_left", "_chunked", "_crlf_due", "_data_bytes", "_held", "_interim", "_known",
        "_last_chunk_seen", "_left", "_limits", "_method", "_overhead_bytes", "_persistent", "_rest", "_searched",
        "_until_close", "touched", "trailers", "whole",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known = _known.setdefault(limits, {})
        self._held = bytearray()
        self._rest = b""
        """What came behind a head in the same read: not copied to `_held` unless it has to be put together."""
        self._persistent = True
        self.whole = True
        self.begin("GET")

    def begin(self, method: str) -> None:
        """The next response answers a request with `method`."""
        self._method = method
        self._interim = 0
        self._searched = 0
        self._chunked = self._until_close = False
        self._left = 0
        self.whole = self.touched = False
        self.trailers: Fields = ()

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: the response is whole, nothing is behind it, the upstream goes on."""
        return self.whole and self._persistent and not (self._held or self._rest)

    # Heads.

    def head(self, data: bytes) -> ResponseHead | None:
        """Take `data` in; the next head (interim ones too) if it is complete. After an interim one: `head(b"")`.

        Errors: ResponseFault.
        """
        if data:
            self.touched = True
        if self._rest:
            data = self._rest + data
            self._rest = b""
        held = self._held
        if not held:
            known = self._known.get(data[: data.find(b"\r\n\r\n") + 4])
            if known is not None and self._method != "HEAD":
                return self._again(known, data)
        match = _HEAD.match(data) if not held else None
        if match is not None:
            end = match.end()
            if end != len(data):
                self._rest = data[end:]
        else:
            held += data
            end = held.find(b"\r\n\r\n", self._searched) + 4
            if end < 4:
                self._judge_beginning()
                self._searched = max(0, len(held) - 3)
                return None
            match = _HEAD.fullmatch(bytes(held[:end]))
            if match is None:
                raise ResponseFault(f"malformed head {bytes(held[:60])!r}")
            self._rest = bytes(held[end:])
            held.clear()
            self._searched = 0
        if end > self._limits.upstream_head_bytes:
            raise ResponseFault(f"head of {end} bytes")
        head = self._checked(match)
        if head.has_body and head.length is not None and end <= HEAD_BYTES:
            self._keep(match[0], head)
        return head

    def _again(self, head: ResponseHead, data: bytes) -> ResponseHead:
        """As for the same head when it came first."""
        end = data.find(b"\r\n\r\n") + 4
        if end != len(data):
            self._rest = data[end:]
        assert head.length is not None
        self._persistent = head.persistent
        self._left = head.length
        self.whole = head.length == 0
        return head

    def _keep(self, raw: bytes, head: ResponseHead) -> None:
        if not any(name in _NOT_KEPT for name, _value in head.fields):
            head.persistent = self._persistent
            if len(self._known) >= HEADS_KEPT:
                self._known.clear()
            self._known[raw] = head

    def _judge_beginning(self) -> None:
        held = self._held
        if not held.startswith(_BEGINNING) and not _BEGINNING.startswith(bytes(held[: len(_BEGINNING)])):
            raise ResponseFault(f"not HTTP/1: {bytes(held[:40])!r}")
        if len(held) > self._limits.upstream_head_bytes:
            raise ResponseFault(f"head of more than {self._limits.upstream_head_bytes} bytes")

    def _checked(self, match: re.Match[bytes]) -> ResponseHead:
        minor, digits, lines = match.groups()
        status = int(digits)
        fields = _split(lines)
        if len(fields) > self._limits.upstream_fields:
            raise ResponseFault(f"{len(fields)} header fields")
        length: int | None = None
        coding: bytes | None = None
        persistent = minor == b"1"
        for name, value in fields:
            if name not in _DECIDING:
                continue
            if name == b"content-length":
                if length is not None or not _LENGTH.fullmatch(value):
                    raise ResponseFault(f"content-length repeated or malformed: {value[:40]!r}")
                length = int(value)
            elif name == b"transfer-encoding":
                if coding is not None or value.lower() != b"chunked" or minor == b"0":
                    raise ResponseFault(f"transfer-encoding {value[:40]!r}")
                coding = value
            elif (name == b"connection" and b"close" in value.lower()) or (
                name == b"www-authenticate" and _BINDS_CONNECTION.match(value)
            ):
                persistent = False
        if coding is not None and length is not None:
            raise ResponseFault("both content-length and transfer-encoding")
        if status < 200:
            return self._interim_head(status, fields, coding, length)
        self._persistent = persistent
        if self._method == "HEAD" or status in (204, 304):
            if status == 204 and (coding is not None or length):
                raise ResponseFault("204 with a body")
            self.whole = True
            return ResponseHead(status, fields, length, has_body=False)
        if coding is not None:
            self._begin_chunked()
        elif length is not None:
            self._left = length
            self.whole = length == 0
        else:
            self._until_close = True
            self._persistent = False
        if status == 205 and not self.whole:
            raise ResponseFault("205 with a body")
        return ResponseHead(status, fields, length, has_body=True)

    def _interim_head(self, status: int, fields: Fields, coding: bytes | None, length: int | None) -> ResponseHead:
        self._interim += 1
        if status == 101:
            raise ResponseFault("101 although no upgrade was asked for")
        if coding is not None or length is not None:
            raise ResponseFault("interim response with a body")
        if self._interim > INTERIM_RESPONSES:
            raise ResponseFault(f"more than {INTERIM_RESPONSES} interim responses")
        return ResponseHead(status, fields, None, has_body=False)

    # Bodies.

    def _begin_chunked(self) -> None:
        self._chunked = True
        self._chunk_left = self._data_bytes = self._overhead_bytes = 0
        self._crlf_due = self._last_chunk_seen = False

    def body(self, data: bytes = b"") -> bytes:
        """Take `data` in; what there is of the body, without its framing. `whole` is set with its last piece.

        Errors: ResponseFault. What came before it in `data` is lost: the response can't be finished anyhow.
        """
        rest = self._rest
        if rest:
            data = rest + data if data else rest
            self._rest = b""
        if self._chunked:
            self._held += data
            return self._take_chunks()
        if self._until_close:
            return data
        if len(data) > self._left:
            self._rest = data[self._left :]
            data = data[: self._left]
        self._left -= len(data)
        if not self._left:
            self.whole = True
        return data

    def _take_chunks(self) -> bytes:
        held = self._held
        end = len(held)
        position = 0
        pieces: list[bytes] = []
        while not self._last_chunk_seen:
            if self._chunk_left:
                taken = min(self._chunk_left, end - position)
                if taken:
                    pieces.append(bytes(held[position : position + taken]))
                position += taken
                self._chunk_left -= taken
                if self._chunk_left:
                    break
            if self._crlf_due:
                after = bytes(held[position : position + 2])
                if after != b"\r\n":
                    if after not in (b"", b"\r"):
                        raise ResponseFault("no CRLF after a chunk")
                    break
                position += 2
                self._crlf_due = False
            match = _CHUNK_LINE.match(held, position)
            if match is None:
                self._judge_chunk_line(position)
                break
            size = int(match[1], 16)
            self._judge_overhead(size, match.end() - position)
            position = match.end()
            self._chunk_left = size
            self._crlf_due = size > 0
            self._last_chunk_seen = size == 0
        del held[:position]
        if self._last_chunk_seen:
            self._take_trailers()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _judge_chunk_line(self, position: int) -> None:
        held = self._held
        bound = _CHUNK_SIZE_DIGITS + self._limits.chunk_extension_bytes
        if held.find(b"\n", position) >= 0 or len(held) - position > bound:
            raise ResponseFault(f"chunk line {bytes(held[position : position + 40])!r}")

    def _judge_overhead(self, size: int, line_bytes: int) -> None:
        limits = self._limits
        if line_bytes > _CHUNK_SIZE_DIGITS + limits.chunk_extension_bytes:
            raise ResponseFault(f"chunk line of {line_bytes} bytes")
        self._data_bytes += size
        self._overhead_bytes += line_bytes
        # A server that flushes each event has small chunks; only lines much longer than their data are an abuse.
        if self._overhead_bytes - 16 * self._data_bytes > limits.chunk_overhead_bytes:
            raise ResponseFault("chunk lines far longer than their data")

    def _take_trailers(self) -> None:
        held = self._held
        if held.startswith(b"\r\n"):
            del held[:2]
            self.whole = True
            return
        bound = self._limits.trailer_bytes
        end = held.find(b"\r\n\r\n", 0, bound)
        if end < 0:
            if len(held) >= bound or held.replace(b"\r\n", b"").find(b"\n") >= 0:
                raise ResponseFault("malformed or too large trailers")
            return
        raw = bytes(held[: end + 2])
        del held[: end + 4]
        if not _TRAILER_LINES.fullmatch(raw):
            raise ResponseFault("malformed trailers")
        try:
            self.trailers = checked_trailers(_split(raw), self._limits)
        except StreamFault as fault:
            raise ResponseFault(str(fault)) from fault
        self.whole = True

    def end_of_input(self) -> None:
        """The upstream has ended the connection.

        Errors: ResponseFault unless that is how this response ends.
        """
        self._persistent = False
        if self.whole:
            return
        if not self._until_close:
            raise ResponseFault("the connection ended in the middle of the response")
        self.whole = True


def _split(lines: bytes) -> Fields:
    """The fields of lines that have the right syntax."""
    return tuple([(name.lower(), value.strip()) for name, value in _FIELD.findall(lines)])


def request_head(method: str, target: bytes, fields: Iterable[Field], framing: bytes = b"") -> bytes:
    """A request head as it goes out.

    Args:
        method, target: validated, as of a Request.
        fields: validated, Host included, without those of the framing. TE, if it is there, is put under Connection.
        framing: lines that say how long the body is.
    """
    lines = [b"%b: %b\r\n" % field for field in fields]
    if b"te: trailers\r\n" in lines:
        lines.append(b"connection: te\r\n")
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method.encode("ascii"), target, b"".join(lines), framing)


def chunk(data: bytes) -> bytes:
    """`data` (not empty) as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields = ()) -> bytes:
    """The end of a chunked body."""
    return b"0\r\n" + b"".join([name + b": " + value + b"\r\n" for name, value in trailers]) + b"\r\n"
