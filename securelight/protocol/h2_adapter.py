"""HTTP/2 by the package h2: the reference engine, always there.

h2 is fed one frame at a time, so that what came before a bad frame is known. Its checks of fields are left to
request_head, which are those of the other engine, and cost a stream where h2 would end the connection. It is
subclassed in three places that its public interface does not reach, which is why its minor version is pinned:

- header blocks are decoded here, under our bounds from the first byte on: h2 lowers the limit of its decoder only when
  the peer acknowledges our SETTINGS, and has none for the number of fields (CVE-2016-6581, CVE-2026-49975);
- its content-length checks are left out, as trailers switch them off and a bad number ends the connection;
- it does not shut itself down after a connection error, so that answers under way still go out before the GOAWAY,
  which is written by http2_adapter.

h2 refuses data beyond the peer's windows: it is held here, and sent as they open, one frame a stream and turn.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from h2.stream import StreamInputs
from hpack.exceptions import HPACKError, OversizedHeaderListError

from securelight.model.errors import ConnectionFault, Http2Code
from securelight.protocol.adapter import COSTLY_READ_BYTES, READ_BYTES
from securelight.protocol.events import StreamAborted
from securelight.protocol.frame_walk import HEAD_SLACK
from securelight.protocol.http2_adapter import Http2Adapter
from securelight.protocol.http2_frames import (
    DATA,
    DEFAULT_WINDOW,
    FRAME_HEADER_BYTES,
    MAX_FRAME_BYTES,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
)
from securelight.protocol.http2_output import rst_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.errors import ErrorCodes
    from h2.events import Event as EngineEvent
    from hpack.struct import Header
    from hyperframe.frame import Frame, HeadersFrame

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.model.request import Peer
    from securelight.protocol.events import Event
    from securelight.protocol.http2_stream import Http2Stream

ENCODER_TABLE_BYTES = 4_096
"""Our compression table, whatever larger one the peer offers memory for."""
_TABLE_SIZE = int(SettingCodes.HEADER_TABLE_SIZE)
_settings = struct.Struct(">HI").iter_unpack

_configuration = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class _Engine(H2Connection):
    MAX_CLOSED_STREAMS = 1  # frame_walk remembers them

    def __init__(self, limits: Limits) -> None:
        super().__init__(_configuration)
        self.decoder.max_header_list_size = HEAD_SLACK * limits.request_head_bytes
        self._most_fields = HEAD_SLACK * limits.request_fields
        self.local_settings.update({SettingCodes.INITIAL_WINDOW_SIZE: limits.request_body_buffer_bytes})
        self.initiate_connection()
        if limits.connection_window_bytes > DEFAULT_WINDOW:
            self.increment_flow_control_window(limits.connection_window_bytes - DEFAULT_WINDOW)
        self.clear_outbound_data_buffer()

    def _decode(self, block: bytes) -> list[Header]:
        try:
            fields: list[Header] = list(self.decoder.decode(block, raw=True))
        except OversizedHeaderListError:
            raise ConnectionFault("flood: header list", Http2Code.ENHANCE_YOUR_CALM) from None
        except (HPACKError, IndexError, TypeError, ValueError) as error:
            raise ConnectionFault(f"header block: {error}", Http2Code.COMPRESSION_ERROR) from None
        if len(fields) > self._most_fields:
            raise ConnectionFault("flood: header list", Http2Code.ENHANCE_YOUR_CALM)
        return fields

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[EngineEvent]]:
        fields = self._decode(frame.data)
        self.state_machine.process_input(ConnectionInputs.RECV_HEADERS)
        stream = self.streams.get(frame.stream_id)
        if stream is None:
            if frame.stream_id <= self.highest_inbound_stream_id:
                return [], []  # it was reset; the block is decoded for the sake of the compression state
            stream = self._begin_new_stream(frame.stream_id, AllowedStreamIDs.ODD)
        event = stream.state_machine.process_input(StreamInputs.RECV_HEADERS)[0]
        assert isinstance(event, (RequestReceived, TrailersReceived))
        event.headers = fields
        if "END_STREAM" in frame.flags:
            ended = stream.state_machine.process_input(StreamInputs.RECV_END_STREAM)[0]
            assert isinstance(ended, StreamEnded)
            event.stream_ended = ended
        return [], [event]

    def _terminate_connection(self, error_code: ErrorCodes) -> None:
        """Leave the GOAWAY to http2_adapter."""


class _Held:
    """Response body bytes that wait for the peer's windows."""

    __slots__ = ("chunks", "ended", "offset", "size", "trailers")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.offset = 0
        self.size = 0
        self.ended = False
        self.trailers: Fields = ()

    def take(self, most: int) -> bytes:
        """At most `most` bytes of the first chunk."""
        chunk = self.chunks[0]
        piece = chunk[self.offset : self.offset + most]
        self.offset += len(piece)
        self.size -= len(piece)
        if self.offset == len(chunk):
            self.chunks.popleft()
            self.offset = 0
        return piece


class H2Adapter(Http2Adapter):
    """See ProtocolAdapter and Http2Adapter."""

    __slots__ = ("_engine", "_held")

    def __init__(self, peer: Peer, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(peer, limits, clock)
        self._engine = _Engine(limits)
        self._held: dict[int, _Held] = {}
        """In the order of turns."""

    @property
    def read_bytes(self) -> int:
        """See protocol.adapter."""
        return min(READ_BYTES, COSTLY_READ_BYTES + self._walk.missing_bytes)

    def _feed(self, run: bytes, events: list[Event]) -> None:
        engine = self._engine
        position = 0
        if run.startswith(PREFACE):
            position = len(PREFACE)
            engine.receive_data(PREFACE)
        while position < len(run):
            length = int.from_bytes(run[position : position + 3], "big")
            end = position + FRAME_HEADER_BYTES + length
            stream_id = int.from_bytes(run[position + 5 : position + 9], "big") & 0x7FFFFFFF
            if run[position + 3] == DATA and stream_id not in self._streams:
                self._owed_bytes += length  # reset for an earlier frame of the same run
            else:
                frame = run[position:end]
                if frame[3] == WINDOW_UPDATE and frame[FRAME_HEADER_BYTES] & 0x80:
                    # The reserved bit is to be ignored (RFC 9113, section 6.9); hyperframe takes it for a number.
                    frame = frame[:9] + bytes([frame[9] & 0x7F]) + frame[10:]
                try:
                    reported = engine.receive_data(frame)
                except ProtocolError as error:
                    raise ConnectionFault(f"refused by the engine: {error}", Http2Code(error.error_code)) from None
                if frame[3] == SETTINGS:
                    self._follow_table_size(frame)
                for event in reported:
                    self._on_event(event, events)
            position = end

    def _on_event(self, event: EngineEvent, events: list[Event]) -> None:
        if isinstance(event, DataReceived):
            ended = event.stream_ended is not None
            self._on_data(event.stream_id, event.data, event.flow_controlled_length, ended, events)
        elif isinstance(event, RequestReceived):
            stream_id, fields, ended = event.stream_id, tuple(event.headers), event.stream_ended is not None
            known = self._known.get(fields)
            personal: Fields = ()
            if known is None:
                known, personal = self._known.with_fields(fields)
            room = not self._leaving and len(self._streams) < self._limits.concurrent_streams
            if known is not None and ended and room:
                self._last_stream_id = stream_id
                self._streams[stream_id] = known.stream
                events.append((stream_id, known, personal))
            else:
                self._on_head(stream_id, fields, ended, events)
        elif isinstance(event, TrailersReceived):
            self._on_trailers(event.stream_id, event.headers, event.stream_ended is not None, events)
        elif isinstance(event, StreamReset):
            code = int(event.error_code or 0)
            if event.remote_reset:
                self._on_peer_reset(event.stream_id, code, events)
            else:
                # h2 has sent RST_STREAM for a window that overflows.
                self._walk.cut(event.stream_id)
                self._forget(event.stream_id)
                events.append(StreamAborted(event.stream_id, code, by_peer=False, reason="WINDOW_UPDATE overflow"))
                self._flood.reset("streams reset for faults")

    def _follow_table_size(self, frame: bytes) -> None:
        """Let our compression table be as large as the SETTINGS `frame` says, at most ENCODER_TABLE_BYTES.

        Before the next header block, the smallest size since the last one is to be announced, and then the one that
        holds (RFC 7541, section 4.2). h2 knows only the last of several values in one frame, and the encoder forgets
        what it has to announce if the same value comes twice, or lets the list grow with each frame.
        """
        sizes = [value for identifier, value in _settings(frame[FRAME_HEADER_BYTES:]) if identifier == _TABLE_SIZE]
        if not sizes:
            return
        encoder = self._engine.encoder
        last = min(sizes[-1], ENCODER_TABLE_BYTES)
        smallest = min(last, *sizes, *encoder.table_size_changes)
        encoder.header_table_size = smallest
        encoder.header_table_size = last
        encoder.table_size_changes = [last] if smallest == last else [smallest, last]
        encoder.header_table.resized = True

    def _take_turns(self, stream_id: int) -> None:
        """All streams do."""

    def _settle(self) -> None:
        """Closed streams are noticed at once."""

    def _send_head(self, stream_id: int, fields: list[Field], end: bool) -> None:
        self._engine.send_headers(stream_id, fields, end_stream=end)
        if end:
            # The caller has not marked the end yet.
            stream = self._streams[stream_id]
            stream.ended = True
            self._maybe_close(stream_id, stream)
        else:
            self._held[stream_id] = _Held()

    def _send_data(self, stream_id: int, data: bytes | memoryview, end: bool) -> None:
        held = self._held[stream_id]
        if data:
            held.chunks.append(bytes(data))
            held.size += len(data)
        held.ended = end

    def _send_trailers(self, stream_id: int, fields: Fields) -> None:
        held = self._held[stream_id]
        held.trailers = fields
        held.ended = True

    def _send_interim(self, stream_id: int, fields: list[Field]) -> None:
        self._engine.send_headers(stream_id, fields)

    def _send_reset(self, stream_id: int, code: Http2Code) -> None:
        try:
            self._engine.reset_stream(stream_id, code)
        except ProtocolError:
            # Both sides have ended it, the peer with the frame that is at fault; nghttp2 tells the peer in any case.
            self._ours += rst_stream(stream_id, code)

    def _give_back(self, stream_id: int, credit: int) -> None:
        self._engine.acknowledge_received_data(credit, stream_id)

    def _open_wider(self, stream_id: int) -> None:
        more = self._limits.upload_window_bytes - self._limits.request_body_buffer_bytes
        if more > 0:
            self._engine.increment_flow_control_window(more, stream_id)

    def _window(self, stream_id: int) -> int:
        return min(self._engine.outbound_flow_control_window, self._stream_window(stream_id))

    def _stream_window(self, stream_id: int) -> int:
        stream = self._engine.streams.get(stream_id)
        return 0 if stream is None else stream.outbound_flow_control_window

    def _queued(self, stream_id: int) -> int:
        held = self._held.get(stream_id)
        return 0 if held is None else held.size

    def _forget(self, stream_id: int) -> bool:
        self._held.pop(stream_id, None)
        known = super()._forget(stream_id)
        self._engine.streams.pop(stream_id, None)
        return known

    def _request_ended(self, stream_id: int, stream: Http2Stream) -> None:
        self._maybe_close(stream_id, stream)

    def _maybe_close(self, stream_id: int, stream: Http2Stream) -> None:
        if stream.request_ended and stream.ended and stream_id not in self._held:
            self._forget(stream_id)

    def _engine_output(self, limit: int) -> bytes:
        engine = self._engine
        output = engine.data_to_send()
        if not self._held:
            return output
        pieces = [output]
        size = len(output)
        stalled = 0
        while size < limit and stalled < len(self._held):
            stream_id, held = next(iter(self._held.items()))
            if self._send_turn(stream_id, held):
                stalled = 0
                piece = engine.data_to_send()
                pieces.append(piece)
                size += len(piece)
            else:
                stalled += 1
            if self._held.pop(stream_id, None) is not None:
                self._held[stream_id] = held
        return b"".join(pieces)

    def _send_turn(self, stream_id: int, held: _Held) -> bool:
        """Send one frame of a stream; whether there was one to send."""
        engine = self._engine
        if held.size:
            most = min(self._window(stream_id), MAX_FRAME_BYTES)
            if most <= 0:
                return False
            piece = held.take(most)
            end = held.ended and not held.size and not held.trailers
            engine.send_data(stream_id, piece, end_stream=end)
        elif held.trailers:
            engine.send_headers(stream_id, held.trailers, end_stream=True)
            end = True
        elif held.ended:
            engine.end_stream(stream_id)
            end = True
        else:
            return False
        if end:
            del self._held[stream_id]
            self._maybe_close(stream_id, self._streams[stream_id])
        return True
