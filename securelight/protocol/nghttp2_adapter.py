"""HTTP/2 by libnghttp2, through the package ngh2: the fast engine.

nghttp2 checks the fields of requests and resets a bad stream without an event; it says that a stream was closed only
when it has written the reset. So after each run of frames the events are counted: if there are fewer than frames, some
frame was refused, and taking the engine's output at once brings to light which. The engine cannot speak after its own
last bounds (they lie above ours): then the GOAWAY is ours.

Requests that came in the same run as a header block that cannot be decompressed, or a breach of flow control that ends
the connection, are not reported: nghttp2 would not send their answers. The GOAWAY tells the client that they were not
served where it is ours.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import ngh2
from ngh2 import RequestReceived, StreamClosed

from securelight.model.errors import ConnectionFault, Http2Code
from securelight.model.request import Request
from securelight.protocol.adapter import READ_BYTES
from securelight.protocol.direct_data import DIRECT_BYTES, DirectData
from securelight.protocol.events import RequestRefused, StreamAborted
from securelight.protocol.http2_adapter import Http2Adapter
from securelight.protocol.http2_frames import (
    DATA,
    DEFAULT_WINDOW,
    END_STREAM,
    FRAME_HEADER_BYTES,
    GOAWAY,
    PREFACE,
    frames_of,
)
from securelight.protocol.http2_output import window_update
from securelight.protocol.http2_stream import ANSWERED
from securelight.protocol.nghttp2_configuration import nghttp2_configuration
from securelight.protocol.slices import data_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.model.request import Peer
    from securelight.protocol.events import Event
    from securelight.protocol.frame_findings import DoubtfulUpdate
    from securelight.protocol.http2_stream import Http2Stream

PROBE_BYTES = 65_536
"""Output that is taken to bring a refused frame to light: resets and GOAWAY go before DATA."""
EVERYTHING = 1 << 30
"""More output than there can be."""
_TURNS = ngh2.Priority(3, True)
"""RFC 9218's default urgency, incremental: equal streams take turns instead of following each other."""
_DEFAULT = ngh2.Priority(3, False)


class Nghttp2Adapter(Http2Adapter):
    """See ProtocolAdapter and Http2Adapter."""

    __slots__ = ("_dead", "_direct", "_engine", "_late", "_resetting", "_window_bytes")

    validates = True
    prioritizes = True
    read_bytes = READ_BYTES

    def __init__(self, peer: Peer, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(peer, limits, clock)
        self._dead = False
        """The engine has nothing to give any more."""
        self._direct: DirectData | None = None
        """From the first piece of a body on that went past the engine."""
        self._resetting: dict[int, None] = {}
        """Streams whose reset is known here, while the engine has not closed them yet."""
        self._late: list[Event] = []
        """Faults that came to light with output, for the next `receive`."""
        engine = self._engine = ngh2.Connection(ngh2.Role.SERVER, nghttp2_configuration(limits))
        # The peer gets the real SETTINGS from `start`. The engine is told of no bound on streams, because it would end
        # the connection for one stream too many; the walk and Http2Adapter keep the bound.
        # Whether extended CONNECT is offered is settled by `start`; the engine lets it through to our checks.
        engine.initiate_connection({0x4: limits.request_body_buffer_bytes, 0x8: 1, 0x9: 1})
        self._window_bytes = max(limits.connection_window_bytes, DEFAULT_WINDOW)
        """The connection's, with what was lost in the engine."""
        if limits.connection_window_bytes > DEFAULT_WINDOW:
            engine.set_local_window_size(limits.connection_window_bytes)
        engine.data_to_send()

    def _feed(self, run: bytes, events: list[Event]) -> None:
        if self._late and not self._walk.in_block:
            events += self._late
            self._late.clear()
        engine = self._engine
        if self._direct is not None and self._direct.differs:
            # What waits in the engine fits the windows as they were before this run, and perhaps not those after it.
            self._ready += self._engine_output(EVERYTHING)
        before, last_stream_id = len(events), self._last_stream_id
        try:
            engine.receive_data(run)
        except ngh2.DenialOfServiceError:
            self._dead = True
            raise ConnectionFault("flood: header list", Http2Code.ENHANCE_YOUR_CALM) from None
        except ngh2.NGH2Error as error:
            self._dead = True
            raise ConnectionFault(f"refused by the engine: {error}") from None
        if self._dispatch(engine.events(), events) < self._walk.frames:
            self._probe(run, events, before, last_stream_id)

    def _dispatch(self, reported: list[ngh2.Event], events: list[Event]) -> int:
        """Returns how many of the engine's events stand for a frame."""
        frames = len(reported)
        streams, known = self._streams, self._known
        most_streams = 0 if self._leaving else self._limits.concurrent_streams
        for event in reported:
            if type(event) is RequestReceived:
                stream_id = event.stream_id
                head = known.get(event.headers)
                personal: Fields = ()
                if head is None:
                    head, personal = known.with_fields(event.headers)
                if head is not None and event.end_stream and len(streams) < most_streams:
                    self._last_stream_id = stream_id
                    streams[stream_id] = head.stream
                    events.append((stream_id, head, personal))
                else:
                    self._on_head(stream_id, event.headers, event.end_stream, events)
            elif type(event) is StreamClosed:
                frames -= 1
                stream_id = event.stream_id
                stream = streams.get(stream_id)
                if not event.error_code and (
                    stream is ANSWERED or (stream is not None and stream.ended and not stream.uncredited)
                ):
                    del streams[stream_id]  # as it should be
                else:
                    self._on_closed(stream_id, event.error_code, events)
            elif type(event) is ngh2.DataReceived:
                data = event.data
                self._on_data(event.stream_id, data, len(data), event.end_stream, events)
            elif type(event) is ngh2.StreamReset:
                if event.stream_id in self._streams:
                    self._resetting[event.stream_id] = None
                self._on_peer_reset(event.stream_id, event.error_code, events)
            elif type(event) is ngh2.TrailersReceived:
                # nghttp2 refuses trailers that do not end the stream.
                self._on_trailers(event.stream_id, event.headers, True, events)
            elif type(event) is ngh2.ConnectionClosed:
                self._dead = True
                self._silence(event.debug_data)
                raise ConnectionFault(f"refused by the engine: {event.debug_data[:80]!r}", Http2Code(event.error_code))
        return frames

    def _on_closed(self, stream_id: int, code: int, events: list[Event]) -> None:
        if self._resetting and stream_id in self._resetting:
            del self._resetting[stream_id]
            return
        known = self._forget(stream_id)
        if code == 0 and known:
            return
        # The engine has reset it by itself, for a malformed head, body length or trailers.
        self._walk.cut(stream_id)
        if self._leaving and not known:
            self._flood.control("streams after GOAWAY")
            return
        self._last_stream_id = max(self._last_stream_id, stream_id)
        events.append(StreamAborted(stream_id, code, by_peer=False, reason="malformed"))
        self._flood.reset("streams reset for faults")

    def _probe(self, run: bytes, events: list[Event], before: int, last_stream_id: int) -> None:
        """Some frame of the last run was refused: bring the verdict to light."""
        if len(self._ready) - (self._direct.waiting_bytes if self._direct is not None else 0) > PROBE_BYTES:
            return
        streams = self._streams.copy()
        try:
            self._ready += self._engine.data_to_send(PROBE_BYTES)
            # A head is judged when all of it has come, though the engine may have given it up already.
            self._dispatch(self._engine.events(), self._late if self._walk.in_block else events)
            self._make_up_for_short_bodies(run, streams)
        except ngh2.NGH2Error as error:
            self._dead = True
            raise ConnectionFault(f"refused by the engine: {error}") from None
        finally:
            if self._dead:
                self._retract(events, before, last_stream_id)

    def _make_up_for_short_bodies(self, run: bytes, streams: dict[int, Http2Stream]) -> None:
        """Widen the connection's window by the credit that is lost in the engine.

        nghttp2 refuses a body that ends before its announced length, reports nothing of its last frame, and never gives
        its credit back. (Of a body that is too long it does at once.) `streams` were open before.
        """
        run = run.removeprefix(PREFACE)
        lost_bytes = sum(
            content_bytes
            for kind, flags, stream_id, content_bytes in frames_of(run)
            if kind == DATA
            and flags & END_STREAM
            and stream_id not in self._streams
            and (stream := streams.get(stream_id)) is not None
            and stream.received + content_bytes < (stream.announced or 0)
        )
        if lost_bytes:
            self._window_bytes += lost_bytes
            self._engine.set_local_window_size(self._window_bytes)

    def _silence(self, debug_data: bytes) -> None:
        """Take back the engine's GOAWAY, its last frame: ours names the streams that were served."""
        length = 8 + len(debug_data)
        goaway = self._ready[-FRAME_HEADER_BYTES - length :]
        if goaway[:4] == length.to_bytes(3, "big") + bytes([GOAWAY]):
            self._ready = self._ready[: -len(goaway)]

    def _retract(self, events: list[Event], before: int, last_stream_id: int) -> None:
        """The engine will not answer the requests of this run."""
        kept: list[Event] = []
        for event in events[before:]:
            if isinstance(event, tuple):
                self._streams.pop(event[0], None)
            elif isinstance(event, (Request, RequestRefused)):
                self._streams.pop(event.stream_id, None)
            else:
                kept.append(event)
        events[before:] = kept
        self._last_stream_id = last_stream_id

    def _request_ended(self, stream_id: int, stream: Http2Stream) -> None:
        """The engine says when the stream is closed."""

    def _settle(self) -> None:
        if self._dead:
            return
        reported = self._engine.events()
        if reported:
            try:
                self._dispatch(reported, self._late)
            except ConnectionFault as fault:
                self.fail(fault.code)

    # A stream that the engine has closed already raises; the event that says so is under way.

    def _send_head(self, stream_id: int, fields: list[Field], end: bool) -> None:
        try:
            self._engine.send_response(stream_id, fields, end_stream=end)
        except ngh2.NGH2Error:
            return

    def _take_turns(self, stream_id: int) -> None:
        engine = self._engine
        with suppress(ngh2.NGH2Error):
            # A PRIORITY_UPDATE may have come meanwhile.
            if engine.get_stream_priority(stream_id) == _DEFAULT:
                engine.set_stream_priority(stream_id, _TURNS)

    def _send_data(self, stream_id: int, data: bytes | memoryview, end: bool) -> None:
        try:
            self._engine.send_data(stream_id, data, end_stream=end)
        except ngh2.NGH2Error:
            return

    def write(self, stream_id: int, data: bytes | memoryview, *, end: bool) -> None:
        """See ProtocolAdapter."""
        if len(data) >= DIRECT_BYTES and len(self._streams) == 1:
            stream = self._streams.get(stream_id)
            if stream is not None and stream.responded and not stream.ended and self._send_directly(stream_id, data):
                data = b""
                if not end:
                    return
        super().write(stream_id, data, end=end)

    def _send_directly(self, stream_id: int, data: bytes | memoryview) -> bool:
        """Frame `data` here, after what the engine has said so far; False if that is more than heads."""
        direct = self._direct
        if direct is None:
            direct = self._direct = DirectData()
        if self._dead or direct.waiting_bytes or self._engine.queued_body_size():
            return False
        self._ready = b"".join((self._ready, self._engine_output(EVERYTHING), data_frames(stream_id, data)))
        direct.sent(stream_id, len(data))
        direct.waiting_bytes += len(data)
        self._walk.doubts_updates = True
        return True

    def direct_room(self, stream_id: int) -> int:
        """See ProtocolAdapter."""
        if len(self._streams) != 1 or self._dead or self._ready or self._ours or self._engine.queued_body_size():
            return 0
        stream = self._streams.get(stream_id)
        if stream is None or not stream.responded or stream.ended:
            return 0
        if self._direct is None:
            self._direct = DirectData()
        room = self._window(stream_id)
        return room if room >= DIRECT_BYTES else 0

    def direct_sent(self, stream_id: int, size: int) -> None:
        """See ProtocolAdapter."""
        assert self._direct is not None
        self._direct.sent(stream_id, size)
        self._walk.doubts_updates = True
        self._flood.sent(size)

    def _widen(self, update: DoubtfulUpdate, events: list[Event]) -> None:
        direct = self._direct
        if direct is not None and direct.differs:
            if direct.stream_id not in self._streams:
                direct.stream_bytes = 0
            increment = direct.widened(update.stream_id, update.increment)
            self._walk.doubts_updates = direct.differs
            if not increment:
                return
            update = update._replace(frame=window_update(increment, update.stream_id))
        self._walk.frames = 1
        self._feed(update.frame, events)

    def respond_again(self, stream_id: int, head: list[Field], body: bytes) -> bool:
        """See ProtocolAdapter."""
        if self._direct is not None and self._direct.differs:
            return super().respond_again(stream_id, head, body)
        streams, engine = self._streams, self._engine
        if stream_id not in streams:
            return False
        try:
            size = len(body)
            if size > engine.stream_remote_window_size(stream_id) or size > engine.remote_window_size:
                return False
            engine.send_response(stream_id, head)
            engine.send_data(stream_id, body, end_stream=True)
        except ngh2.NGH2Error:
            return False
        streams[stream_id] = ANSWERED
        return True

    def _send_whole(self, stream_id: int, fields: list[Field], body: bytes) -> None:
        engine = self._engine
        try:
            engine.send_response(stream_id, fields)
            engine.send_data(stream_id, body, end_stream=True)
        except ngh2.NGH2Error:
            return

    def _send_trailers(self, stream_id: int, fields: Fields) -> None:
        with suppress(ngh2.NGH2Error):
            self._engine.send_trailers(stream_id, fields)

    def _send_interim(self, stream_id: int, fields: list[Field]) -> None:
        with suppress(ngh2.NGH2Error):
            self._engine.send_informational_response(stream_id, fields)

    def _send_reset(self, stream_id: int, code: Http2Code) -> None:
        if self._dead:
            return
        with suppress(ngh2.NGH2Error):
            self._engine.reset_stream(stream_id, code)
            self._resetting[stream_id] = None

    def _give_back(self, stream_id: int, credit: int) -> None:
        if self._dead:
            return
        try:
            self._engine.acknowledge_received_data(credit, stream_id)
        except ngh2.NGH2Error:
            return

    def _open_wider(self, stream_id: int) -> None:
        with suppress(ngh2.NGH2Error):
            self._engine.set_local_window_size(self._limits.upload_window_bytes, stream_id=stream_id)

    def _window(self, stream_id: int) -> int:
        engine, direct = self._engine, self._direct
        try:
            connection, stream = engine.remote_window_size, engine.stream_remote_window_size(stream_id)
        except ngh2.NGH2Error:
            return 0
        if direct is not None and direct.differs:
            # The engine would send all that it holds, so together that must not be more than there is room for.
            connection -= direct.connection_bytes + engine.queued_body_size()
            if stream_id == direct.stream_id:
                stream -= direct.stream_bytes
        return min(connection, stream)

    def _stream_window(self, stream_id: int) -> int:
        try:
            window = self._engine.stream_remote_window_size(stream_id)
        except ngh2.NGH2Error:
            return 0
        direct = self._direct
        return window - direct.stream_bytes if direct is not None and direct.stream_id == stream_id else window

    def _queued(self, stream_id: int) -> int:
        queued, direct = self._engine.queued_body_size(stream_id), self._direct
        return queued + direct.waiting_bytes if direct is not None and direct.stream_id == stream_id else queued

    def take_output(self, limit: int) -> bytes:
        """See ProtocolAdapter."""
        if self._direct is not None:
            self._direct.waiting_bytes = 0
        return super().take_output(limit)

    def _engine_output(self, limit: int) -> bytes:
        if self._dead:
            return b""
        try:
            return self._engine.data_to_send(limit)
        except ngh2.NGH2Error:
            self._dead = True
            self.fail(Http2Code.INTERNAL_ERROR)
            return b""
