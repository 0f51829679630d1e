"""Flow control (RFC 9113, sections 5.2, 6.9)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.http2_accept import (
    FLOW_CONTROL_ERROR,
    IGNORED,
    PROTOCOL_ERROR,
    connection_error,
    stream_error,
)
from securelight.conformance.http2_frames import INITIAL_WINDOW_SIZE, LARGEST_WINDOW, window_update

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial
    from securelight.conformance.http2_client import Http2Client

FLOW = Topic(
    "Flow control",
    rfc=9113,
    why="A server that miscounts windows sends more than a client can hold, stalls for ever, or wraps its counters.",
    cure="Keep each window as a signed number, check every change against 2^31-1, and fail the stream or connection.",
)
MOST_SENT_BYTES = 2 << 20
ALMOST_A_WINDOW = frames.DEFAULT_WINDOW - 4_096
"""Some servers leave the last few bytes of a window unused."""


@FLOW.must("h2/6.9.1/window-overflow", "A WINDOW_UPDATE lifts the connection's window above 2^31-1")
async def window_overflow(dial: Dial) -> str:
    """65,535 and 2^31-1 are more than 2^31-1."""
    client = await dial.http2()
    await client.send(window_update(0, LARGEST_WINDOW))
    return await client.judge(connection_error(FLOW_CONTROL_ERROR))


@FLOW.must("h2/6.9.1/window-overflow-in-steps", "Two WINDOW_UPDATEs lift the connection's window above 2^31-1")
async def window_overflow_in_steps(dial: Dial) -> str:
    """Each of them alone would be right."""
    client = await dial.http2()
    await client.send(window_update(0, 2**30), window_update(0, 2**30))
    return await client.judge(connection_error(FLOW_CONTROL_ERROR))


@FLOW.must("h2/6.9.1/largest-window", "WINDOW_UPDATEs lift the connection's window to exactly 2^31-1")
async def largest_window(dial: Dial) -> str:
    """As far as it may go."""
    client = await dial.http2()
    await client.send(window_update(0, LARGEST_WINDOW - frames.DEFAULT_WINDOW))
    return await client.judge(IGNORED)


async def _held(dial: Dial, window: int = 1) -> Http2Client:
    """A connection whose stream 1 waits for its window, of which all is used."""
    client = await dial.http2({INITIAL_WINDOW_SIZE: window})
    client.credits = False
    await client.send(client.head(1))
    await client.until(lambda: client.over or client.ended(1) or _received(client) > 0)
    await client.until(lambda: client.over or client.ended(1) or _received(client) >= window, client.silence_seconds)
    await client.barrier(1)
    if client.ended(1):
        raise Skipped("the answer to a plain GET has no body, or too short a one")
    if client.over:
        raise Failed(f"a request was not answered: {client.situation(1)}")
    return client


def _received(client: Http2Client) -> int:
    return len(client.answers[1].body) if 1 in client.answers else 0


def _unit(dial: Dial) -> int:
    """A part of the page that is worth a frame: some servers (lighttpd) hold back what is too small."""
    return max(1, min(4_096, dial.baseline.body_bytes // 8))


async def _expect_bytes(client: Http2Client, allowed: int, *, more_than: int = -1) -> None:
    """Of the body of stream 1, no more than `allowed` bytes may come in all, and more than `more_than` have to."""
    await client.until(lambda: client.over or client.ended(1) or _received(client) > more_than)
    await client.until(lambda: client.over or _received(client) >= allowed, client.silence_seconds)
    await client.barrier(1)
    if _received(client) > allowed:
        raise Failed(f"{allowed} bytes were allowed on the stream, and {_received(client)} came")
    if _received(client) <= more_than:
        raise Failed(f"{allowed} bytes were allowed on the stream, and only {_received(client)} came")


@FLOW.must("h2/6.9.1/stream-overflow", "A WINDOW_UPDATE lifts a stream's window above 2^31-1")
async def stream_overflow(dial: Dial) -> str:
    """One stream is at fault."""
    client = await _held(dial, 1)
    await client.send(window_update(1, LARGEST_WINDOW), window_update(1, LARGEST_WINDOW))
    return await client.judge(stream_error(FLOW_CONTROL_ERROR), 1)


@FLOW.must("h2/6.9.1/stream-overflow-in-steps", "Three WINDOW_UPDATEs lift a stream's window above 2^31-1")
async def stream_overflow_in_steps(dial: Dial) -> str:
    """Each of them alone would be right. The connection's window is used up, so that none of it is."""
    client = await _exhausted(dial)
    await client.send(*[window_update(1, 2**30)] * 3)
    return await client.judge(stream_error(FLOW_CONTROL_ERROR), 1)


@FLOW.must("h2/6.9/zero-increment", "A WINDOW_UPDATE of zero for the connection")
async def zero_increment(dial: Dial) -> str:
    """It is for the connection, and so is the error."""
    client = await dial.http2()
    await client.send(window_update(0, 0))
    return await client.judge(connection_error(PROTOCOL_ERROR))


@FLOW.must("h2/6.9/zero-increment-on-stream", "A WINDOW_UPDATE of zero for a stream")
async def zero_increment_on_stream(dial: Dial) -> str:
    """It costs the stream."""
    client = await _held(dial)
    await client.send(window_update(1, 0))
    return await client.judge(stream_error(PROTOCOL_ERROR), 1)


@FLOW.must("h2/6.9/window-of-one", "A stream window of one byte: no more than one byte comes")
async def window_of_one(dial: Dial) -> str:
    """And one more for each WINDOW_UPDATE of one. A server may wait for a window that is worth a frame."""
    client = await _held(dial)
    await _expect_bytes(client, 1)
    for allowed in (2, 3):
        await client.send(window_update(1, 1))
        await _expect_bytes(client, allowed)
    return f"{_received(client)} bytes came"


@FLOW.must("h2/6.9.2/window-of-zero", "A stream window of zero: no content comes until there is a WINDOW_UPDATE")
async def window_of_zero(dial: Dial) -> str:
    """Then no more than it allows."""
    client = await dial.http2({INITIAL_WINDOW_SIZE: 0})
    client.credits = False
    await client.send(client.head(1))
    await client.barrier(1)
    if client.ended(1):
        raise Skipped("the answer to a plain GET has no body")
    await _expect_bytes(client, 0)
    unit = _unit(dial)
    await client.send(window_update(1, unit))
    await _expect_bytes(client, unit, more_than=0)
    return f"nothing, then {_received(client)} bytes of {unit}"


@FLOW.must("h2/6.9.2/raised-in-flight", "SETTINGS raise the window of a stream that waits")
async def raised_in_flight(dial: Dial) -> str:
    """By the difference."""
    unit = _unit(dial)
    client = await _held(dial, unit)
    await client.send(frames.settings({INITIAL_WINDOW_SIZE: 3 * unit}))
    await _expect_bytes(client, 3 * unit, more_than=unit)
    return f"{_received(client)} bytes came of {3 * unit}"


@FLOW.must("h2/6.9.2/negative-window", "SETTINGS make the window of a stream negative")
async def negative_window(dial: Dial) -> str:
    """Four units are out when the window falls to one: three are owed before more may come."""
    unit = _unit(dial)
    client = await _held(dial, 4 * unit)
    sent = _received(client)
    await client.send(frames.settings({INITIAL_WINDOW_SIZE: unit}))
    await client.send(window_update(1, 3 * unit - (4 * unit - sent)))
    await _expect_bytes(client, sent)
    await client.send(window_update(1, unit))
    await _expect_bytes(client, sent + unit, more_than=sent)
    return "the debt was paid first"


@FLOW.must("h2/6.9.2/settings-overflow", "SETTINGS lift the window of a stream above 2^31-1")
async def settings_overflow(dial: Dial) -> str:
    """A fault of SETTINGS costs the connection."""
    client = await _exhausted(dial)
    missing = LARGEST_WINDOW - client.initial_window
    await client.send(window_update(1, missing), frames.settings({INITIAL_WINDOW_SIZE: LARGEST_WINDOW}))
    return await client.judge(connection_error(FLOW_CONTROL_ERROR), 1)


@FLOW.must("h2/6.9.2/not-the-connection", "SETTINGS do not change the connection's window")
async def not_the_connection(dial: Dial) -> str:
    """A larger initial window opens no more of it."""
    client = await _exhausted(dial)
    before = _received(client)
    await client.send(frames.settings({INITIAL_WINDOW_SIZE: LARGEST_WINDOW}))
    await client.barrier(1)
    if _received(client) != before:
        raise Failed(f"{_received(client) - before} bytes came beyond the connection's window")
    return "nothing more came"


async def _exhausted(dial: Dial) -> Http2Client:
    """A connection whose own window is used up by stream 1, which has more to send."""
    if dial.baseline.body_bytes <= frames.DEFAULT_WINDOW:
        raise Skipped(f"needs a URL with more than {frames.DEFAULT_WINDOW} bytes")
    client = await dial.http2({INITIAL_WINDOW_SIZE: 1 << 20})
    client.credits = False
    await client.send(client.head(1))
    await client.until(lambda: client.over or client.ended(1) or _received(client) >= ALMOST_A_WINDOW)
    await client.until(
        lambda: client.over or client.ended(1) or _received(client) >= frames.DEFAULT_WINDOW, client.silence_seconds
    )
    if client.over or client.ended(1):
        raise Failed(f"the connection's window was not respected: {_received(client)} bytes came")
    return client


@FLOW.must("h2/6.9/connection-window", "The connection's window holds for a stream with a larger one")
async def connection_window(dial: Dial) -> str:
    """65,535 bytes, and not one more."""
    client = await _exhausted(dial)
    await _expect_bytes(client, frames.DEFAULT_WINDOW)
    before = _received(client)
    await client.send(window_update(0, 4_096))
    await _expect_bytes(client, frames.DEFAULT_WINDOW + 4_096, more_than=before)
    return f"{_received(client)} bytes came of {frames.DEFAULT_WINDOW + 4_096}"


@FLOW.must("h2/6.9/only-data-counts", "HEADERS come although the connection's window is used up")
async def only_data_counts(dial: Dial) -> str:
    """Only DATA is flow-controlled: a HEAD request is answered whole."""
    client = await _exhausted(dial)
    await client.send(client.head(3, client.request(b"HEAD")))
    await client.until(lambda: client.over or client.ended(3))
    if not client.ended(3) or 3 in client.resets:
        raise Failed(f"a HEAD request was not answered: {client.situation(3)}")
    return client.situation(3)


async def _overrun(dial: Dial, *, padded: bool) -> str:
    """Send more DATA than the server lets us, without waiting for its credit."""
    client = await dial.http2()
    await client.barrier()
    window = client.server_settings.get(INITIAL_WINDOW_SIZE, frames.DEFAULT_WINDOW)
    if window > MOST_SENT_BYTES:
        raise Skipped(f"the server's window of {window} bytes is too large to be tried")
    chunk = bytes(255) if padded else bytes(frames.DEFAULT_FRAME_BYTES)
    piece = frames.data(1, b"x", padding=254) if padded else frames.data(1, chunk)
    size = len(piece) - frames.HEADER_BYTES
    count = window // size + 1
    await client.send(client.head(1, client.request(b"POST"), end=False), *[piece] * count)
    await client.barrier(1)
    if client.over or client.resets.get(1):
        return await client.judge(stream_error(FLOW_CONTROL_ERROR), 1, barrier=False)
    if client.ended(1):
        raise Skipped(f"the server answers such a request before its end: {client.situation(1)}")
    allowed = window + client.granted.get(1, 0)
    if count * size > allowed:
        raise Failed(f"{count * size} bytes were taken on a stream that was granted {allowed}")
    return f"the server gave credit as it read: {allowed} bytes for {count * size}"


@FLOW.must("h2/6.9.1/stream-overrun", "More DATA than the server's window for the stream")
async def stream_overrun(dial: Dial) -> str:
    """In one write, so that no credit can be waited for."""
    return await _overrun(dial, padded=False)


@FLOW.must("h2/6.9.1/padding-counts", "More DATA than the server's window, most of it padding")
async def padding_counts(dial: Dial) -> str:
    """Padding is flow-controlled too."""
    return await _overrun(dial, padded=True)


@FLOW.must("h2/5.2.1/credit-for-discarded", "Content that the server discards is given back to the connection's window")
async def credit_for_discarded(dial: Dial) -> str:
    """Four requests that are reset with 16 KiB of content each; with no credit, uploads would stall for ever."""
    client = await dial.http2()
    await client.barrier()
    window = frames.DEFAULT_WINDOW + client.granted.get(0, 0)
    if window > MOST_SENT_BYTES:
        raise Skipped(f"the connection's window of {window} bytes is too large to be used up")
    piece = frames.DEFAULT_FRAME_BYTES
    sent = 0
    while sent < 2 * window:
        stream_id = client.next_stream()
        if not _has_window(client, sent + piece):
            if not await client.until(partial(_goes_on, client, sent + piece)):
                raise Failed(f"{sent} bytes were sent and discarded, and no credit for them came back")
            if client.over:
                raise Failed(f"the server gave the connection up: {client.situation()}")
        body = frames.data(stream_id, bytes(piece))
        await client.send(client.head(stream_id, client.request(b"POST"), end=False), body)
        await client.send(frames.rst_stream(stream_id))
        await client.barrier()
        sent += piece
    return f"{sent} bytes were discarded, with a window of {window}"


def _has_window(client: Http2Client, sent: int) -> bool:
    return frames.DEFAULT_WINDOW + client.granted.get(0, 0) >= sent


def _goes_on(client: Http2Client, sent: int) -> bool:
    return client.over or _has_window(client, sent)
