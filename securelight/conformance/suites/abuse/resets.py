"""Streams that end as soon as they have begun: rapid reset, MadeYouReset, refusals (RFC 9113, sections 5.1.2, 10.5).

2,000 streams each. Bounds of peers: nghttp2 1,000 and 33 a second, nginx 128 refused ones, lighttpd 16 in two seconds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from securelight.conformance import hpack_bytes, http2_frames as frames, polite_client
from securelight.conformance.case import Topic
from securelight.conformance.http2_attacker import Flood, stopped
from securelight.conformance.polite_client import watched
from securelight.model.errors import Http2Code

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

RESETS = Topic(
    "Streams that are reset at once",
    rfc=0,
    why="A stream that the client has cancelled counts for no limit of concurrency, but its request was begun.",
    cure="Count streams that are reset, whoever resets them, and end the connection with ENHANCE_YOUR_CALM.",
    abuse=True,
)
STREAMS = 2_000
TOLERATED_RESETS = 1_300
"""Resets by the server that are no failure yet: nghttp2's bucket, and what it gets while the flood lasts."""
POST = hpack_bytes.indexed(3)
Each = Callable[[int, bytes, bytes], bytes]
"""Makes the frames of one stream from its id and the header blocks of a GET and of a POST."""


def streams(each: Each, count: int = STREAMS) -> Callable[[Target], list[bytes]]:
    """The frames of `each` on so many streams."""

    def items(target: Target) -> list[bytes]:
        get, post = hpack_bytes.request_to(target), hpack_bytes.request_to(target, POST)
        return [each(2 * number + 1, get, post) for number in range(count)]

    return items


def _cancelled(name: str, each: Each) -> Question:
    async def attack(dial: Dial) -> str:
        attacker = await Flood(name, streams(each)).run(dial)
        return stopped(attacker, STREAMS, name)

    return watched()(attack)


RESETS.must("abuse/CVE-2023-44487/rapid-reset", "GET and RST_STREAM, 2,000 times", seconds=polite_client.CASE_SECONDS)(
    _cancelled("GET and RST_STREAM", lambda number, get, post: frames.headers(number, get) + frames.rst_stream(number))
)
RESETS.must(
    "abuse/CVE-2023-44487/rapid-reset-post", "A POST without its content, and RST_STREAM, 2,000 times",
    seconds=polite_client.CASE_SECONDS,
)(
    _cancelled(
        "POST and RST_STREAM",
        lambda number, get, post: frames.headers(number, post, end=False) + frames.rst_stream(number),
    )
)  # fmt: skip
RESETS.must(
    "abuse/CVE-2023-44487/rapid-reset-no-error", "GET and RST_STREAM with NO_ERROR, 2,000 times",
    seconds=polite_client.CASE_SECONDS,
)(
    _cancelled(
        "GET and RST_STREAM with NO_ERROR",
        lambda number, get, post: frames.headers(number, get) + frames.rst_stream(number, Http2Code.NO_ERROR),
    )
)  # fmt: skip


# MadeYouReset: frames for which the server has to reset the stream

_SMALL_WINDOW = {frames.INITIAL_WINDOW_SIZE: 1}


def _priority(number: int, payload: bytes) -> bytes:
    return frames.raw_frame(frames.PRIORITY, 0, number, payload)


_LENGTH = hpack_bytes.literal(28, b"7")
_MADE: dict[str, tuple[str, Each]] = {
    "window-zero": (
        "a WINDOW_UPDATE of zero on a request's stream",
        lambda number, get, post: frames.headers(number, get) + frames.window_update(number, 0),
    ),
    "window-overflow": (
        "a WINDOW_UPDATE that overflows a stream's window",
        lambda number, get, post: frames.headers(number, get) + frames.window_update(number, frames.LARGEST_WINDOW),
    ),
    "data-after-end": (
        "DATA after the end of the request",
        lambda number, get, post: frames.headers(number, get) + frames.data(number, b"more", end=True),
    ),
    "headers-after-end": (
        "HEADERS after the end of the request",
        lambda number, get, post: frames.headers(number, get) + frames.headers(number, get),
    ),
    "content-length": (
        "content that is shorter than Content-Length says",
        lambda number, get, post: frames.headers(number, post + _LENGTH, end=False)
        + frames.data(number, b"tide", end=True),
    ),
    "too-much-content": (
        "content that is longer than Content-Length says",
        lambda number, get, post: frames.headers(number, post + _LENGTH, end=False)
        + frames.data(number, b"high water"),
    ),
    "priority-length": (
        "a PRIORITY frame of four bytes",
        lambda number, get, post: frames.headers(number, get) + _priority(number, bytes(4)),
    ),
    "self-dependency": (
        "a stream that depends on itself",
        lambda number, get, post: frames.headers(number, get) + _priority(number, struct.pack(">IB", number, 15)),
    ),
    "upper-case": (
        "a request with a name in upper case",
        lambda number, get, post: frames.headers(number, get + hpack_bytes.literal(b"Upper", b"case")),
    ),
    "no-path": (
        "a request without a path",
        lambda number, get, post: frames.headers(number, hpack_bytes.indexed(2) + hpack_bytes.indexed(7)),
    ),
    "trailers-without-end": (
        "trailers that do not end the request",
        lambda number, get, post: frames.headers(number, post, end=False)
        + frames.headers(number, hpack_bytes.literal(b"tide", b"high"), end=False),
    ),
}  # fmt: skip


def _made(name: str, each: Each) -> Question:
    async def attack(dial: Dial) -> str:
        attacker = await Flood(name, streams(each), settings=_SMALL_WINDOW).run(dial)
        resets = sum(attacker.resets.values())
        if not attacker.over and attacker.proved and resets <= TOLERATED_RESETS:
            return f"{attacker.sent} x {name}: answered, with {resets} resets: {attacker.words}"
        return stopped(attacker, STREAMS, name)

    return watched()(attack)


for _key, (_words, _each) in _MADE.items():
    RESETS.must(
        f"abuse/CVE-2025-8671/{_key}", f"{_words[0].upper()}{_words[1:]}, 2,000 times",
        why="The server itself resets the stream, for a fault: such resets have to count like the client's own.",
        seconds=polite_client.CASE_SECONDS,
    )(_made(_words, _each))  # fmt: skip


# Refusals

REFUSALS = Topic(
    "Streams that have to be refused",
    rfc=9113,
    why="A client that opens streams against the limit makes the server decode requests for nothing, for ever.",
    cure="Refuse with REFUSED_STREAM, count refusals like resets, and end the connection if they go on.",
    abuse=True,
)
OPEN = 3_000


def _held_open(name: str, count: int, *, acknowledges: bool = True) -> Question:
    async def attack(dial: Dial) -> str:
        attacker = await Flood(
            name, streams(lambda number, get, post: frames.headers(number, post, end=False), count)
        ).run(dial)
        refused = attacker.resets[Http2Code.REFUSED_STREAM]
        finished = attacker.received[frames.HEADERS]
        if not attacker.over and attacker.proved and finished >= attacker.sent - 128 - refused and not refused:
            return f"{attacker.sent} x {name}: answered before their end: {attacker.words}"
        return stopped(attacker, count, name)

    return watched()(attack)


REFUSALS.should(
    "abuse/5.1.2/refused-streams", "POSTs that never end, 3,000 of them on one connection",
    seconds=polite_client.CASE_SECONDS,
)(_held_open("a POST that stays open", OPEN))  # fmt: skip


@REFUSALS.should(
    "abuse/5.1.2/refused-gets", "GETs whose answers are held by a window of zero, 3,000 of them",
    seconds=polite_client.CASE_SECONDS,
)  # fmt: skip
@watched()
async def refused_gets(dial: Dial) -> str:
    """Each answer holds memory until the client lets it go."""
    name = "a GET with a window of zero"
    gets = streams(lambda number, get, post: frames.headers(number, get), OPEN)
    flood = Flood(name, gets, settings={frames.INITIAL_WINDOW_SIZE: 0})
    attacker = await flood.run(dial)
    if len(attacker.ended) - sum(attacker.resets.values()) >= attacker.sent - 256:
        return f"answers without content need no window: {attacker.words}"
    return stopped(attacker, OPEN, name)
