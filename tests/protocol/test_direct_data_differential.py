"""DATA that goes past the engine against DATA that goes through it: whatever happens in between, clients get the same.

Two adapters hear the same and are told to send the same; one of them has direct_data switched off. Each has a client of
its own (the package h2) that keeps the windows and ends the connection when one is overrun or a frame is out of place.
"""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from hypothesis import given, settings, strategies as st

from securelight.model.body import PUSHED_BODY
from securelight.model.errors import Http2Code
from securelight.model.response import Response
from securelight.protocol.events import ConnectionFailed, Event, StreamAborted
from securelight.protocol.http2_adapter import Http2Adapter
from securelight.protocol.nghttp2_adapter import Nghttp2Adapter
from tests.protocol.http2_support import GET, LIMITS, PEER, POST

BEGINNING = Response(200, (), PUSHED_BODY)
WHOLE = Response(200, (), b"")
INITIAL_WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
MAX_FRAME_SIZE = h2.settings.SettingCodes.MAX_FRAME_SIZE
MOST_STREAMS = 4


class PlainAdapter(Nghttp2Adapter):
    """All that is sent goes through the engine."""

    write = Http2Adapter.write


class Side:
    """An adapter and its client, and what became of each stream there."""

    def __init__(self, kind: type[Nghttp2Adapter], window: int) -> None:
        self.adapter = kind(PEER, LIMITS)
        self.adapter.start()
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.client.initiate_connection()
        self.client.update_settings({INITIAL_WINDOW: window})
        self.bodies: dict[int, bytes] = {}
        self.ends: dict[int, object] = {}
        self.interim: list[int] = []
        self.aborted: list[tuple[int, int]] = []
        self.talk()

    def talk(self) -> None:
        """What the client has to say goes to the adapter. It reads nothing yet: that is another step."""
        for event in self.adapter.receive(self.client.data_to_send()):
            self.note(event)

    def note(self, event: Event) -> None:
        assert not isinstance(event, ConnectionFailed), event
        if isinstance(event, StreamAborted):
            self.aborted.append((event.stream_id, event.code))

    def read(self, limit: int = 20_000) -> None:
        while self.read_piece(limit):
            pass

    def read_piece(self, limit: int) -> bool:
        """At most so much of the engine's output, which may end within a frame; False if there is none."""
        output = self.adapter.take_output(limit)
        if output:
            for event in self.client.receive_data(output):  # raises for what no server may send
                if isinstance(event, h2.events.DataReceived):
                    self.bodies[event.stream_id] += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    self.ends.setdefault(event.stream_id, "ended")
                elif isinstance(event, h2.events.StreamReset):
                    self.ends[event.stream_id] = event.error_code
                elif isinstance(event, h2.events.TrailersReceived):
                    self.ends[event.stream_id] = tuple(event.headers)
            self.talk()
        return bool(output)


class Both:
    """The two sides, kept alike."""

    def __init__(self, window: int) -> None:
        self.sides = [Side(Nghttp2Adapter, window), Side(PlainAdapter, window)]
        self.live: list[int] = []
        self.written: dict[int, bytes] = {}

    def open(self, *, upload: bool) -> None:
        stream_id = self.sides[0].client.get_next_available_stream_id()
        for side in self.sides:
            side.client.send_headers(stream_id, POST if upload else GET, end_stream=not upload)
            side.bodies[stream_id] = b""
            side.talk()
            side.adapter.respond(stream_id, BEGINNING, b"", end=False)
        self.live.append(stream_id)
        self.written[stream_id] = b""

    def capacity(self, stream_id: int) -> int:
        return min(side.adapter.capacity(stream_id, 100_000) for side in self.sides)

    def write(self, stream_id: int, size: int, end: str) -> None:
        size = min(size, self.capacity(stream_id))
        if size < 0:
            return
        start = len(self.written[stream_id])
        piece = bytes((stream_id + number) % 251 for number in range(start, start + size))
        self.written[stream_id] += piece
        for side in self.sides:
            if end == "trailers":
                side.adapter.write(stream_id, piece, end=False)
                side.adapter.end_with_trailers(stream_id, ((b"x-sum", b"1"),))
            elif piece or end == "end":
                side.adapter.write(stream_id, piece, end=end == "end")
        if end:
            self.live.remove(stream_id)

    def whole(self, size: int) -> None:
        """A stream that is answered in one call, if there is room."""
        stream_id = self.sides[0].client.get_next_available_stream_id()
        body = b"w" * size
        for side in self.sides:
            side.client.send_headers(stream_id, GET, end_stream=True)
            side.bodies[stream_id] = b""
            side.talk()
        self.written[stream_id] = b""
        if self.capacity(stream_id) < size:
            for side in self.sides:
                side.adapter.respond(stream_id, BEGINNING, b"", end=False)
            self.live.append(stream_id)
            return
        self.written[stream_id] = body
        taken = [side.adapter.respond_whole(stream_id, Response(200, (), body), body) for side in self.sides]
        assert taken == [True, True]

    def each(self, name: str, *arguments: Any, **keywords: Any) -> None:
        """Each client does something."""
        for side in self.sides:
            getattr(side.client, name)(*arguments, **keywords)
            side.talk()


SIZES = st.sampled_from([1, 3_000, 16_383, 16_384, 40_000, 98_250])
ENDS = st.sampled_from(["", "", "", "end", "trailers"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.booleans()),
        st.tuples(st.just("write"), st.tuples(st.integers(0, 3), SIZES, ENDS)),
        st.tuples(st.just("write"), st.tuples(st.integers(0, 3), SIZES, st.just(""))),
        st.tuples(st.just("whole"), st.sampled_from([1, 5_000, 30_000])),
        st.tuples(st.just("read"), st.sampled_from([1, 1_000, 16_393, 20_000, 115_000])),
        st.tuples(st.just("take"), st.sampled_from([1, 1_000, 16_393, 115_000])),
        st.tuples(st.just("widen"), st.tuples(st.integers(0, 4), st.sampled_from([1, 5_000, 50_000, 1 << 20]))),
        st.tuples(st.just("window"), st.sampled_from([0, 100, 30_000, 65_535, 1 << 20])),
        st.tuples(st.just("frame-size"), st.sampled_from([16_384, 16_385, 65_536, (1 << 24) - 1])),
        st.tuples(st.just("ping"), st.none()),
        st.tuples(st.just("upload"), st.tuples(st.integers(0, 3), st.integers(0, 9_000), st.booleans())),
        st.tuples(st.just("reset"), st.tuples(st.integers(0, 3), st.booleans())),
    ),
    max_size=40,
)  # fmt: skip


@given(st.sampled_from([0, 65_535, 1 << 20]), STEPS)
@settings(max_examples=100, deadline=None)
def test_clients_get_the_same_of_both(window: int, steps: list[tuple[str, Any]]) -> None:
    both = Both(window)
    uploading: set[int] = set()
    for kind, what in steps:
        number = what[0] if isinstance(what, tuple) else 0
        if kind in ("write", "upload", "reset") and number >= len(both.live):
            continue
        stream_id = both.live[number] if number < len(both.live) else 0
        if kind == "open" and len(both.live) < MOST_STREAMS:
            both.open(upload=what)
            if what:
                uploading.add(both.live[-1])
        elif kind == "write":
            both.write(stream_id, what[1], what[2])
        elif kind == "whole" and len(both.live) < MOST_STREAMS:
            both.whole(what)
        elif kind == "read":
            for side in both.sides:
                side.read(what)
        elif kind == "take":
            for side in both.sides:
                side.read_piece(what)
        elif kind == "widen" and number <= len(both.live):
            both.each("increment_flow_control_window", what[1], stream_id=both.live[number - 1] if number else None)
        elif kind == "window":
            both.each("update_settings", {INITIAL_WINDOW: what})
        elif kind == "frame-size":
            both.each("update_settings", {MAX_FRAME_SIZE: what})
        elif kind == "ping":
            both.each("ping", b"12345678")
        elif kind == "upload" and stream_id in uploading:
            size = min(what[1], *(side.client.local_flow_control_window(stream_id) for side in both.sides))
            both.each("send_data", stream_id, b"u" * max(size, 0), end_stream=what[2], pad_length=None)
            if what[2]:
                uploading.discard(stream_id)
        elif kind == "reset":
            both.live.remove(stream_id)
            uploading.discard(stream_id)
            if what[1]:
                both.each("reset_stream", stream_id)
            else:
                for side in both.sides:
                    side.adapter.reset(stream_id, Http2Code.INTERNAL_ERROR)
            both.written.pop(stream_id)
    for side in both.sides:
        side.read()
    both.each("update_settings", {INITIAL_WINDOW: 1 << 24})
    both.each("increment_flow_control_window", 1 << 24)
    for side in both.sides:
        side.read()
    for stream_id in tuple(both.live):
        both.write(stream_id, 50_000, "")
        both.write(stream_id, 50_000, "end")
    for side in both.sides:
        side.read()
        side.talk()
    for side in both.sides:
        assert side.aborted == both.sides[1].aborted
        assert side.ends == both.sides[1].ends
        for stream_id, written in both.written.items():
            assert side.bodies[stream_id] == written
            assert stream_id in side.ends
        assert side.adapter.open_streams == both.sides[1].adapter.open_streams
