"""SETTINGS (RFC 9113, section 6.5; RFC 8441, section 3; RFC 9218, section 2.1)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Topic
from securelight.conformance.http2_accept import (
    ANSWERED,
    FLOW_CONTROL_ERROR,
    IGNORED,
    PROTOCOL_ERROR,
    connection_error,
)
from securelight.conformance.http2_questions import sends, writes, writes_before_request

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial

SETTINGS = Topic(
    "SETTINGS",
    rfc=9113,
    why="Both sides count with these values; a server that takes a wrong one, or none, counts wrongly from then on.",
    cure="Check each value against its range, apply them in order, and acknowledge every SETTINGS frame once.",
)


def _settings(*pairs: tuple[int, int]) -> bytes:
    return frames.raw_frame(frames.SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


_WRONG = {
    "enable-push-2": (frames.ENABLE_PUSH, 2, PROTOCOL_ERROR, "ENABLE_PUSH=2"),
    "enable-push-max": (frames.ENABLE_PUSH, 2**32 - 1, PROTOCOL_ERROR, "ENABLE_PUSH=4294967295"),
    "window-2-31": (frames.INITIAL_WINDOW_SIZE, 2**31, FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE=2^31"),
    "window-max": (frames.INITIAL_WINDOW_SIZE, 2**32 - 1, FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE=2^32-1"),
    "frame-size-zero": (frames.MAX_FRAME_SIZE, 0, PROTOCOL_ERROR, "MAX_FRAME_SIZE=0"),
    "frame-size-16383": (frames.MAX_FRAME_SIZE, 16_383, PROTOCOL_ERROR, "MAX_FRAME_SIZE=16383"),
    "frame-size-2-24": (frames.MAX_FRAME_SIZE, 2**24, PROTOCOL_ERROR, "MAX_FRAME_SIZE=2^24"),
}
for _name, (_key, _value, _code, _words) in _WRONG.items():
    SETTINGS.must(f"h2/6.5.2/{_name}", f"SETTINGS with {_words}")(
        sends(writes(_settings((_key, _value))), connection_error(_code), stream_id=0)
    )

_OPTIONAL = {
    "8441/3/enable-connect-2": (frames.ENABLE_CONNECT_PROTOCOL, 2, "ENABLE_CONNECT_PROTOCOL=2"),
    "9218/2.1/no-priorities-2": (frames.NO_RFC7540_PRIORITIES, 2, "NO_RFC7540_PRIORITIES=2"),
}
for _name, (_key, _value, _words) in _OPTIONAL.items():
    _rfc, _section, _short = _name.split("/")
    SETTINGS.must(f"h2/{_rfc}-{_section}/{_short}", f"SETTINGS with {_words}", rfc=int(_rfc), section=_section)(
        sends(
            writes(_settings((_key, _value))),
            connection_error(PROTOCOL_ERROR) | IGNORED,
            stream_id=0,
        )
    )

_RIGHT = {
    "empty": ((), "no settings at all"),
    "table-zero": (((frames.HEADER_TABLE_SIZE, 0),), "HEADER_TABLE_SIZE=0"),
    "table-max": (((frames.HEADER_TABLE_SIZE, 2**32 - 1),), "HEADER_TABLE_SIZE=2^32-1"),
    "push-off": (((frames.ENABLE_PUSH, 0),), "ENABLE_PUSH=0"),
    "no-streams": (((frames.MAX_CONCURRENT_STREAMS, 0),), "MAX_CONCURRENT_STREAMS=0, which is about pushes only"),
    "window-largest": (((frames.INITIAL_WINDOW_SIZE, 2**31 - 1),), "INITIAL_WINDOW_SIZE=2^31-1"),
    "frame-size-smallest": (((frames.MAX_FRAME_SIZE, 16_384),), "MAX_FRAME_SIZE=16384"),
    "frame-size-largest": (((frames.MAX_FRAME_SIZE, 2**24 - 1),), "MAX_FRAME_SIZE=2^24-1"),
    "list-size-max": (((frames.MAX_HEADER_LIST_SIZE, 2**32 - 1),), "MAX_HEADER_LIST_SIZE=2^32-1"),
    "unknown": (((0xFF00, 1), (0x0, 7), (0x7, 0)), "settings that nobody knows"),
    "twice": (((frames.INITIAL_WINDOW_SIZE, 0), (frames.INITIAL_WINDOW_SIZE, 65_535)), "a setting twice"),
}
for _name, (_pairs, _words) in _RIGHT.items():
    SETTINGS.must(f"h2/6.5.2/{_name}", f"SETTINGS with {_words}")(
        sends(writes_before_request(_settings(*_pairs)), ANSWERED)
    )


@SETTINGS.must("h2/6.5.3/acknowledged", "Each SETTINGS frame is acknowledged")
async def acknowledged(dial: Dial) -> str:
    """Three after the first, so four in all."""
    client = await dial.http2()
    await client.send(*[frames.settings({frames.INITIAL_WINDOW_SIZE: 65_535})] * 3)
    await client.until(lambda: client.settings_acks >= 4 or client.over)
    await client.barrier()
    if client.settings_acks != 4:
        raise Failed(f"four SETTINGS frames were acknowledged {client.settings_acks} times")
    return "four SETTINGS frames were acknowledged four times"


@SETTINGS.must("h2/6.5.3/acknowledgement-unanswered", "A SETTINGS acknowledgement is not acknowledged")
async def acknowledgement_unanswered(dial: Dial) -> str:
    """Ours of the server's SETTINGS."""
    client = await dial.http2()
    await client.barrier()
    if client.settings_acks != 1:
        raise Failed(f"one SETTINGS frame was acknowledged {client.settings_acks} times")
    return "one SETTINGS frame was acknowledged once"


@SETTINGS.must("h2/6.5.2/server-push-off", "The server does not announce ENABLE_PUSH=1")
async def server_push_off(dial: Dial) -> str:
    """A server must not set it to anything but zero."""
    client = await dial.http2()
    await client.barrier()
    if client.server_settings.get(frames.ENABLE_PUSH):
        raise Failed(f"it announces ENABLE_PUSH={client.server_settings[frames.ENABLE_PUSH]}")
    return "it does not"


@SETTINGS.must("h2/6.5.2/server-values", "The server's settings are in their ranges")
async def server_values(dial: Dial) -> str:
    """Window and frame size."""
    client = await dial.http2()
    await client.barrier()
    window = client.server_settings.get(frames.INITIAL_WINDOW_SIZE, frames.DEFAULT_WINDOW)
    size = client.server_settings.get(frames.MAX_FRAME_SIZE, frames.DEFAULT_FRAME_BYTES)
    if window > frames.LARGEST_WINDOW or not 2**14 <= size < 2**24:
        raise Failed(f"it announces INITIAL_WINDOW_SIZE={window}, MAX_FRAME_SIZE={size}")
    return f"INITIAL_WINDOW_SIZE={window}, MAX_FRAME_SIZE={size}"


@SETTINGS.must("h2/6.5.3/in-order", "Two values for one setting: the last one counts")
async def in_order(dial: Dial) -> str:
    """A window of 65,535 and then of one byte, in one frame: one byte comes."""
    client = await dial.http2()
    pairs = (frames.INITIAL_WINDOW_SIZE, 65_535), (frames.INITIAL_WINDOW_SIZE, 1)
    await client.send(_settings(*pairs))
    client.initial_window = 1
    client.credits = False
    await client.send(client.head(1))
    await client.barrier(1)
    answer = client.answers.get(1)
    if answer is not None and len(answer.body) > 1:
        raise Failed(f"{len(answer.body)} bytes came for a window of one byte")
    return client.situation(1)
