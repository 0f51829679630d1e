"""Flow control (RFC 9113, sections 5.2, 6.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance.case import Topic
from securelight.conformance.http2_accept import FLOW_CONTROL_ERROR, connection_error
from securelight.conformance.http2_frames import LARGEST_WINDOW, window_update

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial

FLOW = Topic(
    "Flow control",
    rfc=9113,
    why="A server that miscounts windows sends more than a client can hold, stalls for ever, or wraps its counters.",
    cure="Keep each window as a signed number, check every change against 2^31-1, and fail the stream or connection.",
)


@FLOW.must("h2/6.9.1/window-overflow", "A WINDOW_UPDATE lifts the connection's window above 2^31-1")
async def window_overflow(dial: Dial) -> str:
    """65,535 and 2^31-1 are more than 2^31-1."""
    client = await dial.http2()
    await client.send(window_update(0, LARGEST_WINDOW))
    return await client.judge(connection_error(FLOW_CONTROL_ERROR))
