"""Small servers of TLS with one fault each, in memory: Python's `ssl`, a look at the ClientHello before it, and a hand
on what it sends. With no fault it is a right server of HTTP/1.1."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from securelight.conformance import tls_records as tls

if TYPE_CHECKING:
    from tests.certificates import TestCertificates

PAGE = b"<!doctype html><title>Tide</title>" + b"High water. " * 4_000
SUITES = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
GOOD_FIELDS = (
    (b"Strict-Transport-Security", b"max-age=63072000"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Permissions-Policy", b"camera=(), microphone=(), geolocation=()"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Cache-Control", b"no-cache"),
    (b"Date", b"Mon, 02 Nov 2026 12:00:00 GMT"),
)


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a server with a fault looks at: deliberately less careful than ours."""

    record: bytes
    version: int
    suites: tuple[int, ...]
    session_id: bytes
    compressions: bytes
    extensions: dict[int, bytes]

    @property
    def versions(self) -> tuple[int, ...]:
        content = self.extensions.get(tls.SUPPORTED_VERSIONS)
        if content is None:
            return (self.version,)
        return tuple(int.from_bytes(content[at : at + 2], "big") for at in range(1, len(content) - 1, 2))


def read_hello(record: bytes) -> ClientHello | None:
    """None for what is no whole ClientHello in one record."""
    try:
        reader = tls.Reader(record[9:])
        version, _random, session_id = reader.number(2), reader.take(32), reader.vector(1)
        listed = reader.vector(2)
        compressions = reader.vector(1)
        extensions = {}
        if reader.data:
            block = tls.Reader(reader.vector(2))
            while block.data:
                kind = block.number(2)
                extensions[kind] = block.vector(2)
    except ValueError:
        return None
    suites = tuple(int.from_bytes(listed[at : at + 2], "big") for at in range(0, len(listed) - 1, 2))
    return ClientHello(record, version, suites, session_id, compressions, extensions)


def server_hello(
    hello: ClientHello, suite: int, *, version: int = tls.TLS_1_2, compression: int = 0,
    extensions: dict[int, bytes] | None = None, done: bool = True, exchange: bytes = b"",
) -> bytes:  # fmt: skip
    """A first flight of TLS 1.2 without truth in it; nobody gets further with it."""
    block = b"".join(tls.numbers((kind,)) + tls.vector(value, 2) for kind, value in (extensions or {}).items())
    body = version.to_bytes(2, "big") + bytes(range(24)) + b"DOWNGRD\x01" + b"\0" + tls.numbers((suite,))
    body += bytes((compression,)) + tls.vector(block, 2)
    messages = tls.message(tls.SERVER_HELLO, body)
    if exchange:
        messages += tls.message(tls.SERVER_KEY_EXCHANGE, exchange)
    if done:
        messages += tls.message(tls.SERVER_HELLO_DONE, b"")
    return tls.record(tls.HANDSHAKE, messages, version)


def refusal(alert: int) -> bytes:
    return tls.record(tls.ALERT, bytes((2, alert)))


DROP = b"drop"
Answer = Callable[[ClientHello], bytes]
"""What the fault answers at once to this ClientHello; empty to let the right server have it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a server.

    Attributes:
        settings: changes the right context.
        answer: see Answer; it then drops the connection, and says nothing if it is DROP.
        first: the same for the first bytes, whatever they are; None to let the right server have them.
        edit: changes its ServerHello on the way out.
        lax: what it does not look at, though the right server does: `alpn`, `name`, `version` or `session`.
        certificates: which ones it has.
        cut: it closes without close_notify.
        stays: it does not close when the client does.
        numb: it does not react to bad records.
        fields: of its answer.
        respond: (request, fields) -> the bytes of its answer.
    """

    settings: Callable[[ssl.SSLContext], None] = lambda _: None
    answer: Answer = lambda _: b""
    first: Callable[[bytes], bytes | None] = lambda _: None
    edit: Callable[[tls.ServerHello, ClientHello], None] | None = None
    lax: str = ""
    certificates: TestCertificates | None = None
    cut: bool = False
    stays: bool = False
    numb: bool = False
    fields: tuple[tuple[bytes, bytes], ...] = GOOD_FIELDS
    respond: Callable[[bytes, tuple[tuple[bytes, bytes], ...]], bytes] | None = None


RIGHT = Fault()


def right_context(certificates: TestCertificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.pair)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{SUITES}:@SECLEVEL=2")
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    return context


@dataclass(slots=True)
class Server:
    """One server, for any number of connections."""

    certificates: TestCertificates
    fault: Fault = RIGHT
    context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self.context = right_context(self.fault.certificates or self.certificates)
        self.fault.settings(self.context)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Talk to one client until either side ends."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await _Connection(self, stream).run()
        await trio.aclose_forcefully(stream)


class _Connection:
    def __init__(self, server: Server, stream: trio.abc.Stream) -> None:
        self.fault = server.fault
        self.stream = stream
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.hello: ClientHello | None = None
        self.tls = server.context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def run(self) -> None:
        first = await self._first()
        if first is None:
            return
        self.incoming.write(first)
        if not await self._step(self.tls.do_handshake):
            return
        request = b""
        while b"\r\n\r\n" not in request:
            part = await self._step(lambda: self.tls.read(65_536))
            if not part:
                if self.fault.stays:
                    await trio.sleep_forever()
                await self._end()
                return
            assert isinstance(part, bytes)
            request += part
        if request.startswith(b"POST"):
            return
        respond = self.fault.respond or answer_of
        self.tls.write(respond(request, self.fault.fields))
        await self._flush()
        await self._end()

    async def _first(self) -> bytes | None:
        """The first bytes, if they are for the right server; None if the connection is over."""
        data = b""
        while len(data) < 5 or (data[0] == tls.HANDSHAKE and len(data) < 5 + int.from_bytes(data[3:5], "big")):
            part = bytes(await self.stream.receive_some(65_536))
            if not part:
                if self.fault.stays:
                    await trio.sleep_forever()
                return None
            data += part
        answer = self.fault.first(data)
        if answer is None and data[:1] == bytes((tls.HANDSHAKE,)):
            hello = self.hello = read_hello(data[: 5 + int.from_bytes(data[3:5], "big")])
            answer = (self.fault.answer(hello) if hello is not None else b"") or _strictly(hello, self.fault.lax)
        if answer is None:
            return data
        if answer != DROP:
            await self.stream.send_all(answer)
            await self.stream.receive_some(65_536)
        return None

    async def _step(self, act: Callable[[], object]) -> object:
        """Do something of TLS as soon as it can be done; b"" or False at the end."""
        while True:
            try:
                done = act()
                await self._flush()
                return True if done is None else done
            except ssl.SSLWantReadError:
                await self._flush()
                data = bytes(await self.stream.receive_some(65_536))
                if not data:
                    self.incoming.write_eof()
                    return b""
                self.incoming.write(data)
            except ssl.SSLError:
                if self.fault.numb:
                    await trio.sleep_forever()
                await self._flush()
                return b""

    async def _flush(self) -> None:
        data = self.outgoing.read()
        # Only for hellos without ALPN, which the judge writes by hand: edited, nobody can finish the handshake.
        if self.fault.edit is not None and self.hello is not None and tls.ALPN not in self.hello.extensions:
            data = edited(data, self.hello, self.fault.edit)
        if data:
            await self.stream.send_all(data)

    async def _end(self) -> None:
        if self.fault.cut:
            return
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        await self._flush()


def edited(data: bytes, hello: ClientHello, edit: Callable[[tls.ServerHello, ClientHello], None]) -> bytes:
    """`data` with another ServerHello, if it begins with one."""
    if len(data) < 9 or data[0] != tls.HANDSHAKE or data[5] != tls.SERVER_HELLO:
        return data
    end = 5 + int.from_bytes(data[3:5], "big")
    length = int.from_bytes(data[6:9], "big")
    found = tls.read_server_hello(data[9 : 9 + length])
    edit(found, hello)
    block = b"".join(tls.numbers((kind,)) + tls.vector(value, 2) for kind, value in found.extensions.items())
    body = found.version.to_bytes(2, "big") + found.random + tls.vector(found.session_id, 1)
    body += tls.numbers((found.suite,)) + bytes((found.compression,)) + tls.vector(block, 2)
    return tls.record(tls.HANDSHAKE, tls.message(tls.SERVER_HELLO, body) + data[9 + length : end]) + data[end:]


def _strictly(hello: ClientHello | None, lax: str) -> bytes | None:
    """Where OpenSSL, or Python's use of it, is laxer than a right server."""
    if hello is None:
        return None
    name = hello.extensions.get(tls.SERVER_NAME, b"")
    if name[3:5] == b"\0\0" and lax != "name":
        return refusal(tls.DECODE_ERROR)
    if max(hello.versions, default=0) < tls.TLS_1_2 and lax != "version":
        return refusal(tls.PROTOCOL_VERSION)
    alpn = hello.extensions.get(tls.ALPN, b"")
    if lax != "alpn" and len(alpn) > 3 and alpn[2] and b"http/1.1" not in alpn:
        return refusal(120)
    if lax != "session" and tls.SESSION_TICKET in hello.extensions and name[5:] == b"other-name.invalid":
        return refusal(112)
    return None


def answer_of(request: bytes, fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The page."""
    head = b"".join(b"%b: %b\r\n" % one for one in fields)
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n" % (head, len(PAGE)) + PAGE
