"""The receive window of a stream whose handler takes bodies as they come, on both engines."""

from __future__ import annotations

import pytest

from securelight.model.body import PUSHED_BODY
from securelight.model.errors import Http2Code
from securelight.model.response import Response
from securelight.protocol.events import BodyReceived
from securelight.protocol.http2_adapter import Http2Adapter
from tests.protocol.http2_support import (
    ENGINES,
    LIMITS,
    POST,
    Client,
    WindowUpdateFrame,
    data,
    outline,
    raw_frame,
)

FRAME_BYTES = 16_384
WIDE, NARROW = LIMITS.upload_window_bytes, LIMITS.request_body_buffer_bytes

Engine = type[Http2Adapter]
pytestmark = pytest.mark.parametrize("engine", ENGINES)


def greeted(engine: Engine) -> Client:
    """A client that has acknowledged the SETTINGS: NARROW is in force."""
    client = Client(engine)
    assert client.send(raw_frame(4, 1, 0)) == []
    return client


def opened(engine: Engine) -> Client:
    client = greeted(engine)
    client.send(client.head(1, POST, end=False))
    client.read()
    return client


def frames(size: int, stream_id: int = 1) -> list[bytes]:
    return [data(stream_id, b"x" * FRAME_BYTES) for _ in range(size // FRAME_BYTES)]


def test_the_client_is_told_and_may_send_as_much_ahead(engine: Engine) -> None:
    client = opened(engine)
    client.adapter.widen(1)
    (update,) = client.read()
    assert isinstance(update, WindowUpdateFrame)
    assert (update.stream_id, update.window_increment) == (1, WIDE - NARROW)
    events = client.send(*frames(WIDE))
    assert sum(len(event.data) for event in events if isinstance(event, BodyReceived)) == WIDE
    assert outline(client.send(data(1, b"x"))) in (
        [("failed", Http2Code.FLOW_CONTROL_ERROR)],
        [("aborted", 1, Http2Code.FLOW_CONTROL_ERROR, False)],
    )


def test_what_is_taken_opens_the_window_again(engine: Engine) -> None:
    client = opened(engine)
    client.adapter.widen(1)
    client.read()
    room = WIDE
    for _ in range(10):
        assert room >= WIDE // 2
        for event in client.send(*frames(room)):
            assert isinstance(event, BodyReceived)
            client.adapter.consumed(1, event.credit)
        room -= room // FRAME_BYTES * FRAME_BYTES
        room += sum(
            update.window_increment
            for update in client.read()
            if isinstance(update, WindowUpdateFrame) and update.stream_id == 1
        )


def test_other_streams_keep_theirs(engine: Engine) -> None:
    client = opened(engine)
    client.send(client.head(3, POST, end=False))
    client.adapter.widen(1)
    client.read()
    assert {event[0] for event in outline(client.send(*frames(NARROW, 3)))} == {"body"}
    assert outline(client.send(data(3, b"x"))) in (
        [("failed", Http2Code.FLOW_CONTROL_ERROR)],
        [("aborted", 3, Http2Code.FLOW_CONTROL_ERROR, False)],
    )


def test_all_together_are_bounded_by_the_connection(engine: Engine) -> None:
    client = greeted(engine)
    streams = range(1, 2 * (LIMITS.connection_window_bytes // WIDE) + 2, 2)
    for stream_id in streams:
        client.send(client.head(stream_id, POST, end=False))
        client.adapter.widen(stream_id)
    client.read()
    for stream_id in streams[:-1]:
        assert not [event for event in outline(client.send(*frames(WIDE, stream_id))) if event[0] != "body"]
    assert outline(client.send(data(streams[-1], b"x"))) == [("failed", Http2Code.FLOW_CONTROL_ERROR)]


def test_what_is_under_way_after_a_reset_is_no_fault(engine: Engine) -> None:
    client = opened(engine)
    client.adapter.widen(1)
    client.read()
    client.adapter.reset(1, Http2Code.CANCEL)
    client.read()
    assert client.send(*frames(WIDE)) == []
    assert outline(client.send(data(1, b"x"))) == [("failed", Http2Code.FLOW_CONTROL_ERROR)]


def test_ended_and_unknown_streams_are_left_alone(engine: Engine) -> None:
    client = greeted(engine)
    client.send(client.head(1), client.head(3, POST, end=False))
    client.adapter.respond(3, Response(200, (), PUSHED_BODY), b"", end=False)
    client.adapter.end_with_trailers(3, ())
    client.read()
    for stream_id in (1, 3, 5):
        client.adapter.widen(stream_id)
    assert client.read() == []


@pytest.mark.parametrize(("announced", "told"), [(0, False), (NARROW, False), (NARROW + 1, True)])
def test_what_fits_the_window_as_it_is_needs_no_other(engine: Engine, announced: int, told: bool) -> None:
    client = greeted(engine)
    client.send(client.head(1, [*POST, (b"content-length", b"%d" % announced)], end=False))
    client.adapter.widen(1)
    assert [frame.stream_id for frame in client.read() if isinstance(frame, WindowUpdateFrame)] == [1] * told
