"""Connections that make hardly any progress: slow heads, slow content, slow reading, half-open handshakes.

A timer that starts anew with each byte never ends them: it takes a total, or a rate that has to be kept. No document
gives a number, and the ones in use go up to a minute (nginx; Apache has 20 to 40 seconds, and 500 bytes a second), so
that is how long the judge waits, with all of these attacks side by side. Held is what still stands then.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from securelight.conformance import hpack_bytes, http2_frames as frames, tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.dial import SLOW_SECONDS
from securelight.conformance.http1_client import connect, request
from securelight.conformance.http2_attacker import Http2Attacker, open_attack
from securelight.conformance.polite_client import watched
from securelight.conformance.tls_questions import name_of
from securelight.conformance.wire import Wire

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial

HOLDS = Topic(
    "Connections that make hardly any progress",
    rfc=9112,
    why="A few bytes a minute keep a connection and its memory; some thousands of them are all that a server has.",
    cure="Give handshakes and request heads a total time, bodies a least rate both ways; close what falls short.",
    abuse=True,
    slow=True,
)
CONNECTIONS = 5
"""Of each attack, at the same time."""
STEP_SECONDS = 1.0
CASE_SECONDS = SLOW_SECONDS + 20


@dataclass(frozen=True, slots=True)
class Held:
    """One connection of an attack.

    Attributes:
        wire: the connection.
        http2: its client, if it speaks HTTP/2; then the attack is over with its streams too.
        streams: how many requests were begun on it.
    """

    wire: Wire
    http2: Http2Attacker | None = None
    streams: int = 0

    async def until_end(self, seconds: float) -> bool:
        """Read until the server has ended it; False if it does not."""
        self.wire.logs = False
        if self.http2 is None:
            return await self.wire.until_end(seconds)
        with trio.move_on_after(seconds):
            while not self.http2.over and len(self.http2.ended) < self.streams and await self.http2.read():
                pass
            return True
        return False


Begin = Callable[["Dial"], Awaitable[Held]]
"""Makes a connection and sends what the attack begins with."""


async def _hold(dial: Dial, begin: Begin, step: bytes) -> str:
    """The words for a server that ends all of the connections; `step` is what is sent each second.

    Errors: Failed if it keeps one.
    """
    ended: list[float] = []
    begun = trio.current_time()

    async def one() -> None:
        held = await begin(dial)
        over = trio.Event()

        async def look() -> None:
            if await held.until_end(dial.patience.slow):
                over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            with trio.move_on_after(dial.patience.slow):
                while not over.is_set():
                    with trio.move_on_after(STEP_SECONDS):
                        await over.wait()
                    if step and not over.is_set() and not await held.wire.send(step):
                        over.set()
            nursery.cancel_scope.cancel()
        if over.is_set():
            ended.append(trio.current_time() - begun)

    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(one)
    if len(ended) < CONNECTIONS:
        kept = CONNECTIONS - len(ended)
        raise Failed(f"{kept} of {CONNECTIONS} connections were held for {dial.patience.slow:g} s, and still stand")
    return f"all {CONNECTIONS} connections were ended after {min(ended):.1f} to {max(ended):.1f} s"


def _holds(begin: Begin, step: bytes = b"") -> Question:
    async def attack(dial: Dial) -> str:
        return await _hold(dial, begin, step)

    return watched(slow=True)(attack)


def _add(case_id: str, title: str, question: Question, rfc: int, section: str) -> None:
    HOLDS.should(f"abuse/{case_id}", title, rfc=rfc, section=section, seconds=CASE_SECONDS)(question)


# Handshakes


async def _nothing(dial: Dial) -> Held:
    return Held(await dial.tcp())


def _hello(dial: Dial) -> bytes:
    return tls.hello_1_3(name_of(dial) or "", versions=(tls.TLS_1_3, tls.TLS_1_2)).record()


async def _half_a_hello(dial: Dial) -> Held:
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    wire = await dial.tcp()
    await wire.send(_hello(dial)[:100], "the first 100 bytes of a ClientHello")
    return Held(wire)


async def _silent_after_hello(dial: Dial) -> Held:
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    wire = await dial.tcp()
    await wire.send(_hello(dial), "a ClientHello, and nothing more")
    return Held(wire)


async def _no_request(dial: Dial) -> Held:
    return Held((await connect(dial)).wire)


async def _no_preface(dial: Dial) -> Held:
    client = await dial.http2(handshake=False)
    return Held(client.wire)


_add("8446-4/nothing", "A connection on which no byte is sent", _holds(_nothing), 8446, "4")
_add("8446-4/half-hello", "A ClientHello that comes a byte a second after its first 100", _holds(_half_a_hello, b"\0"),
     8446, "4.1.2")  # fmt: skip
_add("8446-4/silent-after-hello", "A handshake that the client does not go on with", _holds(_silent_after_hello), 8446,
     "4.4")  # fmt: skip
_add("9112-9.5/no-request", "A handshake, and then no request", _holds(_no_request), 9112, "9.5")
_add("9113-3.4/no-preface", "A handshake for HTTP/2, and then no preface", _holds(_no_preface), 9113, "3.4")


# Heads and content


async def _head_1(dial: Dial) -> Held:
    client = await connect(dial)
    await client.send(request(dial.target, b"Tide: ")[:-4])
    return Held(client.wire)


async def _fields_1(dial: Dial) -> Held:
    client = await connect(dial)
    await client.send(request(dial.target)[:-2])
    return Held(client.wire)


async def _content_1(dial: Dial) -> Held:
    client = await connect(dial)
    await client.send(request(dial.target, b"Content-Length: 100000", method=b"POST"))
    return Held(client.wire)


async def _chunks_1(dial: Dial) -> Held:
    client = await connect(dial)
    await client.send(request(dial.target, b"Transfer-Encoding: chunked", method=b"POST"))
    return Held(client.wire)


def _http2(before: Callable[[bytes, bytes], bytes], streams: int, settings: dict[int, int] | None = None) -> Begin:
    async def begin(dial: Dial) -> Held:
        attacker = await open_attack(dial, settings)
        post = hpack_bytes.request_to(dial.target, hpack_bytes.indexed(3))
        await attacker.send(before(hpack_bytes.request_to(dial.target), post), dial.patience.answer)
        return Held(attacker.wire, attacker, streams)

    return begin


_ZERO = {frames.INITIAL_WINDOW_SIZE: 0}
_POSTS = 10


def _gets(get: bytes, post: bytes) -> bytes:
    return b"".join(frames.headers(number, get) for number in range(1, 2 * _POSTS, 2))


def _half_a_head(get: bytes, post: bytes) -> bytes:
    """All of a HEADERS frame but the 1,000 bytes of its last value."""
    block = get + bytes([0]) + hpack_bytes.string(b"tide") + hpack_bytes.integer(1_000, 7)
    flags = frames.END_STREAM | frames.END_HEADERS
    return frames.raw_frame(frames.HEADERS, flags, 1, block, length=len(block) + 1_000)


def _posts(get: bytes, post: bytes) -> bytes:
    return b"".join(frames.headers(number, post, end=False) for number in range(1, 2 * _POSTS, 2))


_add("9112-9.5/slow-value", "HTTP/1.1: a field value that comes a byte a second", _holds(_head_1, b"h"), 9112, "9.5")
_add("9112-9.5/slow-fields", "HTTP/1.1: a field a second, and no end", _holds(_fields_1, b"T: h\r\n"), 9112, "9.5")
_add("9112-9.5/slow-content", "HTTP/1.1: content that comes a byte a second", _holds(_content_1, b"h"), 9112, "9.5")
_add("9112-9.5/slow-chunks", "HTTP/1.1: a chunk of a byte each second", _holds(_chunks_1, b"1\r\nh\r\n"), 9112, "9.5")
_add("9113-10.5/slow-head", "HTTP/2: a header block that comes a byte a second", _holds(_http2(_half_a_head, 1), b"h"),
     9113, "10.5")  # fmt: skip
_add("9113-10.5/slow-content", "HTTP/2: ten requests whose content comes a byte a second, on one of them",
     _holds(_http2(_posts, _POSTS), frames.data(1, b"h")), 9113, "10.5")  # fmt: skip
_add("9113-10.5/no-content", "HTTP/2: ten requests whose content never comes, and a PING a second",
     _holds(_http2(_posts, _POSTS), frames.ping()), 9113, "10.5")  # fmt: skip
_add("9113-10.5/zero-window", "HTTP/2: ten answers, a window of zero for them, and a PING a second",
     _holds(_http2(_gets, _POSTS, _ZERO), frames.ping()), 9113, "10.5")  # fmt: skip
_add("9113-10.5/byte-window", "HTTP/2: ten answers, of which one is fetched by a byte a second",
     _holds(_http2(_gets, _POSTS, _ZERO), frames.window_update(1, 1)), 9113, "10.5")  # fmt: skip


# Reading

UNREAD_BYTES = 24 << 20
"""More than the buffers of both systems hold."""
MOST_REQUESTS, MOST_STREAMS = 4_000, 100


_ESTABLISHED = 1


def _stands(wire: Wire) -> bool:
    """Whether TCP knows of no end yet; what is not read hides a FIN, but not a reset."""
    if not isinstance(wire.stream, trio.SocketStream):
        return True
    return wire.stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED


async def _unread(dial: Dial, wire: Wire, asking: bytes, expected_bytes: int) -> str:
    """Ask for a lot, read nothing for as long as the judge waits, then read what there is: all of it was held, or not.

    Errors: Failed if the server has kept it.
    """
    if not isinstance(wire.stream, trio.SocketStream):
        raise Skipped("the connection is no socket, and takes whatever is sent")
    begun = trio.current_time()
    wire.logs = False
    with trio.move_on_after(dial.patience.slow):
        await wire.send(asking)
        while _stands(wire):  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(STEP_SECONDS)
        return f"the server reset the connection after {trio.current_time() - begun:.1f} s"
    got = 0
    with trio.move_on_after(2 * dial.patience.answer):
        while data := await wire.receive():
            got += len(data)
    if wire.ended and got < expected_bytes:
        return f"{got} of {expected_bytes} bytes came in the end, then {wire.end_words}"
    raise Failed(
        f"answers of {expected_bytes} bytes were kept for {dial.patience.slow:g} s while nothing was read; "
        f"then {got} bytes came"
    )


def _count_of_pages(dial: Dial, most: int) -> int:
    body = dial.baseline.body_bytes
    if body * most < UNREAD_BYTES // 4:
        least = UNREAD_BYTES // 4 // most
        raise Skipped(
            f"the page is too small to fill the buffers between client and server: choose one of {least} bytes"
        )
    return min(most, UNREAD_BYTES // body + 1)


async def _unread_1(dial: Dial) -> str:
    count = _count_of_pages(dial, MOST_REQUESTS)
    wire = (await connect(dial)).wire
    return await _unread(dial, wire, request(dial.target) * count, count * dial.baseline.body_bytes)


async def _unread_2(dial: Dial) -> str:
    count = _count_of_pages(dial, MOST_STREAMS)
    attacker = await open_attack(dial, {frames.INITIAL_WINDOW_SIZE: frames.LARGEST_WINDOW})
    get = hpack_bytes.request_to(dial.target)
    asking = b"".join(frames.headers(2 * number + 1, get) for number in range(count))
    return await _unread(dial, attacker.wire, asking, count * dial.baseline.body_bytes)


_add("9112-9.5/slow-read", "HTTP/1.1: pipelined requests whose answers are not read", watched(slow=True)(_unread_1),
     9112, "9.5")  # fmt: skip
_add("9113-10.5/slow-read", "HTTP/2: a hundred answers with open windows that are not read",
     watched(slow=True)(_unread_2), 9113, "10.5")  # fmt: skip
