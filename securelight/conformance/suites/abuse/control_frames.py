"""Floods of frames that do nothing for a request (RFC 9113, section 10.5; CVE-2019-9511 and its kin).

12,000 frames each; nginx and Go stop at 10,000, nghttp2 at 1,000 answers that pile up.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from securelight.conformance import hpack_bytes, http2_frames as frames, polite_client
from securelight.conformance.case import Topic
from securelight.conformance.http2_attacker import Flood, stopped
from securelight.conformance.polite_client import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

CONTROL = Topic(
    "Floods of frames that ask for nothing",
    rfc=0,
    why="Each frame costs a client a few bytes, and a server a turn; some have to be answered, and answers pile up.",
    cure="Give each connection a budget of such frames that refills with time and with requests; stop at its end.",
    abuse=True,
)
COUNT = 12_000
_UNUSED = 1_001
"""A stream that is never opened."""
_PRIORITY_UPDATE = frames.raw_frame(frames.PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"u=3")


def open_post(target: Target) -> bytes:
    """A request on stream 1 whose content is to come."""
    return frames.headers(1, hpack_bytes.request_to(target, hpack_bytes.indexed(3)), end=False)


def _same(frame: bytes) -> Callable[[Target], Sequence[bytes]]:
    return lambda target: [frame] * COUNT


def _alternating(*given: bytes) -> Callable[[Target], Sequence[bytes]]:
    return lambda target: list(given) * (COUNT // len(given))


def _get(target: Target) -> bytes:
    return frames.headers(1, hpack_bytes.request_to(target))


def _hundred_gets(target: Target) -> bytes:
    block = hpack_bytes.request_to(target)
    return b"".join(frames.headers(number, block) for number in range(1, 200, 2))


def _nothing(target: Target) -> bytes:
    return b""


def _flood(
    what: str, items: Callable[[Target], Sequence[bytes]], before: Callable[[Target], bytes], *, window: int | None,
    reads: bool,
) -> Question:  # fmt: skip
    settings = None if window is None else {frames.INITIAL_WINDOW_SIZE: window}

    async def attack(dial: Dial) -> str:
        flood = Flood(what, items, before=before, settings=settings, reads=reads)
        attacker = await flood.run(dial)
        return stopped(attacker, COUNT, what)

    return watched()(attack)


_WINDOWS = (frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), frames.settings({frames.INITIAL_WINDOW_SIZE: 1}))
_FLOODS: dict[str, tuple[str, Callable[[Target], Sequence[bytes]], Callable[[Target], bytes], int | None, bool]] = {
    "CVE-2019-9512/ping": ("PING", _same(frames.ping()), _nothing, None, True),
    "CVE-2019-9512/ping-unread": ("PING, its answers unread", _same(frames.ping()), _nothing, None, False),
    "CVE-2019-9515/settings": ("SETTINGS without entries", _same(frames.settings()), _nothing, None, True),
    "CVE-2019-9515/settings-unread": (
        "SETTINGS, its answers unread", _same(frames.settings({frames.INITIAL_WINDOW_SIZE: 7})), _nothing, None, False,
    ),
    "CVE-2019-9515/window-changes": (
        "SETTINGS that change the window of 100 open streams", _alternating(*_WINDOWS), _hundred_gets, 0, True,
    ),
    "CVE-2019-9515/table-size-changes": (
        "SETTINGS that change the size of the header table",
        _alternating(frames.settings({frames.HEADER_TABLE_SIZE: 0}), frames.settings({frames.HEADER_TABLE_SIZE: 4096})),
        _nothing, None, True,
    ),
    "CVE-2019-9513/priority": (
        "PRIORITY that turns a tree over", _alternating(
            frames.priority(_UNUSED, _UNUSED + 2, exclusive=True), frames.priority(_UNUSED + 2, _UNUSED, exclusive=True)
        ), _nothing, None, True,
    ),
    "CVE-2019-9513/priority-many-streams": (
        "PRIORITY for another stream each",
        lambda target: [frames.priority(2 * number + 1, 2 * number - 1) for number in range(1, COUNT + 1)],
        _nothing, None, True,
    ),
    "10.5/priority-update": ("PRIORITY_UPDATE", _same(_PRIORITY_UPDATE), _nothing, None, True),
    "10.5/window-update": (
        "WINDOW_UPDATE of the connection by 1", _same(frames.window_update(0, 1)), _nothing, None, True,
    ),
    "10.5/window-update-stream": (
        "WINDOW_UPDATE of a request's stream by 1", _same(frames.window_update(1, 1)), _get, None, True,
    ),
    "10.5/reset-again": ("RST_STREAM of one stream", _same(frames.rst_stream(1)), _get, None, True),
    "10.5/unknown": ("a frame of an unknown type", _same(frames.raw_frame(0xFA, 0, 0, b"tide")), _nothing, None, True),
    "10.5/unknown-empty": ("an empty frame of an unknown type", _same(frames.raw_frame(0xFB, 0, 1)), _get, None, True),
    "10.5/ping-ack": ("PING acknowledgements unasked for", _same(frames.ping(ack=True)), _nothing, None, True),
    "10.5/goaway": ("GOAWAY", _same(frames.goaway()), _nothing, None, True),
    "CVE-2019-9518/empty-data": ("empty DATA", _same(frames.data(1)), open_post, None, True),
    "10.5/padding-only": ("DATA of padding alone", _same(frames.data(1, padding=2)), open_post, None, True),
    "10.5/late-data": ("empty DATA of a stream that is reset", _same(frames.data(1)),
                       lambda target: open_post(target) + frames.rst_stream(1), None, True),
}  # fmt: skip
for _key, (_what, _items, _before, _window, _reads) in _FLOODS.items():
    _known = _key.startswith("CVE-")
    (CONTROL.must if _known else CONTROL.should)(
        f"abuse/{_key}", f"{COUNT:,} x {_what}", rfc=None if _known else 9113, seconds=polite_client.CASE_SECONDS
    )(_flood(_what, _items, _before, window=_window, reads=_reads))


@CONTROL.must(
    "abuse/CVE-2019-9515/many-entries", "200 SETTINGS frames of 2,000 entries each", seconds=polite_client.CASE_SECONDS
)
@watched()
async def many_entries(dial: Dial) -> str:
    """400,000 entries in 2.4 MB: refused, or taken at little cost."""
    entries = struct.pack(">HI", 0xFFF0, 1) * 2_000
    flood = Flood("SETTINGS of 2,000 entries", lambda target: [frames.raw_frame(frames.SETTINGS, 0, 0, entries)] * 200)
    attacker = await flood.run(dial)
    return f"{attacker.sent} sent: {attacker.words}"


@CONTROL.must(
    "abuse/CVE-2019-9511/data-dribble", "100 answers that are fetched a byte at a time, for 10,000 bytes",
    seconds=polite_client.CASE_SECONDS,
)  # fmt: skip
@watched()
async def data_dribble(dial: Dial) -> str:
    """Each WINDOW_UPDATE of one byte makes the server write a frame of ten: bounded, or ended."""
    flood = Flood(
        "WINDOW_UPDATE by 1 on each of 100 streams",
        lambda target: [frames.window_update(2 * (number % 100) + 1, 1) for number in range(10_000)],
        before=_hundred_gets, settings={frames.INITIAL_WINDOW_SIZE: 0},
    )  # fmt: skip
    attacker = await flood.run(dial)
    return f"{attacker.sent} sent: {attacker.words}"
