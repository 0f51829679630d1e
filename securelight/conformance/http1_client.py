"""The judge's own HTTP/1.1 client: sends whatever bytes a case has, and reads answers strictly (RFC 9112).

It shares no parser with the server. What a server may not send (a malformed status line, two lengths, a body that is
cut) is Failed wherever it comes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from securelight.conformance.case import Failed, Skipped
from securelight.conformance.wire import HandshakeFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target
    from securelight.conformance.wire import Wire

MAXIMUM_HEAD_BYTES = 65_536
MAXIMUM_BODY_BYTES = 16 << 20
"""Eight cases at a time hold one each: pages without an end must not fill the memory of who judges them."""
MAXIMUM_ANSWERS = 64

_STATUS_LINE = re.compile(rb"HTTP/([0-9]\.[0-9]) ([1-5][0-9]{2}) ([\t -~\x80-\xff]*)")
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?")


@dataclass(slots=True)
class Answer:
    """One final response.

    Attributes:
        status: three digits.
        version: `1.1`.
        fields: in order, names in lower case.
        body: the content, without its framing.
        framing: how the end of the body is found: `none`, `length`, `chunked` or `close`.
        interim: the 1xx responses before it.
    """

    status: int
    version: str
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    framing: str = "none"
    interim: list[int] = field(default_factory=list)

    def get(self, name: bytes) -> bytes | None:
        """The value of a field, several joined with a comma; None if there is none."""
        values = [value for one, value in self.fields if one == name]
        return b", ".join(values) if values else None

    @property
    def options(self) -> set[bytes]:
        """The members of Connection, in lower case."""
        return {option.strip(b" \t").lower() for option in (self.get(b"connection") or b"").split(b",")}


@dataclass(slots=True)
class Exchange:
    """What came back for some bytes.

    Attributes:
        answers: final responses, in order.
        end: how the connection ended; empty if the server neither answered nor closed in time.
        interim: 1xx responses that no final one has followed.
    """

    answers: list[Answer] = field(default_factory=list)
    end: str = ""
    interim: list[int] = field(default_factory=list)

    @property
    def statuses(self) -> list[int]:
        """Of the answers."""
        return [answer.status for answer in self.answers]

    def words(self) -> str:
        """All of it for people."""
        shown = [str(status) for answer in self.answers for status in (*answer.interim, answer.status)]
        text = ", ".join(shown + [str(status) for status in self.interim]) or "no answer"
        return f"{text}; then {self.end or 'the server neither answered nor closed'}"


def request(
    target: Target, *lines: bytes, method: bytes = b"GET", path: bytes | None = None, version: bytes = b"HTTP/1.1",
    host: bool = True, body: bytes = b"",
) -> bytes:  # fmt: skip
    """A request: the line, Host unless `host` is False, `lines` as they are, the empty line, `body`."""
    where = target.path.encode() if path is None else path
    head = [b"%b %b %b" % (method, where, version)]
    if host:
        head.append(b"Host: " + target.authority.encode())
    return b"\r\n".join([*head, *lines, b"", b""]) + body


class Http1Client:
    """One connection.

    Args:
        wire: the connection.
        answer_seconds: how long an answer is waited for.

    Attributes:
        interim: 1xx responses that came since the last final one.
    """

    def __init__(self, wire: Wire, answer_seconds: float) -> None:
        self.wire = wire
        self.interim: list[int] = []
        self._seconds = answer_seconds
        self._held = bytearray()

    async def send(self, data: bytes) -> bool:
        """Send; False if the server has broken off. What it answered before can still be read."""
        return await self.wire.send(data)

    async def answer(self, method: str = "GET", seconds: float | None = None) -> Answer | None:
        """The next final response, to a request with this method; None if there is none: then look at `wire.ended`.

        Errors: Failed if what comes is no response.
        """
        found: list[Answer] = []
        with trio.move_on_after(self._seconds if seconds is None else seconds):
            while not found:
                answer = await self._head()
                if answer is None:
                    return None
                if answer.status < 200:
                    self.interim.append(answer.status)
                    if answer.status == 101:
                        raise Failed("the server switched protocols (101)")
                    continue
                answer.interim, self.interim = self.interim, []
                await self._body(answer, method)
                found.append(answer)
        return found[0] if found else None

    async def interim_or_answer(self, method: str = "GET") -> Answer | None:
        """The next response: a 1xx, or a final one with its body; None if there is none in time.

        Errors: as `answer`.
        """
        with trio.move_on_after(self._seconds):
            answer = await self._head()
            if answer is not None and answer.status >= 200:
                await self._body(answer, method)
            return answer
        return None

    async def all(self, methods: Sequence[str] = ()) -> Exchange:
        """Every response until the server closes or falls silent; `methods` are those of the requests, then GET."""
        exchange = Exchange()
        while len(exchange.answers) < MAXIMUM_ANSWERS:
            number = len(exchange.answers)
            answer = await self.answer(methods[number] if number < len(methods) else "GET")
            if answer is None:
                break
            exchange.answers.append(answer)
        exchange.interim = self.interim
        exchange.end = self.wire.end_words
        return exchange

    async def _more(self) -> bool:
        data = await self.wire.receive()
        self._held += data
        return bool(data)

    async def _head(self) -> Answer | None:
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > MAXIMUM_HEAD_BYTES:
                raise Failed(f"no end of a response head within {MAXIMUM_HEAD_BYTES} bytes: {self._shown()}")
            if self._held and not b"HTTP/1.1 ".startswith(self._held[:9]):
                raise Failed(f"expected a response, but got {self._shown()}")
            if not await self._more():
                if self._held:
                    raise Failed(f"a response head without an end: {self._shown()}")
                return None
        lines = bytes(self._held[:end]).split(b"\r\n")
        match = _STATUS_LINE.fullmatch(lines[0])
        if match is None:
            raise Failed(f"no status line, but {lines[0][:80]!r}")
        fields = []
        for line in lines[1:]:
            parts = _FIELD_LINE.fullmatch(line)
            if parts is None:
                raise Failed(f"a malformed field line in a response: {line[:80]!r}")
            fields.append((parts[1].lower(), parts[2]))
        del self._held[: end + 4]
        return Answer(int(match[2]), match[1].decode("ascii"), fields)

    async def _body(self, answer: Answer, method: str) -> None:
        """Read the content of a final response (RFC 9112, section 6.3)."""
        length, coding = answer.get(b"content-length"), answer.get(b"transfer-encoding")
        if length is not None and coding is not None:
            raise Failed(f"a response ({answer.status}) with Content-Length and Transfer-Encoding")
        if method == "HEAD" or answer.status in (204, 304):
            return
        if coding is not None:
            if coding.lower() != b"chunked":
                raise Failed(f"a response ({answer.status}) with Transfer-Encoding: {coding!r}")
            answer.framing = "chunked"
            answer.body = await self._chunks()
        elif length is not None:
            if not re.fullmatch(rb"[0-9]{1,15}", length):
                raise Failed(f"a response ({answer.status}) with Content-Length: {length!r}")
            answer.framing = "length"
            answer.body = await self._take(int(length))
        else:
            answer.framing = "close"
            while await self._more():
                self._bounded(len(self._held))
            answer.body = bytes(self._held)
            self._held.clear()

    async def _take(self, count: int) -> bytes:
        self._bounded(count)
        while len(self._held) < count:
            if not await self._more():
                raise Failed(f"the body of a response was cut after {len(self._held)} of {count} bytes")
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    async def _line(self) -> bytes:
        while (end := self._held.find(b"\r\n")) < 0:
            self._bounded(len(self._held) * (MAXIMUM_BODY_BYTES // MAXIMUM_HEAD_BYTES))
            if not await self._more():
                raise Failed("a chunked response without an end")
        line = bytes(self._held[:end])
        del self._held[: end + 2]
        return line

    async def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            line = await self._line()
            match = _CHUNK_LINE.fullmatch(line)
            if match is None:
                raise Failed(f"a malformed chunk in a response: {line[:80]!r}")
            size = int(match[1], 16)
            if size == 0:
                break
            body += await self._take(size)
            self._bounded(len(body))
            if await self._take(2) != b"\r\n":
                raise Failed("a chunk in a response that is not followed by CRLF")
        while await self._line():
            pass
        return bytes(body)

    def _bounded(self, count: int) -> None:
        if count > MAXIMUM_BODY_BYTES:
            raise Skipped(f"the page is larger than {MAXIMUM_BODY_BYTES} bytes: choose a smaller one")

    def _shown(self) -> str:
        return repr(bytes(self._held[:80]))


async def connect(dial: Dial) -> Http1Client:
    """A connection for HTTP/1.1.

    Errors: as Dial.tls; Skipped if the server does not speak HTTP/1.1.
    """
    try:
        wire = await dial.tls(("http/1.1",))
    except HandshakeFailed as error:
        if "NO_APPLICATION_PROTOCOL" in error.reason:
            raise Skipped("the server does not speak HTTP/1.1: ALPN refuses it") from None
        raise
    return Http1Client(wire, dial.patience.answer)
