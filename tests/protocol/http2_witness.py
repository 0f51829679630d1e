"""An HTTP/2 client that keeps account of both sides of its connection and fails on what no peer may ever see.

It reads with hyperframe and hpack, and does its own sums: windows, ends of streams, the order of events. What it is
told to send may be as wrong as you like. The state machines and the fuzz targets drive it.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from securelight.model.body import PUSHED_BODY
from securelight.model.errors import Http2Code
from securelight.model.limits import Limits
from securelight.model.request import Request
from securelight.model.response import Response
from securelight.protocol.events import (
    BodyEnded,
    BodyReceived,
    ConnectionFailed,
    PeerLeaving,
    RequestRefused,
    StreamAborted,
)
from tests.protocol.http2_support import Client, outline, settings, window_update

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.protocol.events import Event
    from securelight.protocol.http2_adapter import Http2Adapter

FRAME_BYTES = 16_384
LIMITS = dataclasses.replace(
    Limits(), concurrent_streams=6, request_head_bytes=2_000, request_fields=12, request_body_bytes=3_000,
    response_buffer_bytes=40_000, stream_resets=12, control_frames=60,
)  # fmt: skip
"""Small enough to be reached."""
WHOLE = Response(200, ((b"content-type", b"text/plain"),), b"hello")


class Witness:
    """One connection to an adapter of the class `engine`, with small limits.

    Attributes:
        failed: the adapter has ended the connection.
        told: what the adapter has reported, as `outline` says it.
        open: streams that were reported as requests and neither ended nor broken off by anyone.
        given: stream -> the body that the adapter was given as an answer.
    """

    def __init__(self, engine: type[Http2Adapter], *, greet: bool = True) -> None:
        self.client = Client(engine, LIMITS, greet=greet)
        self.adapter = self.client.adapter
        self.failed = False
        self.told: list[tuple[Any, ...]] = []
        self.open: dict[int, None] = {}
        self.credit: dict[int, int] = defaultdict(int)
        self._request_ended: set[int] = set()
        self._refused: set[int] = set()
        # What the client lets us send, and what it has seen.
        self._initial = 65_535
        self._settings: list[dict[int, int]] = [{}] if greet else []
        self._granted: dict[int, int] = defaultdict(int)
        self._arrived: dict[int, bytes] = {}
        self._ended: set[int] = set()
        self._broken: set[int] = set()
        self._last_goaway = (1 << 31) - 1
        # What we let the client send.
        self._uploaded: dict[int, int] = defaultdict(int)
        # What was given to the adapter.
        self.given: dict[int, bytes] = {}
        self._streaming: set[int] = set()
        self._wrote = False
        for frame in self.client.frames:
            self._judge_frame(frame)
        self.look()

    # The peer.

    def send(self, frame: bytes, cut: int = 0) -> list[tuple[Any, ...]]:
        """Give `frame` to the adapter, in two pieces if `cut` is inside it; what it reports."""
        self._note(frame)
        events: list[Event] = []
        for piece in (frame[:cut], frame[cut:]) if 0 < cut < len(frame) else (frame,):
            events += self._receive(piece)
        return self._tell(events)

    def end_input(self) -> list[tuple[Any, ...]]:
        return self._tell(list(self.adapter.receive_end()))

    def _receive(self, data: bytes) -> list[Event]:
        events = list(self.adapter.receive(data))
        assert not (self.failed and events), "events after the end"
        for event in events:
            self._judge(event)
        assert len(self.adapter._walk._held) <= FRAME_BYTES + 9
        assert len(self.adapter._walk._cut) <= 2 * LIMITS.concurrent_streams
        assert self.adapter.open_streams <= LIMITS.concurrent_streams
        return events

    def _note(self, frame: bytes) -> None:
        """What a frame that is about to be sent means for the sums, where it is one that can be read."""
        if len(frame) < 9 or len(frame) != 9 + int.from_bytes(frame[:3], "big"):
            return
        kind, flags = frame[3], frame[4]
        stream_id = int.from_bytes(frame[5:9], "big") & 0x7FFFFFFF
        payload = frame[9:]
        if kind == 8 and len(payload) == 4:
            self._granted[stream_id] += int.from_bytes(payload, "big") & 0x7FFFFFFF
        elif kind == 4 and not flags & 1 and stream_id == 0 and len(payload) % 6 == 0:
            pairs = [payload[start : start + 6] for start in range(0, len(payload), 6)]
            self._settings.append({
                int.from_bytes(pair[:2], "big"): int.from_bytes(pair[2:], "big") for pair in pairs
            })  # fmt: skip
        elif kind == 0:
            self._uploaded[stream_id] += len(payload)
            self._uploaded[0] += len(payload)
        elif kind == 3 and len(payload) == 4:
            self._broken.add(stream_id)

    def _judge(self, event: Event) -> None:
        """The order of events; bodies within their window."""
        assert not self.failed, "an event after the end"
        if isinstance(event, ConnectionFailed):
            self.failed = True
            self.open.clear()
            assert self.adapter.closing
            return
        if isinstance(event, PeerLeaving):
            return
        assert not isinstance(event, tuple)
        stream_id = event.stream_id
        assert stream_id % 2 == 1
        if isinstance(event, Request):
            assert stream_id not in self._arrived
            self.open[stream_id] = None
            self._arrived[stream_id] = b""
            if not event.has_body:
                self._request_ended.add(stream_id)
        elif isinstance(event, RequestRefused):
            assert event.in_body == (stream_id in self._arrived)
            assert stream_id not in self._refused
            self._refused.add(stream_id)
            self.open.setdefault(stream_id)
            self._arrived.setdefault(stream_id, b"")
        elif isinstance(event, BodyReceived):
            assert stream_id in self.open
            assert stream_id not in self._request_ended | self._refused
            assert event.data
            self.credit[stream_id] += event.credit
            assert self.credit[stream_id] <= LIMITS.request_body_buffer_bytes
        elif isinstance(event, BodyEnded):
            assert stream_id in self.open
            assert stream_id not in self._request_ended | self._refused
            self._request_ended.add(stream_id)
        else:
            assert isinstance(event, StreamAborted)
            self._broken.add(stream_id)
            self.open.pop(stream_id, None)
            self._arrived.setdefault(stream_id, b"")

    def _tell(self, events: Sequence[Event]) -> list[tuple[Any, ...]]:
        if any(isinstance(event, StreamAborted) for event in events):
            for event in events:
                if isinstance(event, StreamAborted):
                    self._broken.add(event.stream_id)
                    self.open.pop(event.stream_id, None)
        said = outline(events)
        self.told += said
        return said

    # The server.

    def respond(self, stream_id: int, body: bytes, *, end: bool) -> None:
        """Answer; without `end` more of the body follows by `write`."""
        if stream_id not in self.open or stream_id in self.given:
            return
        if self._wrote:
            body = body[: max(0, self.adapter.capacity(stream_id))]
        response = Response(200, (), body) if end else Response(200, (), PUSHED_BODY)
        self.adapter.respond(stream_id, response, body, end=end)
        self.given[stream_id] = body
        if not end:
            self._streaming.add(stream_id)

    def respond_whole(self, stream_id: int) -> None:
        if stream_id in self.open and stream_id not in self.given and self.adapter.respond_whole(
            stream_id, WHOLE, b"hello"
        ):  # fmt: skip
            self.given[stream_id] = b"hello"

    def write(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """As much of `data` as there is room for."""
        if stream_id in self._streaming:
            room = self.adapter.capacity(stream_id)
            assert room <= LIMITS.response_buffer_bytes
            if room < 0:
                return
            self._wrote = True
            self.adapter.write(stream_id, data[:room], end=end)
            self.given[stream_id] += data[:room]
            if end:
                self._streaming.discard(stream_id)

    def end_with_trailers(self, stream_id: int) -> None:
        if stream_id in self._streaming:
            self.adapter.end_with_trailers(stream_id, ((b"x-sum", b"1"),))
            self._streaming.discard(stream_id)

    def inform(self, stream_id: int) -> None:
        self.adapter.inform(stream_id, 103, ((b"link", b"</a.css>"),))

    def consume(self, stream_id: int) -> None:
        """The handler has used what it was given."""
        self.adapter.consumed(stream_id, self.credit.pop(stream_id, 0))

    def cancel(self, stream_id: int) -> None:
        """The handler breaks the response off."""
        if stream_id in self.open:
            self.adapter.reset(stream_id, Http2Code.INTERNAL_ERROR)
            self._broken.add(stream_id)
            self._streaming.discard(stream_id)
            self.open.pop(stream_id, None)

    def pass_time(self, seconds: float) -> None:
        self.client.clock.now += seconds

    # What comes out.

    def look(self) -> list[Frame]:
        """Read and judge what the adapter sends."""
        frames = self.client.read()
        for frame in frames:
            assert frame.body_len <= FRAME_BYTES
            self._judge_frame(frame)
        return frames

    def _judge_frame(self, frame: Frame) -> None:
        stream_id = frame.stream_id
        if isinstance(frame, SettingsFrame):
            if "ACK" in frame.flags:
                self._apply(self._settings.pop(0))
        elif isinstance(frame, PingFrame):
            assert "ACK" in frame.flags
        elif isinstance(frame, GoAwayFrame):
            assert frame.last_stream_id <= self._last_goaway
            self._last_goaway = frame.last_stream_id
        elif isinstance(frame, WindowUpdateFrame):
            self._uploaded[stream_id] -= frame.window_increment
            if not self.failed:
                self._judge_window(stream_id)
        elif isinstance(frame, RstStreamFrame):
            assert frame.error_code != Http2Code.NO_ERROR or stream_id in self._ended, "cut off without an error"
            self._broken.add(stream_id)
            self._ended.add(stream_id)
        else:
            assert isinstance(frame, HeadersFrame | DataFrame), frame
            assert stream_id in self._arrived, "an answer to nothing"
            assert stream_id not in self._ended, "more after the end"
            if isinstance(frame, DataFrame):
                self._take(frame)
            if "END_STREAM" in frame.flags:
                self._ended.add(stream_id)

    def _judge_window(self, stream_id: int) -> None:
        """The client may never have been given more to send than what a limit names."""
        if stream_id:
            assert -self._uploaded[stream_id] <= 0, "more credit than was used"
        else:
            assert -self._uploaded[0] <= LIMITS.connection_window_bytes - 65_535

    def _take(self, frame: DataFrame) -> None:
        stream_id, size = frame.stream_id, frame.flow_controlled_length
        for which in (0, stream_id):
            self._granted[which] -= size
        if size:
            assert self._granted[stream_id] + self._initial >= 0, "beyond the window of the stream"
            assert self._granted[0] + 65_535 >= 0, "beyond the window of the connection"
        self._arrived[stream_id] += frame.data

    def _apply(self, values: dict[int, int]) -> None:
        self._initial = values.get(4, self._initial)
        if 1 in values:
            self.client.decoder.max_allowed_table_size = values[1]

    def finish(self) -> None:
        """The client opens its windows: what was given and not broken off has to arrive, whole."""
        self.look()
        self.send(settings({4: 1 << 20}))
        if not self.failed:
            for stream_id in [0, *self.given]:
                if self._granted[stream_id] < 1 << 20 and (stream_id == 0 or stream_id not in self._ended):
                    self.send(window_update(stream_id, 1 << 24))
        self.look()
        if self.failed:
            return
        for stream_id, body in self.given.items():
            arrived = self._arrived[stream_id]
            assert body.startswith(arrived)
            if stream_id not in self._broken:
                assert arrived == body
                assert (stream_id in self._ended) == (stream_id not in self._streaming)
