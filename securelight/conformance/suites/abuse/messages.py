"""HTTP/1.1 messages that are larger, longer or more cut up than any client makes them (RFC 9112; RFC 9110, 17)."""

from __future__ import annotations

import functools
import gzip
import zlib
from typing import TYPE_CHECKING

import trio

from securelight.conformance import hpack_bytes, http2_frames as frames, polite_client
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.http1_client import connect, request
from securelight.conformance.http2_attacker import Flood
from securelight.conformance.polite_client import watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

MESSAGES = Topic(
    "Messages beyond all bounds",
    rfc=9112,
    why="Whatever has no bound of its own is read for as long as a client sends it, or kept until memory ends.",
    cure="Bound each part of a message in bytes and in number, refuse what goes beyond, and close the connection.",
    abuse=True,
)
PIECE = 16_384
MOST_BYTES = 1_250_000
"""More than what the most generous server takes as a head (Go: 1 MB)."""
SECONDS = 9.0


async def pour(dial: Dial, begin: bytes, piece: bytes, most_bytes: int = MOST_BYTES) -> tuple[int, int, str]:
    """Send `begin` and then `piece` again and again, until the server ends it or there is no more to send.

    Returns how many bytes went out, the status of the answer (0 if there was none) and words for the end (empty if the
    server still waits for more).
    """
    client = await connect(dial)
    wire = client.wire
    wire.logs = False
    wire.note(f"up to {most_bytes} bytes: {begin[:200]!r} and then {piece[:60]!r} again and again")
    sent = 0
    received = bytearray()
    ended = trio.Event()

    async def read() -> None:
        while data := await wire.receive():
            received.extend(data[: 65_536 - len(received)])
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with trio.move_on_after(SECONDS):
            await wire.send(begin)
            while sent < most_bytes and not ended.is_set() and await wire.send(piece):
                sent += len(piece)
                await trio.lowlevel.checkpoint()
        with trio.move_on_after(dial.patience.silence):
            await ended.wait()
        nursery.cancel_scope.cancel()
    status = int(received[9:12]) if received[:7] == b"HTTP/1." and received[9:12].isdigit() else 0
    wire.note(f"{sent} bytes sent; status {status or 'none'}; {wire.end_words or 'the connection stands'}")
    return sent, status, wire.end_words


def _endless(begin: Callable[[Target], bytes], piece: bytes, most_bytes: int = MOST_BYTES) -> Question:
    async def attack(dial: Dial) -> str:
        sent, status, end = await pour(dial, begin(dial.target), piece, most_bytes)
        if not end and status:
            raise Skipped(f"answered with {status} before its end: what comes later is only dropped")
        if not end:
            raise Failed(f"{sent} bytes were taken, and the server still waits for more")
        return f"ended after at most {sent} bytes, with status {status or 'none'}: {end}"

    return watched()(attack)


def _whole(*lines: bytes) -> Callable[[Target], bytes]:
    return lambda target: request(target, *lines)[:-2]


def _post(*lines: bytes) -> Callable[[Target], bytes]:
    return lambda target: request(target, *lines, method=b"POST")


_CHUNKED = b"Transfer-Encoding: chunked"
_ENDLESS: dict[str, tuple[str, Callable[[Target], bytes], bytes]] = {
    "9112-3/long-line": ("A request line without an end", lambda target: b"GET /", b"h" * PIECE),
    "9112-5/large-field": ("A field value without an end", lambda target: _whole()(target) + b"Tide: ", b"h" * PIECE),
    "9112-5/large-name": ("A field name without an end", _whole(), b"h" * PIECE),
    "9112-5/many-fields": ("Small fields without an end", _whole(), b"T: h\r\n" * 2_000),
    "9112-5/many-cookies": ("Cookie fields without an end", _whole(), b"Cookie: a=1\r\n" * 1_000),
    "9112-2.2/empty-lines": ("Empty lines before a request, without an end", lambda target: b"", b"\r\n" * 8_000),
    "CVE-2023-39326/long-extension": (
        "A chunk extension without an end", lambda target: _post(_CHUNKED)(target) + b"1;tide=", b"h" * PIECE,
    ),
    "CVE-2024-22019/quoted-extension": (
        "A quoted chunk extension without an end", lambda target: _post(_CHUNKED)(target) + b'1;tide="', b"h" * PIECE,
    ),
    "9112-7.1.1/many-extensions": (
        "Chunk extensions of 200 bytes with a byte of content each", _post(_CHUNKED),
        (b"1;tide=" + b"h" * 200 + b"\r\nh\r\n") * 64,
    ),
    "9112-7.1/leading-zeros": (
        "A chunk size with zeros before it, without an end", _post(_CHUNKED), b"0" * PIECE,
    ),
    "9112-7.1.2/many-trailers": (
        "Trailer fields without an end", lambda target: _post(_CHUNKED)(target) + b"0\r\n", b"T: h\r\n" * 2_000,
    ),
}  # fmt: skip
for _key, (_title, _begin, _piece) in _ENDLESS.items():
    _number = _key.partition("/")[0]
    MESSAGES.must(
        f"abuse/{_key}", _title, rfc=0 if _number.startswith("CVE-") else 9112,
        section=_number.removeprefix("9112-"), seconds=polite_client.CASE_SECONDS,
    )(_endless(_begin, _piece))  # fmt: skip


@MESSAGES.should(
    "abuse/9112-7.1/one-byte-chunks", "1,000,000 chunks of one byte", section="7.1", seconds=polite_client.CASE_SECONDS
)
@watched()
async def one_byte_chunks(dial: Dial) -> str:
    """Six bytes sent for each that is meant: refused, or taken at the cost of as many large ones."""
    sent, status, end = await pour(dial, _post(_CHUNKED)(dial.target), b"1\r\nh\r\n" * 2_730, 6_000_000)
    if not status and not end:
        return f"{sent} bytes were taken, and the server waits for the end of the content"
    return f"{sent} bytes sent: status {status or 'none'}, {end or 'the connection stands'}"


# Compression

ZEROS = 64 << 20


@functools.lru_cache
def _gzip_bomb() -> bytes:
    return gzip.compress(bytes(ZEROS), 9, mtime=0)


@functools.lru_cache
def _deflate_bomb() -> bytes:
    return zlib.compress(zlib.compress(bytes(ZEROS), 9), 9)


def _bomb(coding: bytes, make: Callable[[], bytes]) -> Question:
    async def attack(dial: Dial) -> str:
        bomb = make()
        fields = (b"Content-Encoding: " + coding, b"Content-Type: text/plain", b"Connection: close")
        client = await connect(dial)
        data = request(dial.target, *fields, b"Content-Length: %d" % len(bomb), method=b"POST", body=bomb)
        client.wire.logs = False
        client.wire.note(f"a POST of {len(bomb)} bytes that are {ZEROS} decoded")
        await client.send(data)
        answer = await client.answer("POST")
        if answer is None:
            if client.wire.ended:
                return f"refused: {client.wire.end_words}"
            raise Failed(f"a POST of {len(bomb)} bytes was not answered within {dial.patience.answer:g} s")
        if answer.status >= 500 and answer.status != 501:
            raise Failed(f"a POST of {len(bomb)} bytes broke something: it got {answer.status}")
        return f"{len(bomb)} bytes that are {ZEROS} decoded got {answer.status}"

    return watched()(attack)


_BOMB_WHY = "A few kilobytes become a thousand times as much in the memory of who decodes them unasked."
for _coding, _make in ((b"gzip", _gzip_bomb), (b"deflate, deflate", _deflate_bomb)):
    MESSAGES.must(
        f"abuse/9110-8.4/bomb-{_coding.decode().replace(', ', '-')}",
        f"Content of 64 MiB of zeros, compressed ({_coding.decode()})", rfc=9110, section="8.4", why=_BOMB_WHY,
        cure="Leave content as it is coded, or bound what it may become, and refuse the rest with 413 or 415.",
        seconds=polite_client.CASE_SECONDS,
    )(_bomb(_coding, _make))  # fmt: skip


@MESSAGES.must(
    "abuse/9110-8.4/bombs-http2", "HTTP/2: 50 requests with compressed content of 64 MiB each", rfc=9110, section="8.4",
    why=_BOMB_WHY, cure="Leave content as it is coded, or bound what it may become.",
    seconds=polite_client.CASE_SECONDS,
)  # fmt: skip
@watched()
async def bombs_http2(dial: Dial) -> str:
    """The same on streams."""
    bomb = _deflate_bomb()[: frames.DEFAULT_FRAME_BYTES]

    def items(target: Target) -> list[bytes]:
        post = hpack_bytes.request_to(target, hpack_bytes.indexed(3)) + hpack_bytes.literal(26, b"deflate, deflate")
        return [
            frames.headers(number, post, end=False) + frames.data(number, bomb, end=True) for number in range(1, 101, 2)
        ]

    attacker = await Flood("a compressed bomb", items).run(dial)
    broken = [status for status in attacker.statuses if status >= 500 and status != 501]
    if broken:
        raise Failed(f"{len(broken)} of {attacker.sent} broke something: status {broken[0]}")
    return f"{attacker.sent} sent: {attacker.words}"
