"""After the handshake: bad records, record sizes, the end of a connection (RFC 8446, sections 5 and 6)."""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import TYPE_CHECKING

import trio

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.dial import lenient_context
from securelight.conformance.wire import HandshakeFailed

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target
    from securelight.conformance.wire import Wire

BAD_RECORDS = Topic(
    "Bad records",
    rfc=8446,
    why="A server that goes on after a record that was changed on the way lets an attacker try as often as they like.",
    cure="End the connection with the alert bad_record_mac, unexpected_message or record_overflow.",
)
SIZES = Topic(
    "Record sizes",
    rfc=8446,
    why="Peers refuse records that are too long, and servers that wait for data in one piece fail.",
    cure="Write records of 16,384 bytes at most; take records of any size up to that.",
)
ENDS = Topic(
    "The end of a connection",
    rfc=8446,
    why="Without close_notify nobody can tell the end of an answer from an attacker who cut it.",
    cure="Send close_notify before the connection is closed, and close when the client has sent it.",
)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
RECORD_BYTES = 16_384
OVERHEAD_BYTES = {"1.2": 2_048, "1.3": 256}


@lru_cache
def context_of(version: str, *alpn: str) -> ssl.SSLContext:
    """A lenient client of this version alone."""
    context = lenient_context(alpn)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


async def connected(dial: Dial, version: str, *alpn: str) -> Wire:
    """A connection of this version.

    Errors: Skipped if the server does not speak it.
    """
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    try:
        return await dial.tls(context=context_of(version, *alpn))
    except HandshakeFailed as failed:
        raise Skipped(f"the server does not speak TLS {version}: {failed.reason}") from None


async def _write_raw(wire: Wire, data: bytes, words: str) -> None:
    wire.transcript.add(wire.number, ">", words, data)
    try:
        await wire.stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        wire.note("could not be sent")


def _bad(version: str, make: bytes, *words: str) -> Question:
    async def question(dial: Dial) -> str:
        wire = await connected(dial, version, "http/1.1")
        await _write_raw(wire, make, "a bad record")
        if not await wire.until_end(dial.patience.answer):
            raise Failed(f"the connection is still open after {dial.patience.answer:g} s")
        if wire.ended != "alert" or (words and not any(word in wire.end_words for word in words)):
            raise Failed(f"expected alert {' or '.join(words) or 'of any kind'}, but {wire.end_words}")
        return wire.end_words

    return question


# OpenSSL's words for the alerts that come.
_MAC, _UNEXPECTED, _OVERFLOW = "bad record mac", "unexpected message", "record overflow"
for _version in VERSIONS:
    _rfc, _section = (5246, "7.2.2") if _version == "1.2" else (8446, "5.2")
    for _name, _title, _record, _alerts in (
        ("forged", "A record that was not encrypted with the key", tls.record(23, bytes(range(64))), (_MAC,)),
        ("short", "A record shorter than its authentication", tls.record(23, b"\1\2\3"), ()),
        ("too-long", "A record of 18,500 bytes", tls.record(23, bytes(18_500)), (_OVERFLOW,)),
        ("clear-alert", "A forged alert in the clear", tls.record(21, b"\1\x5a"), ()),
        ("clear-handshake", "A ClientHello in the clear", tls.hello_1_2().record(), ()),
        ("unknown-type", "A record of a type that nobody knows", tls.record(99, bytes(64)), (_UNEXPECTED, _MAC)),
    ):
        BAD_RECORDS.must(
            f"tls/{_rfc}-{_section}/{_name}", f"{_title}, after a handshake of TLS {_version}",
            rfc=_rfc, section=_section,
        )(_bad(_version, _record, *_alerts))  # fmt: skip


# Sizes


class _Tee(trio.abc.Stream):
    """Passes everything on, and keeps what came."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.received = bytearray()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self.stream.receive_some(max_bytes))
        self.received += data
        return data

    async def aclose(self) -> None:
        await self.stream.aclose()


def _request(dial: Dial) -> bytes:
    target = dial.target
    return f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode()


async def _answer(dial: Dial, wire: Wire) -> bytes:
    received = bytearray()
    with trio.move_on_after(dial.patience.answer):
        while part := await wire.receive():
            received += part
    return bytes(received)


def _longest(version: str) -> Question:
    async def question(dial: Dial) -> str:
        tees: list[_Tee] = []
        connect = dial.connect

        async def connect_tee(target: Target) -> trio.abc.Stream:
            tees.append(_Tee(await connect(target)))
            return tees[-1]

        dial.connect = connect_tee
        wire = await connected(dial, version, "http/1.1")
        await wire.send(_request(dial))
        await _answer(dial, wire)
        longest, reader = 0, tls.Reader(bytes(tees[-1].received))
        while len(reader.data) >= 5:
            reader.take(3)
            length = reader.number(2)
            longest = max(longest, length)
            reader.take(min(length, len(reader.data)))
        if longest > RECORD_BYTES + OVERHEAD_BYTES[version]:
            raise Failed(f"a record has {longest} bytes")
        return f"the longest record has {longest} bytes"

    return question


def _small(version: str, step: int) -> Question:
    async def question(dial: Dial) -> str:
        wire = await connected(dial, version, "http/1.1")
        request = _request(dial)
        for at in range(0, len(request), step):
            await wire.send(request[at : at + step])
        answer = await _answer(dial, wire)
        if not answer.startswith(b"HTTP/1."):
            raise Failed(f"expected an answer of HTTP/1.1, but got {answer[:40]!r}; {wire.end_words}")
        return answer[:15].decode("ascii", "replace")

    return question


for _version in VERSIONS:
    _rfc, _section = (5246, "6.2.1") if _version == "1.2" else (8446, "5.1")
    SIZES.must(f"tls/{_rfc}-{_section}/longest", f"The server's records of TLS {_version} keep the limit",
               rfc=_rfc, section=_section)(_longest(_version))  # fmt: skip
    SIZES.must(f"tls/{_rfc}-{_section}/one-byte", f"A request in records of one byte, TLS {_version}",
               rfc=_rfc, section=_section)(_small(_version, 1))  # fmt: skip


# The end


def _close_notify_sent(version: str) -> Question:
    async def question(dial: Dial) -> str:
        wire = await connected(dial, version, "http/1.1")
        await wire.send(_request(dial))
        if not await wire.until_end(dial.patience.answer):
            raise Failed("the connection was not closed after the answer to a request with Connection: close")
        if wire.ended != "closed":
            raise Failed(wire.end_words)
        return wire.end_words

    return question


def _close_notify_answered(version: str) -> Question:
    async def question(dial: Dial) -> str:
        wire = await connected(dial, version, "http/1.1")
        await wire.end_input()
        if not await wire.until_end(dial.patience.answer):
            raise Failed(f"the connection is still open {dial.patience.answer:g} s after the client's close_notify")
        return wire.end_words

    return question


for _version in VERSIONS:
    _rfc, _section = (5246, "7.2.1") if _version == "1.2" else (8446, "6.1")
    ENDS.must(f"tls/{_rfc}-{_section}/close-notify", f"TLS {_version}: the server ends with close_notify",
              rfc=_rfc, section=_section)(_close_notify_sent(_version))  # fmt: skip
    ENDS.must(f"tls/{_rfc}-{_section}/closed-by-client", f"TLS {_version}: the client ends with close_notify",
              rfc=_rfc, section=_section)(_close_notify_answered(_version))  # fmt: skip


@ENDS.should("tls/9112-9.8/cut-request", "A request whose end an attacker cut off", rfc=9112, section="9.8")
async def cut_request(dial: Dial) -> str:
    """It must not be taken for a whole one."""
    part = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nonly a part"
    early = await connected(dial, "1.2", "http/1.1")
    await early.send(part)
    with trio.move_on_after(dial.patience.silence):
        if await early.receive():
            raise Skipped("the answer does not wait for the content of the request")
    wire = await connected(dial, "1.2", "http/1.1")
    await wire.send(part)
    if isinstance(wire.stream, trio.abc.HalfCloseableStream):
        await wire.stream.send_eof()
    answer = await _answer(dial, wire)
    if answer.startswith(b"HTTP/1.1 2"):
        raise Failed(f"it was answered with {answer[:15]!r}")
    return "not answered" if not answer else f"answered with {answer[:15]!r}"
