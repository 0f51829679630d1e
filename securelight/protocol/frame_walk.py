"""Walks over the frames of an HTTP/2 connection before an engine sees them (RFC 9113, sections 3.4, 4 to 6).

Owns: the connection preface; frame sizes, stream identifiers, padding, SETTINGS values, and which frame may come on
which stream as far as the peer's own frames decide it (idle, receiving, ended, reset by us); header blocks and their
CONTINUATION frames; the flood counters. It refuses here what the engines would punish differently, too late, or not at
all, so that both end a connection for the same reasons, and requests before a bad frame are still answered. What it
lets through are whole frames in runs that are as long as possible; header compression, flow control and the response
side are left to the engines.

PRIORITY and unknown frames are counted and dropped. GOAWAY is reported and dropped, because engines stop sending on
it. DATA on a stream that we have reset is dropped too; its bytes are reported, to be given back to the connection's
window.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from securelight.model.errors import ConnectionFault, Http2Code
from securelight.protocol.frame_findings import DoubtfulUpdate, DroppedData, Finding, Leaving, StreamBreach
from securelight.protocol.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER_BYTES,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    LARGEST_STREAM_ID,
    LARGEST_WINDOW,
    MAX_FRAME_BYTES,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_UPDATE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    check_connection_frame,
    check_headers_layout,
    check_length,
    frame_header,
    padding,
    uint32,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from securelight.model.limits import Limits
    from securelight.protocol.flood import Flood

HEAD_SLACK = 2
"""How many times request_head_bytes a header block may take, compressed or not, to be answered with 431; beyond it the
connection ends, as decompression can neither be stopped nor left out."""

_AWAITING_SETTINGS = -1
_DROP = b""
"""The finding for a frame that is nobody's business."""

_settings = struct.Struct(">HI").iter_unpack
_joined_header = struct.Struct(">HBHI").unpack_from
"""A frame header with its kind and flags in one number, for the quick look."""
_WHOLE_HEAD = HEADERS << 8 | END_STREAM | END_HEADERS


class FrameWalk:
    """The frames of one connection, from the server's side.

    Args:
        limits: the bounds in force.
        flood: the counters of the connection.
        priorities: whether the engine understands PRIORITY_UPDATE (RFC 9218).

    Attributes:
        last_stream_id: the highest stream that the peer has opened.
        frames: how many frames the last run held, a header block with its CONTINUATION frames being one, also while it
            lacks its end: what the engine has against it shows only if it is asked.
        doubts_updates: set it to have each WINDOW_UPDATE reported.
        window_bytes: how much may be under way on a stream.
    """

    __slots__ = (
        "_block", "_block_bytes", "_continuations", "_cut", "_flood", "_granted_bytes", "_held", "_left", "_limits",
        "_no_priorities", "_owes_ack", "_preface_seen", "_priorities", "_receiving", "doubts_updates", "frames",
        "last_stream_id", "window_bytes",
    )  # fmt: skip

    def __init__(self, limits: Limits, flood: Flood, *, priorities: bool) -> None:
        self._limits = limits
        self._flood = flood
        self._priorities = priorities
        self._held = b""
        self._preface_seen = False
        self._block = _AWAITING_SETTINGS
        """The stream whose header block is open; 0 if none is; negative before the first SETTINGS."""
        self._block_bytes = 0
        self._continuations = 0
        self._receiving: dict[int, None] = {}
        """Streams whose request has begun and not ended; a dict, because an empty set is 150 bytes more."""
        self._cut: dict[int, int] = {}
        """Streams that we have reset before their request ended -> DATA bytes that may still be under way."""
        self._granted_bytes = DEFAULT_WINDOW
        """What the streams were given to send to the peer, all together: up to the largest window, none overflows."""
        self._owes_ack = True
        self._left = False
        self._no_priorities = -1
        """The peer's SETTINGS_NO_RFC7540_PRIORITIES; negative before its first SETTINGS."""
        self.last_stream_id = 0
        self.frames = 0
        self.doubts_updates = False
        self.window_bytes = limits.request_body_buffer_bytes

    @property
    def partial_head(self) -> bool:
        """Whether a header block, or the preface, has begun to arrive and is not complete."""
        held = self._held
        if not held:
            return self._block > 0
        return self._block > 0 or not self._preface_seen or held[3:4] in (b"\x01", b"\x09")

    @property
    def missing_bytes(self) -> int:
        """How much of a frame whose header has come is still to come."""
        held = self._held
        if len(held) < FRAME_HEADER_BYTES or not self._preface_seen:
            return 0
        return FRAME_HEADER_BYTES + int.from_bytes(held[:3], "big") - len(held)

    @property
    def in_block(self) -> bool:
        """Whether a header block has begun to arrive whose last frame has not come."""
        return self._block > 0

    def cut(self, stream_id: int) -> None:
        """We have reset `stream_id`: what is still under way for it is no fault of the peer (RFC 9113, section 5.1)."""
        if stream_id in self._receiving:
            self._receiving.pop(stream_id, None)
            self._cut[stream_id] = self.window_bytes
            if len(self._cut) > 2 * self._limits.concurrent_streams:
                del self._cut[next(iter(self._cut))]

    def takes_heads(self, data: bytes) -> bool:
        """Whether `data` (not empty) is a run of short heads without bodies, each on the next stream: most reads are.

        They count as walked then; otherwise nothing has happened, and `walk` has to look at it.
        """
        if self._block or self._held:
            return False
        available, position = len(data), 0
        before = stream_id = (self.last_stream_id - 1) | 1  # the first one is 1
        try:
            while position < available:
                high, low, kind_and_flags, given_stream_id = _joined_header(data, position)
                stream_id += 2
                if kind_and_flags != _WHOLE_HEAD or given_stream_id != stream_id or high:
                    return False
                position += FRAME_HEADER_BYTES + low
        except struct.error:
            return False  # less than a frame header is left
        frames = (stream_id - before) >> 1
        if position != available or stream_id > LARGEST_STREAM_ID or frames > self._limits.concurrent_streams:
            return False
        self.last_stream_id = stream_id
        self.frames = frames
        self._flood.opened(frames)
        return True

    def walk(self, data: bytes) -> Iterator[Finding]:
        """The findings in `data` and in what was held of an incomplete frame before, in order.

        Errors: ConnectionFault, after everything before the bad frame was given out.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        start = position = 0
        if not self._preface_seen:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise ConnectionFault("no HTTP/2 connection preface")
            if len(data) < len(PREFACE):
                self._held = data
                return
            self._preface_seen = True
            position = len(PREFACE)
        available = len(data)
        receiving = self._receiving
        opened = frames = 0
        finding: Finding | None
        try:
            while available - position >= FRAME_HEADER_BYTES:
                high, low, kind, flags, stream_id = frame_header(data, position)
                length = high << 16 | low
                if length > MAX_FRAME_BYTES:
                    raise ConnectionFault(f"frame of {length} bytes", Http2Code.FRAME_SIZE_ERROR)
                end = position + FRAME_HEADER_BYTES + length
                if end > available:
                    break
                stream_id &= 0x7FFFFFFF
                if self._block and kind != CONTINUATION:
                    self._check_expected(kind, flags)
                if kind == HEADERS:
                    if flags & (PADDED | HAS_PRIORITY):
                        check_headers_layout(data, position, length, flags, stream_id)
                    if stream_id > self.last_stream_id and stream_id & 1:
                        self.last_stream_id = stream_id
                        opened += 1
                        if opened > self._limits.concurrent_streams + self._limits.stream_resets:
                            raise ConnectionFault("flood: new streams", Http2Code.ENHANCE_YOUR_CALM)
                        if not flags & END_STREAM:
                            receiving[stream_id] = None
                    else:
                        self._check_trailers(stream_id, flags)
                    if flags & END_HEADERS:
                        frames += 1
                    else:
                        self._block, self._block_bytes, self._continuations = stream_id, length, 0
                elif kind == DATA:
                    finding = self._check_data(data, position, length, flags, stream_id)
                    if finding is None:
                        frames += 1
                    else:
                        if position > start:
                            self.frames, frames = frames, 0
                            yield data[start:position]
                        yield finding
                        start = end
                elif kind == CONTINUATION:
                    if self._continue(length, flags, stream_id):
                        frames += 1
                else:
                    finding = self._control(data, position, length, kind, flags, stream_id)
                    if finding is None:
                        frames += 1
                    else:
                        if position > start:
                            self.frames, frames = frames, 0
                            yield data[start:position]
                        if finding is not _DROP:
                            yield finding
                        start = end
                position = end
        except ConnectionFault:
            if position > start:
                self.frames = frames + (self._block > 0)
                yield data[start:position]
            raise
        if opened:
            self._flood.opened(opened)
        if position < available:
            self._held = data[position:]
        if position > start:
            self.frames = frames + (self._block > 0)
            yield data if start == 0 and position == available else data[start:position]

    def _check_expected(self, kind: int, flags: int) -> None:
        if self._block != _AWAITING_SETTINGS:
            raise ConnectionFault("header block interrupted by another frame")
        if kind != SETTINGS or flags & ACK:
            raise ConnectionFault("the first frame is not SETTINGS")
        self._block = 0

    def _check_trailers(self, stream_id: int, flags: int) -> None:
        if not stream_id & 1:
            raise ConnectionFault(f"HEADERS on stream {stream_id}")
        if stream_id in self._receiving:
            if flags & END_STREAM:
                self._receiving.pop(stream_id, None)
        elif stream_id in self._cut:
            if flags & END_STREAM:
                del self._cut[stream_id]
        else:
            raise ConnectionFault(f"HEADERS on stream {stream_id}, which has ended", Http2Code.STREAM_CLOSED)

    def _continue(self, length: int, flags: int, stream_id: int) -> bool:
        """Whether this CONTINUATION completes its header block."""
        if self._block <= 0 or stream_id != self._block:
            raise ConnectionFault("CONTINUATION without an open header block")
        self._continuations += 1
        self._block_bytes += length
        if self._continuations > self._limits.continuation_frames:
            raise ConnectionFault("flood: continuation", Http2Code.ENHANCE_YOUR_CALM)
        if self._block_bytes > HEAD_SLACK * self._limits.request_head_bytes:
            raise ConnectionFault("flood: header block", Http2Code.ENHANCE_YOUR_CALM)
        if flags & END_HEADERS:
            self._block = 0
            return True
        return False

    def _check_data(self, data: bytes, position: int, length: int, flags: int, stream_id: int) -> Finding | None:
        """None if the frame is for the engine."""
        content_bytes = length
        if flags & PADDED:
            content_bytes -= 1 + padding(data, position, length)
        if stream_id in self._receiving:
            if flags & END_STREAM:
                self._receiving.pop(stream_id, None)
            elif content_bytes == 0:
                self._flood.control("empty DATA")
            return None
        self._check_not_idle("DATA", stream_id)
        if stream_id not in self._cut:
            return StreamBreach(stream_id, Http2Code.STREAM_CLOSED, "DATA after END_STREAM", length)
        left = self._cut[stream_id] - length
        if left < 0:
            raise ConnectionFault("DATA on a stream that was reset, beyond its window", Http2Code.FLOW_CONTROL_ERROR)
        if content_bytes == 0:
            self._flood.control("empty DATA")
        if flags & END_STREAM:
            del self._cut[stream_id]
        else:
            self._cut[stream_id] = left
        return DroppedData(length)

    def _check_not_idle(self, name: str, stream_id: int) -> None:
        if not stream_id & 1 or stream_id > self.last_stream_id:
            raise ConnectionFault(f"{name} on stream {stream_id}, which was never opened")

    def _control(
        self, data: bytes, position: int, length: int, kind: int, flags: int, stream_id: int
    ) -> Finding | None:
        """None if the frame is for the engine."""
        if kind == WINDOW_UPDATE:
            return self._window_update(data, position, length, stream_id)
        if kind == RST_STREAM:
            check_length("RST_STREAM", length == 4)
            self._check_not_idle("RST_STREAM", stream_id)
            self._receiving.pop(stream_id, None)
            self._flood.reset("reset")
            return None if self._cut.pop(stream_id, None) is None else _DROP
        if kind == SETTINGS:
            return self._check_settings(data, position, length, flags, stream_id)
        if kind == PING:
            check_connection_frame("PING", stream_id)
            check_length("PING", length == 8)
            self._flood.reply("PING")
            return None
        if kind == GOAWAY:
            check_connection_frame("GOAWAY", stream_id)
            check_length("GOAWAY", length >= 8)
            self._flood.control("GOAWAY")
            first, self._left = not self._left, True
            return Leaving() if first else _DROP
        if kind == PRIORITY:
            if stream_id == 0:
                raise ConnectionFault("PRIORITY on stream 0")
            if length != 5:
                return StreamBreach(stream_id, Http2Code.FRAME_SIZE_ERROR, "PRIORITY of a wrong length")
            self._flood.control("PRIORITY")
            return _DROP
        if kind == PUSH_PROMISE:
            raise ConnectionFault("PUSH_PROMISE from a client")
        if kind == PRIORITY_UPDATE:
            return self._priority_update(data, position, length, stream_id)
        self._flood.control("unknown frames")
        return _DROP

    def _window_update(self, data: bytes, position: int, length: int, stream_id: int) -> Finding | None:
        check_length("WINDOW_UPDATE", length == 4)
        if stream_id:
            self._check_not_idle("WINDOW_UPDATE", stream_id)
        self._flood.update("WINDOW_UPDATE")
        increment = uint32(data, position + FRAME_HEADER_BYTES)[0] & LARGEST_WINDOW
        if increment == 0:
            if stream_id == 0:
                raise ConnectionFault("WINDOW_UPDATE of zero")
            return StreamBreach(stream_id, Http2Code.PROTOCOL_ERROR, "WINDOW_UPDATE of zero")
        if stream_id:
            self._granted_bytes += increment
        if self.doubts_updates or self._granted_bytes > LARGEST_WINDOW:
            return DoubtfulUpdate(stream_id, increment, data[position : position + FRAME_HEADER_BYTES + length])
        return None

    def _check_settings(self, data: bytes, position: int, length: int, flags: int, stream_id: int) -> Finding | None:
        check_connection_frame("SETTINGS", stream_id)
        if flags & ACK:
            check_length("SETTINGS acknowledgement", length == 0)
            if not self._owes_ack:
                raise ConnectionFault("SETTINGS acknowledgement without SETTINGS")
            self._owes_ack = False
            return None
        check_length("SETTINGS", length % 6 == 0)
        if length > 6 * self._limits.settings_entries:
            raise ConnectionFault("flood: SETTINGS entries", Http2Code.ENHANCE_YOUR_CALM)
        self._flood.reply("SETTINGS")
        payload = position + FRAME_HEADER_BYTES
        for identifier, value in _settings(data[payload : payload + length]):
            if identifier in (0x2, 0x8, 0x9) and value > 1:
                raise ConnectionFault(f"setting {identifier} has the value {value}")
            if identifier == 0x4 and value > LARGEST_WINDOW:
                raise ConnectionFault(f"initial window of {value}", Http2Code.FLOW_CONTROL_ERROR)
            if identifier == 0x4:
                self._granted_bytes += value
            if identifier == 0x5 and not MAX_FRAME_BYTES <= value < 1 << 24:
                raise ConnectionFault(f"maximum frame size of {value}")
            if identifier == 0x9:
                # RFC 9218, section 2.1: fixed by the first SETTINGS frame, where it is 0 if it is not there.
                if self._no_priorities not in (-1, value):
                    raise ConnectionFault("SETTINGS_NO_RFC7540_PRIORITIES has changed")
                self._no_priorities = value
        self._no_priorities = max(self._no_priorities, 0)
        return None

    def _priority_update(self, data: bytes, position: int, length: int, stream_id: int) -> Finding | None:
        check_connection_frame("PRIORITY_UPDATE", stream_id)
        check_length("PRIORITY_UPDATE", length >= 4)
        prioritized_id = uint32(data, position + FRAME_HEADER_BYTES)[0] & LARGEST_WINDOW
        if not prioritized_id & 1:
            raise ConnectionFault(f"PRIORITY_UPDATE for stream {prioritized_id}")
        self._flood.update("PRIORITY_UPDATE")
        # One that comes before its stream is dropped: engines would have to keep it (RFC 9218, section 7.1).
        return None if self._priorities and prioritized_id <= self.last_stream_id else _DROP
