"""The byte-level check in front of both HTTP/1 engines: only what RFC 9112 allows gets past it, one message at a time.

Owns: line ends (CRLF and nothing else), the shape of the request line and of every field line, the sizes of a head,
and where a message ends: Content-Length, Transfer-Encoding, chunk lines, trailers. Whatever two parsers might read in
two ways is refused here, so that neither engine, nor a server behind us, ever sees it. What a head means (Host, target,
field values) is left to protocol/request_head.

The verdict on a message does not depend on how its bytes were cut into segments: the fault that comes first in the
stream decides, not the one that is noticed first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from securelight.model.errors import Refusal, StreamFault
from securelight.protocol.request_head import KNOWN_METHODS, checked_trailers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits

LINE_EXTRA_BYTES = 64
"""Room in a request line beside the target: method, two spaces and version."""
LEADING_EMPTY_LINES = 2
"""Some old clients send CRLF after a body; RFC 9112, section 2.2 asks servers to overlook at least one."""
CHUNK_SIZE_DIGITS = 16

_TCHAR = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_TEXT = rb"[\t -~\x80-\xff]"
_FIELD_LINES = rb"(?:" + _TCHAR + rb"++:" + _TEXT + rb"*+\r\n)*+"
_LINE = rb"(" + _TCHAR + rb"++) ([!-~]++) HTTP/([0-9]\.[0-9])"
_HEAD = re.compile(_LINE + rb"\r\n(" + _FIELD_LINES + rb")\r\n")
_REQUEST_LINE = re.compile(_LINE)
_FIRST_WORD = re.compile(rb"[A-Za-z]{1,20}(?= )")
_FIELD_NAME = re.compile(rb"[A-Za-z0-9_-]{1,40}[ \t]*:")
_TRAILER_LINES = re.compile(_FIELD_LINES)
_BAD_BYTE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
"""Control characters, bare LF, bare CR."""
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16}+)((?:[ \t]*+;[ \t]*+" + _TCHAR + rb"++"
    rb"(?:[ \t]*+=[ \t]*+(?:" + _TCHAR + rb"++|" + _QUOTED + rb"))?+)*+)\r\n"
)
"""RFC 9112, section 7.1.1, with the white space that it allows only around `;` and `=` of an extension."""
_LENGTH = re.compile(rb"[0-9]{1,18}")
_TABBED_FRAMING = re.compile(rb"^(?:content-length|transfer-encoding):[^\r\n]*\t", re.MULTILINE)


class Head:
    """One request head that passed.

    Attributes:
        raw: all its bytes, the empty line included.
        method, target, version: the request line; the version is `1.1` or `1.0`.
        chunked: the body comes in chunks.
        length: what Content-Length says; None without one.
        has_upgrade: there may be an Upgrade field.
    """

    __slots__ = ("chunked", "has_upgrade", "length", "method", "raw", "target", "version")

    def __init__(self, raw: bytes, method: bytes, target: bytes, version: str, *, has_upgrade: bool) -> None:
        self.raw = raw
        self.method = method
        self.target = target
        self.version = version
        self.chunked = False
        self.length: int | None = None
        self.has_upgrade = has_upgrade

    @property
    def has_body(self) -> bool:
        """Whether anything follows the head."""
        return self.chunked or bool(self.length)


class Http1Guard:
    """Cuts the input of one connection into heads and body bytes.

    Attributes:
        held: input that was taken in and not yet passed on: an unfinished head or chunk line, or later messages.
        in_body: the message whose head was taken last is not over.
        body_left: bytes still to come of a body with Content-Length; 0 for a chunked one.
        trailers: of the last message; set when its body ends.
        fault: why the body is refused. What came before it was still passed on.
        method, target: of the request line that `take_head` refused, as far as it could be read.
    """

    __slots__ = (
        "_chunked", "_crlf_due", "_data_bytes", "_data_left", "_head_bytes", "_last_chunk_seen", "_limits",
        "_line_bytes", "_line_judged", "_overhead_bytes", "_searched", "_skipped", "body_left", "fault", "held",
        "in_body", "method", "target", "trailers",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self.held = bytearray()
        self.in_body = False
        self.body_left = 0
        self.trailers: Fields = ()
        self.fault: Refusal | None = None
        self.method = b"-"
        self.target = b"-"
        self._limits = limits
        self._head_bytes = limits.request_head_bytes
        self._line_bytes = min(limits.request_target_bytes + LINE_EXTRA_BYTES, self._head_bytes - 4)
        self._searched = 0
        self._skipped = 0
        self._line_judged = False
        self._chunked = False

    # Heads.

    def take_head(self, data: bytes) -> Head | None:
        """Take `data` in; the next head if it is complete.

        Errors: Refusal 400, 414, 431, 501, 505; the input is then of no more use.
        """
        held = self.held
        if not held:
            match = _HEAD.match(data)
            if match is not None and match.end() <= self._head_bytes:
                end = match.end()
                if end != len(data):
                    held += data[end:]
                return self._checked(match, data if end == len(data) else data[:end])
        held += data
        while self._skipped < LEADING_EMPTY_LINES and held[:2] == b"\r\n":
            del held[:2]
            self._skipped += 1
        end = held.find(b"\r\n\r\n", self._searched, self._head_bytes)
        if end < 0:
            self._judge_bytes()
            self._searched = max(0, len(held) - 3)
            return None
        raw = bytes(held[: end + 4])
        match = _HEAD.fullmatch(raw)
        if match is None:
            del held[end + 4 :]
            self._judge_bytes()
            raise Refusal(400, "A header field is malformed.", _bad_line(raw.split(b"\r\n")[1:]))
        del held[: end + 4]
        return self._checked(match, raw)

    def _judge_bytes(self) -> None:
        """Refuse what can be refused of `held` before the head is complete, in the order of the stream."""
        held = self.held
        start = max(0, self._searched - 1)
        if not self._line_judged:
            self.method = self.target = b"-"
            line_end = held.find(b"\r\n", start, self._line_bytes + 2)
            if line_end < 0:
                self._judge_control_bytes(start, self._line_bytes + 2)
                if len(held) >= self._line_bytes + 2:
                    raise Refusal(414, "The request target is too long.", "request line too long")
                return
            line = bytes(held[:line_end])
            match = _REQUEST_LINE.fullmatch(line)
            if match is None:
                raise Refusal(400, "The request line is malformed.", _first_word(line))
            self._judge_line(match)
            self._line_judged = True
        self._judge_control_bytes(start, self._head_bytes)
        if len(held) > self._head_bytes:
            raise Refusal(431, "The request header fields are too large.", f"over {self._head_bytes} bytes")

    def _judge_control_bytes(self, start: int, end: int) -> None:
        match = _BAD_BYTE.search(self.held, start, end)
        if match is not None:
            raise Refusal(400, "The request is malformed.", f"byte {match[0]!r} at {match.start()}")

    def _judge_line(self, match: re.Match[bytes]) -> None:
        method, target, version = match[1], match[2], match[3]
        if match.end(3) > self._line_bytes:
            self.method = self.target = b"-"
            raise Refusal(414, "The request target is too long.", "request line too long")
        self.method, self.target = method, target
        if len(target) > self._limits.request_target_bytes:
            raise Refusal(414, "The request target is too long.", f"{len(target)} bytes")
        if version[:2] != b"1.":
            raise Refusal(505, "The HTTP version is not supported.", f"version {version!r}")
        if method not in KNOWN_METHODS or method == b"CONNECT":
            raise Refusal(501, "The request method is not supported.", f"method {method[:40]!r}")

    def _checked(self, match: re.Match[bytes], raw: bytes) -> Head:
        method, target, version, fields = match.groups()
        if (
            version != b"1.1"
            or method not in KNOWN_METHODS
            or method == b"CONNECT"
            or len(target) > self._limits.request_target_bytes
            or match.end(3) > self._line_bytes
        ):
            self._judge_line(match)
            if version not in (
                b"1.1",
                b"1.0",
            ):  # RFC 9110, section 2.5: taken as the highest minor version that we know
                raw = raw[: match.start(3)] + b"1.1" + raw[match.end(3) :]
                version = b"1.1"
        self.method, self.target = method, target
        self._searched = self._skipped = 0
        self._line_judged = False
        lower = fields.lower()
        count = lower.count(b"\n")
        if count > self._limits.request_fields:
            raise Refusal(431, "The request has too many header fields.", f"{count} fields")
        head = Head(raw, method, target, "1.1" if version == b"1.1" else "1.0", has_upgrade=b"upgrade:" in lower)
        if b"content-length:" in lower or b"transfer-encoding:" in lower:
            _settle_framing(head, lower)
            if head.chunked:
                self._begin_chunked()
            elif head.length:
                self.in_body = True
                self._chunked = False
                self.body_left = head.length
                self.trailers = ()
        return head

    # Bodies.

    @property
    def in_chunks(self) -> bool:
        """A chunked body is under way."""
        return self._chunked and self.in_body

    @property
    def chunk_left(self) -> int:
        """How much is still to come of a chunk that has begun."""
        return self._data_left if self.in_chunks else 0

    def _begin_chunked(self) -> None:
        self.in_body = self._chunked = True
        self.body_left = 0
        self.trailers = ()
        self._data_bytes = 0
        self._data_left = 0
        self._overhead_bytes = 0
        self._crlf_due = False
        self._last_chunk_seen = False
        self._searched = 0

    def take_body(self, data: bytes) -> bytes:
        """Take `data` in; returns the bytes of the body that an engine may see now, still in their framing.

        Chunk extensions are left out, and so are the trailer fields: they are in `trailers` once `in_body` is False.
        `fault` is set where the body is malformed (400), has too large trailers (431), or is larger than
        Limits.request_body_bytes (413).
        """
        held = self.held
        if self._chunked:
            held += data
            return self._take_chunks()
        if held:
            held += data
            passed = bytes(held[: self.body_left])
            del held[: self.body_left]
        elif len(data) <= self.body_left:
            passed = data
        else:
            passed = data[: self.body_left]
            held += data[self.body_left :]
        self.body_left -= len(passed)
        self.in_body = self.body_left > 0
        return passed

    def _take_chunks(self) -> bytes:
        """Walk over chunks as far as `held` goes; one run of bytes is passed on but for extensions."""
        held = self.held
        end = len(held)
        passed: list[bytes | bytearray] = []
        run = position = 0
        while not self._last_chunk_seen:
            if self._data_left:
                taken = min(self._data_left, end - position)
                position += taken
                self._data_left -= taken
                if self._data_left:
                    break
            if self._crlf_due:
                after = bytes(held[position : position + 2])
                if after != b"\r\n":
                    if after not in (b"", b"\r"):
                        self.fault = Refusal(400, "The request body is malformed.", "no CRLF after a chunk")
                    break
                position += 2
                self._crlf_due = False
            match = _CHUNK_LINE.match(held, position)
            if match is None:
                self.fault = self._unfinished_chunk_line(position)
                break
            digits, extension = match.groups()
            size = int(digits, 16)
            self._data_bytes += size
            self._overhead_bytes += match.end() - position + 2
            self.fault = self._chunk_fault(extension)
            if self.fault is not None:
                break
            if extension:
                passed += (held[run : match.end(1)], b"\r\n")
                run = match.end()
            position = match.end()
            self._data_left = size
            self._crlf_due = size > 0
            self._last_chunk_seen = size == 0
        passed.append(held[run:position])
        del held[:position]
        if self._last_chunk_seen and self.fault is None:
            self._take_trailers()
            if not self.in_body:
                passed.append(b"\r\n")
        return b"".join(passed)

    def _chunk_fault(self, extension: bytes) -> Refusal | None:
        limits = self._limits
        if len(extension) > limits.chunk_extension_bytes:
            return Refusal(400, "The request body is malformed.", f"chunk extension of {len(extension)} bytes")
        if self._data_bytes > limits.request_body_bytes:
            return Refusal(413, "The request body is too large.", f"{self._data_bytes} bytes in chunks")
        if self._overhead_bytes - 2 * self._data_bytes > limits.chunk_overhead_bytes:
            return Refusal(400, "The request body is malformed.", "too many small chunks")
        return None

    def _unfinished_chunk_line(self, position: int) -> Refusal | None:
        held = self.held
        bound = position + CHUNK_SIZE_DIGITS + self._limits.chunk_extension_bytes
        if (
            held.find(b"\r\n", position, bound + 2) >= 0
            or len(held) >= bound + 2
            or _BAD_BYTE.search(held, position) is not None
        ):
            return Refusal(
                400, "The request body is malformed.", f"chunk line {bytes(held[position : position + 40])!r}"
            )
        return None

    def _take_trailers(self) -> None:
        held = self.held
        if held[:2] == b"\r\n":
            del held[:2]
            self.in_body = False
            return
        bound = self._limits.trailer_bytes
        start = self._searched
        end = held.find(b"\r\n\r\n", start, bound + 4)
        block = bytes(held[: end + 2]) if end >= 0 else b""
        if block and _TRAILER_LINES.fullmatch(block):
            del held[: end + 4]
            try:
                self.trailers = checked_trailers(_split_fields(block), self._limits)
            except StreamFault as fault:
                self.fault = Refusal(400, "A trailer field is malformed.", str(fault))
            else:
                self.in_body = False
        elif block or _BAD_BYTE.search(held, max(0, start - 1), bound):
            self.fault = Refusal(400, "A trailer field is malformed.", _bad_line(bytes(held).split(b"\r\n")))
        elif len(held) >= bound + 4:
            self.fault = Refusal(431, "The trailer fields are too large.", f"over {bound} bytes")
        self._searched = max(0, len(held) - 3) if self.in_body else 0


def _split_fields(block: bytes) -> list[Field]:
    """(lower-case name, value) of each of the field lines, all of which are well-formed."""
    pairs = (line.split(b":", 1) for line in block.split(b"\r\n")[:-1])
    return [(name.lower(), value.strip(b" \t")) for name, value in pairs]


def _settle_framing(head: Head, lower: bytes) -> None:
    """RFC 9112, section 6.3, without its leniencies. `lower`: the field lines in lower case."""
    lengths = []
    codings = []
    for name, value in _split_fields(lower):
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
    if _TABBED_FRAMING.search(lower):
        # White space to RFC 9110, but not to llhttp, and nobody but a smuggler sends it.
        raise Refusal(400, "The request is malformed.", "tab in a field that frames the request")
    if codings:
        if lengths:
            raise Refusal(400, "The request has two lengths.", "transfer-encoding with content-length")
        if head.version == "1.0":
            raise Refusal(400, "The request is malformed.", "transfer-encoding in HTTP/1.0")
        if codings != [b"chunked"]:
            raise Refusal(501, "The transfer coding is not supported.", f"transfer-encoding {codings!r:.80}")
        head.chunked = True
    elif lengths:
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            raise Refusal(400, "The length of the request is not valid.", f"content-length {lengths!r:.80}")
        head.length = int(lengths[0])


# What is malformed goes to a log, and may hold credentials anywhere: only names are quoted.


def _first_word(line: bytes) -> str:
    match = _FIRST_WORD.match(line)
    return f"request line of {len(line)} bytes, {match[0] if match else b''!r} first"


def _bad_line(lines: Sequence[bytes]) -> str:
    for number, line in enumerate(lines, 1):
        if not _TRAILER_LINES.fullmatch(line + b"\r\n"):
            match = _FIELD_NAME.match(line)
            return f"field line {number}, {match[0] if match else b''!r}"
    return "field lines"
