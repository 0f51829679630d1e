"""PING, GOAWAY and priorities (RFC 9113, sections 5.3, 6.3, 6.7, 6.8; RFC 9218)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.http2_accept import (
    ANSWERED,
    FRAME_SIZE_ERROR,
    IGNORED,
    PROTOCOL_ERROR,
    connection_error,
    stream_error,
)
from securelight.conformance.http2_questions import sends, writes, writes_before_request

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial

PINGS = Topic(
    "PING",
    rfc=9113,
    why="Clients take a connection without answers to PING for dead.",
    cure="Answer each PING at once, with the same eight bytes and the flag ACK.",
)
LEAVING = Topic(
    "GOAWAY",
    rfc=9113,
    why="A client that leaves politely should lose nothing that it has asked for.",
    cure="Finish the streams that are open, take no harm from codes and data that are unknown.",
)
PRIORITIES = Topic(
    "Priorities",
    rfc=9113,
    why="The old priority tree cost servers loops and memory (CVE-2019-9513); clients still send its frames.",
    cure="Check the length of PRIORITY, and otherwise ignore it; take RFC 9218's signals if you want to.",
)


@PINGS.must("h2/6.7/echo", "PING with eight bytes")
async def echo(dial: Dial) -> str:
    """The same eight bytes come back, once."""
    client = await dial.http2()
    await client.send(frames.ping(b"\x00\xff\x80\x01abcd"))
    await client.until(lambda: bool(client.pongs) or client.over)
    await client.barrier()
    count = sum(
        isinstance(frame, frames.PingFrame) and bytes(frame.opaque_data) == b"\x00\xff\x80\x01abcd"
        for frame in client.frames
    )
    if count != 1:
        raise Failed(f"the bytes came back {count} times: {client.situation()}")
    return "the bytes came back"


@PINGS.must("h2/6.7/ack-unanswered", "PING with the flag ACK is not answered")
async def ack_unanswered(dial: Dial) -> str:
    """Or two sides could go on for ever."""
    client = await dial.http2()
    await client.send(frames.ping(b"unasked.", ack=True))
    await client.barrier()
    if b"unasked." in client.pongs or any(
        isinstance(frame, frames.PingFrame) and bytes(frame.opaque_data) == b"unasked." for frame in client.frames
    ):
        raise Failed("the acknowledgement was answered")
    return await client.works()


@PINGS.must("h2/6.7/several", "Ten PINGs at once are all answered, in a busy connection")
async def several(dial: Dial) -> str:
    """Beside a request."""
    client = await dial.http2()
    payloads = [b"ping-%03d" % number for number in range(10)]
    await client.send(client.head(1), *map(frames.ping, payloads))
    await client.until(lambda: client.over or (client.ended(1) and client.pongs.issuperset(payloads)))
    if not client.pongs.issuperset(payloads):
        raise Failed(f"{len(client.pongs)} of 10 were answered: {client.situation(1)}")
    return "all were answered"


@LEAVING.should("h2/6.8/finish", "GOAWAY of the client while a request is open")
async def finish(dial: Dial) -> str:
    """It is answered to its end."""
    client = await dial.http2({frames.INITIAL_WINDOW_SIZE: 1})
    client.credits = False
    await client.send(client.head(1))
    await client.until(lambda: 1 in client.answers or client.over)
    if client.ended(1):
        raise Skipped("the answer to a plain GET has no body, so that its stream cannot be held open")
    await client.send(frames.goaway())
    client.credits = True
    await client.send(frames.window_update(1, 1 << 20), frames.window_update(0, 1 << 20))
    await client.until(lambda: client.ended(1) or client.over)
    answer = client.answers.get(1)
    if answer is None or not answer.ended:
        raise Failed(f"the answer was not finished: {client.situation(1)}")
    if dial.baseline.body_bytes and len(answer.body) != dial.baseline.body_bytes:
        raise Failed(f"{len(answer.body)} of {dial.baseline.body_bytes} bytes came")
    return client.situation(1)


@LEAVING.must("h2/6.8/unknown-code", "GOAWAY with an unknown error code and debug data, while a request is open")
async def unknown_goaway(dial: Dial) -> str:
    """It is answered, or the connection ends, for whatever reason is given."""
    client = await dial.http2()
    await client.send(client.head(1), frames.goaway(0, 0xDEADBEEF, b"debug data \x00\xff"))
    if not await client.until(lambda: client.ended(1) or client.over):
        raise Failed(f"neither: {client.situation(1)}")
    return client.situation(1)


@LEAVING.must("h2/6.8/twice", "GOAWAY twice")
async def twice(dial: Dial) -> str:
    """As in a graceful shutdown: first with the highest stream there can be."""
    client = await dial.http2()
    await client.send(client.head(1), frames.goaway(frames.LARGEST_WINDOW), frames.goaway(0))
    await client.until(lambda: client.ended(1) or client.over)
    if any(code for _, code in client.goaways):
        raise Failed(client.situation(1))
    return client.situation(1)


# Priorities

PRIORITIES.must("h2/5.3/tree", "PRIORITY frames that build a tree, on streams that are idle")(
    sends(
        writes_before_request(
            frames.priority(3, 0, 200), frames.priority(5, 3), frames.priority(7, 5, exclusive=True),
            frames.priority(3, 7),
        ),
        ANSWERED,
    )
)  # fmt: skip
PRIORITIES.must("h2/5.3/itself", "PRIORITY for a stream that depends on itself")(
    sends(
        lambda client: [client.head(1), frames.priority(1, 1)],
        stream_error(PROTOCOL_ERROR) | ANSWERED,
    )
)
PRIORITIES.must("h2/5.3/fields", "HEADERS with priority fields: that is right")(
    sends(
        lambda client: [
            frames.raw_frame(
                frames.HEADERS, frames.END_STREAM | frames.END_HEADERS | frames.HAS_PRIORITY, 1,
                struct.pack(">IB", 0x80000000, 255) + client.encode(client.request()),
            )
        ],
        ANSWERED,
    )
)  # fmt: skip
PRIORITIES.must("h2/5.3/padded-fields", "HEADERS with padding and priority fields: that is right")(
    sends(
        lambda client: [
            frames.raw_frame(
                frames.HEADERS,
                frames.END_STREAM | frames.END_HEADERS | frames.HAS_PRIORITY | frames.PADDED, 1,
                b"\x03" + struct.pack(">IB", 0, 15) + client.encode(client.request()) + bytes(3),
            )
        ],
        ANSWERED,
    )
)  # fmt: skip


def _update(stream_id: int, value: bytes) -> bytes:
    return frames.raw_frame(frames.PRIORITY_UPDATE, 0, 0, stream_id.to_bytes(4, "big") + value)


_UPDATES = {
    "good": ("PRIORITY_UPDATE for a stream that is to come", _update(1, b"u=0, i"), None),
    "rubbish": ("PRIORITY_UPDATE with a value that cannot be read", _update(1, b"\xff\x00;;=,"), None),
    "for-stream-0": ("PRIORITY_UPDATE for stream 0", _update(0, b"u=0"), PROTOCOL_ERROR),
    "too-short": (
        "PRIORITY_UPDATE of three bytes", frames.raw_frame(frames.PRIORITY_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR,
    ),
}  # fmt: skip
for _key, (_words, _frame, _code) in _UPDATES.items():
    PRIORITIES.must(f"h2/9218-7.1/update-{_key}", _words, rfc=9218, section="7.1")(
        sends(writes_before_request(_frame), ANSWERED)
        if _code is None
        else sends(writes(_frame), connection_error(_code) | IGNORED, stream_id=0)
    )
