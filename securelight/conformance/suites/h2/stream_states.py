"""Every frame type on a stream in every state (RFC 9113, section 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Topic
from securelight.conformance.http2_accept import (
    ANSWERED,
    IGNORED,
    MALFORMED,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    Accept,
    connection_error,
    stream_error,
)
from securelight.conformance.http2_questions import STATES, Build, in_state

if TYPE_CHECKING:
    from collections.abc import Mapping

STREAM_STATES = Topic(
    "Stream states",
    rfc=9113,
    why="A server whose idea of a stream's state differs from the client's gives one request's bytes to another, or "
    "keeps streams for ever.",
    cure="Look the state of the stream up before a frame is handled, and refuse what the state table does not allow.",
)

BOTH = connection_error(PROTOCOL_ERROR, STREAM_CLOSED)
LATE = IGNORED | stream_error(STREAM_CLOSED, PROTOCOL_ERROR)
"""On a closed stream: it may have been on its way when the stream was closed, and an error is allowed too."""


def _everywhere(accept: Accept, **others: Accept) -> dict[str, Accept]:
    return {state: others.get(state.replace("-", "_"), accept) for state in STATES}


TABLE: Mapping[str, tuple[Build, Mapping[str, Accept]]] = {
    "data": (
        lambda client: [frames.data(1, b"x")],
        {
            "idle": BOTH,
            "open": ANSWERED | IGNORED,
            "half-closed": stream_error(STREAM_CLOSED),
            "closed": stream_error(STREAM_CLOSED),
            "reset": stream_error(STREAM_CLOSED),
            "server-reset": IGNORED,
        },
    ),
    "headers": (
        lambda client: [client.head(1, [(b"x-trailer", b"1")])],
        {
            "idle": MALFORMED,
            "open": ANSWERED | IGNORED,
            "half-closed": stream_error(STREAM_CLOSED),
            "closed": stream_error(STREAM_CLOSED) | connection_error(PROTOCOL_ERROR),
            "reset": stream_error(STREAM_CLOSED) | connection_error(PROTOCOL_ERROR),
            "server-reset": IGNORED,
        },
    ),
    "priority": (lambda client: [frames.priority(1)], _everywhere(IGNORED)),
    "rst-stream": (
        lambda client: [frames.rst_stream(1)],
        _everywhere(
            LATE, idle=connection_error(PROTOCOL_ERROR), open=IGNORED, half_closed=IGNORED, server_reset=IGNORED
        ),
    ),
    "settings": (
        lambda client: [frames.raw_frame(frames.SETTINGS, 0, 1)],
        _everywhere(connection_error(PROTOCOL_ERROR)),
    ),
    "push-promise": (
        lambda client: [
            frames.raw_frame(
                frames.PUSH_PROMISE, frames.END_HEADERS, 1, b"\0\0\0\2" + client.encode([(b":method", b"GET")])
            )
        ],
        _everywhere(BOTH, idle=connection_error(PROTOCOL_ERROR), open=connection_error(PROTOCOL_ERROR)),
    ),
    "ping": (
        lambda client: [frames.raw_frame(frames.PING, 0, 1, b"judgment")],
        _everywhere(connection_error(PROTOCOL_ERROR)),
    ),
    "goaway": (
        lambda client: [frames.raw_frame(frames.GOAWAY, 0, 1, bytes(8))],
        _everywhere(connection_error(PROTOCOL_ERROR)),
    ),
    "window-update": (
        lambda client: [frames.window_update(1, 1)],
        _everywhere(
            LATE,
            idle=connection_error(PROTOCOL_ERROR),
            open=ANSWERED | IGNORED,
            half_closed=IGNORED,
            server_reset=IGNORED,
        ),
    ),
    "continuation": (
        lambda client: [frames.continuation(1, b"")],
        _everywhere(BOTH, idle=connection_error(PROTOCOL_ERROR), open=connection_error(PROTOCOL_ERROR)),
    ),
    "altsvc": (lambda client: [frames.raw_frame(0xA, 0, 1, b'\0\0h2=":1"')], _everywhere(ANSWERED | IGNORED)),
    "unknown": (lambda client: [frames.raw_frame(0xEE, 0xFF, 1, b"whatever")], _everywhere(ANSWERED | IGNORED)),
    "priority-update": (
        lambda client: [frames.raw_frame(frames.PRIORITY_UPDATE, 0, 1, b"\0\0\0\1u=1")],
        _everywhere(connection_error(PROTOCOL_ERROR) | IGNORED),
    ),
}
"""Frame -> what is sent on stream 1, and what is right in each state.

Where the RFC gives a server a choice (a frame that may have been on its way when the stream closed), all of it is
accepted. What was on its way when the server reset the stream is certain to be no fault.
"""

for _frame, (_build, _accepted) in TABLE.items():
    for _state, _accept in _accepted.items():
        STREAM_STATES.must(
            f"h2/5.1/{_frame}-on-{_state}",
            f"{_frame.upper().replace('-', '_')} on {STATES[_state][0]}",
        )(in_state(_state, _build, _accept))
