"""Stream identifiers and how many streams there may be (RFC 9113, section 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Skipped, Topic, bound
from securelight.conformance.http2_accept import (
    ANSWERED,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    connection_error,
)
from securelight.conformance.http2_questions import sends, writes

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial

IDENTIFIERS = Topic(
    "Stream identifiers",
    rfc=9113,
    why="A server that takes any stream number lets a client mix up two requests, or reach into another one.",
    cure="Refuse even numbers, numbers that are not above the last one, and zero where a stream is needed.",
)
MOST_STREAMS = 1_000

for _even in (2, 100):
    IDENTIFIERS.must(f"h2/5.1.1/request-on-stream-{_even}", f"A request on stream {_even}")(
        sends(
            bound(lambda client, number: [client.head(number)], _even),
            connection_error(PROTOCOL_ERROR),
            stream_id=_even,
        )
    )

IDENTIFIERS.must("h2/5.1.1/lower-number", "A request on stream 3 after one on stream 5")(
    sends(
        lambda client: [client.head(5), client.head(3)],
        connection_error(PROTOCOL_ERROR, STREAM_CLOSED),
        stream_id=3,
    )
)

_ON_ZERO = {
    "data": ("6.1", frames.data(0, b"x"), (PROTOCOL_ERROR,)),
    "headers": ("6.2", frames.headers(0, b"\x82\x87\x84\x41\x09localhost"), (PROTOCOL_ERROR,)),
    "priority": ("6.3", frames.priority(0, 1), (PROTOCOL_ERROR,)),
    "rst-stream": ("6.4", frames.rst_stream(0), (PROTOCOL_ERROR,)),
    "push-promise": ("8.4", frames.raw_frame(frames.PUSH_PROMISE, 4, 0, b"\0\0\0\2"), (PROTOCOL_ERROR,)),
    "continuation": ("6.10", frames.continuation(0, b""), (PROTOCOL_ERROR,)),
    "short-data": ("6.1", frames.raw_frame(frames.DATA, 0, 0), (PROTOCOL_ERROR, FRAME_SIZE_ERROR)),
}
for _name, (_section, _frame, _codes) in _ON_ZERO.items():
    IDENTIFIERS.must(f"h2/{_section}/{_name}-on-stream-0", f"{_name.upper().replace('-', ' ')} on stream 0")(
        sends(writes(_frame), connection_error(*_codes), stream_id=0)
    )


@IDENTIFIERS.must("h2/5.1.1/numbers-left-out", "Requests on streams 1, 101 and 2^31-1")
async def numbers_left_out(dial: Dial) -> str:
    """Streams in between are closed by that, and the largest number is a good one."""
    client = await dial.http2()
    for stream_id in (1, 101, frames.LARGEST_WINDOW):
        await client.send(client.head(stream_id))
        await client.judge(ANSWERED, stream_id)
    return client.situation(frames.LARGEST_WINDOW)


@IDENTIFIERS.must("h2/5.1.1/left-out-is-closed", "A request on stream 99, after streams 1 and 101")
async def left_out_is_closed(dial: Dial) -> str:
    """It went from idle to closed when stream 101 was opened."""
    client = await dial.http2()
    await client.send(client.head(1), client.head(101))
    await client.until(lambda: client.ended(1) and client.ended(101))
    await client.send(client.head(99))
    return await client.judge(connection_error(PROTOCOL_ERROR, STREAM_CLOSED), 99)


@IDENTIFIERS.must("h2/5.1.1/interleaved", "Three requests at once, each answered on its own stream")
async def interleaved(dial: Dial) -> str:
    """In any order."""
    client = await dial.http2()
    await client.send(client.head(1), client.head(3), client.head(5))
    await client.until(lambda: all(client.ended(one) for one in (1, 3, 5)) or client.over)
    for stream_id in (1, 3, 5):
        await client.judge(ANSWERED, stream_id, barrier=False)
    strangers = set(client.answers) - {1, 3, 5}
    if strangers:
        raise Failed(f"answers came on streams that were never opened: {sorted(strangers)}")
    return "all were answered"


@IDENTIFIERS.must(
    "h2/5.1.2/too-many-streams",
    "More open streams than SETTINGS_MAX_CONCURRENT_STREAMS",
    why="A server that lets a client have more streams than it says has no bound on the work of one connection.",
    cure="Count open streams, and refuse one too many with REFUSED_STREAM or PROTOCOL_ERROR.",
)
async def too_many_streams(dial: Dial) -> str:
    """They are held open by a window of one byte; the last ones must be refused, or the connection ended."""
    client = await dial.http2({frames.INITIAL_WINDOW_SIZE: 1})
    client.credits = False
    most = client.server_settings.get(frames.MAX_CONCURRENT_STREAMS)
    if most is None or most > MOST_STREAMS:
        raise Skipped(f"the server allows {'any number of' if most is None else most} streams")
    last = 2 * most + 1
    await client.send(*(client.head(stream_id) for stream_id in range(1, last + 1, 2)))
    await client.barrier()
    if client.over:
        return await client.judge(connection_error(PROTOCOL_ERROR, REFUSED_STREAM), barrier=False)
    refused = [one for one, code in client.resets.items() if code in (PROTOCOL_ERROR, REFUSED_STREAM)]
    if refused:
        return f"{client.situation(refused[-1])}, with {most} allowed"
    if any(client.ended(stream_id) for stream_id in range(1, last, 2)):
        raise Skipped("the answer to a plain GET has no body, so that streams cannot be held open")
    raise Failed(f"{most} streams are allowed, and {most + 1} were taken")


@IDENTIFIERS.should("h2/6.5.2/hundred-streams", "SETTINGS_MAX_CONCURRENT_STREAMS is at least 100")
async def hundred_streams(dial: Dial) -> str:
    """The RFC recommends it, so as to not limit parallelism needlessly."""
    client = await dial.http2()
    await client.barrier()
    most = client.server_settings.get(frames.MAX_CONCURRENT_STREAMS)
    if most is not None and most < 100:
        raise Failed(f"only {most} streams are allowed")
    return f"{'any number of' if most is None else most} streams are allowed"
