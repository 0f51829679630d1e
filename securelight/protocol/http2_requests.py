"""The receiving half of both HTTP/2 adapters: the streams of one connection, from the frames that `frame_walk` let
through.

Owns: which streams are open and how many may be; request bodies against their announced and allowed length; credit for
received bodies; the verdict on faults of one stream. The engine reports what it receives by `_on_head` and its like.
"""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING

from securelight.model.errors import ConnectionFault, Http2Code, Refusal, StreamFault
from securelight.model.headers import Headers
from securelight.protocol.events import (
    BodyEnded,
    BodyReceived,
    ConnectionFailed,
    PeerLeaving,
    RequestRefused,
    StreamAborted,
)
from securelight.protocol.flood import Flood
from securelight.protocol.frame_findings import DoubtfulUpdate, DroppedData, Leaving, StreamBreach
from securelight.protocol.frame_walk import FrameWalk
from securelight.protocol.http2_frames import LARGEST_WINDOW
from securelight.protocol.http2_stream import Http2Stream
from securelight.protocol.known_heads import known_heads
from securelight.protocol.request_head import CONNECTION_FIELDS, checked_trailers, from_http2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.model.request import Peer
    from securelight.protocol.events import Event
    from securelight.protocol.frame_findings import Finding

_MALFORMED_TRAILERS = CONNECTION_FIELDS | {b"content-length", b"host", b"te"}
"""Trailer fields that engines disagree about; nobody sends them by mistake."""

_NO_FIELDS = Headers()


class Http2Requests(abc.ABC):
    """What a client sends on one connection.

    Args:
        peer: who is at the other end.
        limits: the bounds in force.
        clock: monotonic seconds, for the flood counters; given by tests.
    """

    __slots__ = (
        "_clock",
        "_failed",
        "_flood",
        "_known",
        "_last_stream_id",
        "_leaving",
        "_limits",
        "_owed_bytes",
        "_peer_left",
        "_streams",
        "_upgrades",
        "_walk",
        "peer",
    )  # fmt: skip

    validates = False
    """Whether the engine checks the syntax of fields itself."""
    prioritizes = False
    """Whether the engine understands RFC 9218."""
    input_ready = False
    """Never, as all of it is looked at in `receive`."""
    wants_input = True
    """Always, as the windows bound what comes."""
    cut = False
    """Never, as a stream that is broken off is reset."""

    def __init__(self, peer: Peer, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.peer = peer
        self._limits = limits
        self._clock = clock
        self._flood = Flood(limits, clock)
        self._walk = FrameWalk(limits, self._flood, priorities=self.prioritizes)
        self._known = known_heads(limits, f"{type(self).__name__} {peer.tls.version and 'https'}")
        self._streams: dict[int, Http2Stream] = {}
        self._last_stream_id = 0
        """The last stream that was looked at: what GOAWAY says."""
        self._owed_bytes = 0
        """Received DATA bytes that the engine does not know of, to be given back to the connection's window."""
        self._upgrades = False
        """Extended CONNECT was offered."""
        self._failed = False
        self._leaving = False
        self._peer_left = False

    # What the engine does

    @abc.abstractmethod
    def _feed(self, run: bytes, events: list[Event]) -> None:
        """Give whole frames to the engine and report what comes of them.

        Errors: ConnectionFault.
        """

    @abc.abstractmethod
    def _send_reset(self, stream_id: int, code: Http2Code) -> None: ...

    @abc.abstractmethod
    def _give_back(self, stream_id: int, credit: int) -> None:
        """Open the receive windows by `credit`; that of the stream only if it is still there."""

    @abc.abstractmethod
    def _open_wider(self, stream_id: int) -> None:
        """Open the receive window of a stream to limits.upload_window_bytes."""

    @abc.abstractmethod
    def _stream_window(self, stream_id: int) -> int:
        """How many bytes the peer lets us send on the stream now, the connection's window aside; may be negative."""

    @abc.abstractmethod
    def _settle(self) -> None:
        """Notice the streams that output has closed."""

    @abc.abstractmethod
    def _request_ended(self, stream_id: int, stream: Http2Stream) -> None:
        """END_STREAM was received; the subclass looks whether that has closed the stream."""

    @abc.abstractmethod
    def fail(self, code: Http2Code) -> None:
        """Send GOAWAY after what was answered, and hear nothing more."""

    # ProtocolAdapter

    @property
    def closing(self) -> bool:
        """See ProtocolAdapter, as for all that follows."""
        return self._failed or ((self._leaving or self._peer_left) and self.open_streams == 0)

    @property
    def open_streams(self) -> int:
        """Streams that are neither closed nor reset."""
        self._settle()
        return len(self._streams)

    @property
    def partial_head(self) -> bool:
        """A header block (of a request or its trailers) or the connection preface is incomplete."""
        return self._walk.partial_head and not self._failed

    def receive(self, data: bytes) -> Sequence[Event]:
        """The events of `data`; faults are events too."""
        events: list[Event] = []
        if self._failed:
            return events
        walk = self._walk
        try:
            if walk.takes_heads(data):
                self._feed(data, events)
                return events
            for finding in walk.walk(data):
                if type(finding) is bytes:
                    self._feed(finding, events)
                else:
                    self._obey(finding, events)
        except ConnectionFault as fault:
            self.fail(fault.code)
            events.append(ConnectionFailed(fault.code, str(fault)))
        return events

    def receive_end(self) -> Sequence[Event]:
        """Abort the requests that have not ended; the others may still be answered."""
        events: list[Event] = []
        if not self._failed:
            self._settle()
            self._peer_left = True
            for stream_id in [key for key, stream in self._streams.items() if not stream.request_ended]:
                self._drop(stream_id, Http2Code.CANCEL)
                events.append(StreamAborted(stream_id, Http2Code.CANCEL, by_peer=True, reason="end of input"))
        return events

    def consumed(self, stream_id: int, credit: int) -> None:
        """Let the peer send `credit` more."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.ended:
            credit = min(credit, stream.uncredited)
            stream.uncredited -= credit
            if credit > 0:
                self._give_back(stream_id, credit)

    def widen(self, stream_id: int) -> None:
        """Widen the stream's receive window, if its request may need it."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.ended or stream.request_ended:
            return
        # Most POSTs are small: they fit the window that the stream has, and need no word about it.
        if stream.announced is None or stream.announced > self._limits.request_body_buffer_bytes:
            self._walk.window_bytes = self._limits.upload_window_bytes
            self._open_wider(stream_id)

    def reset(self, stream_id: int, code: Http2Code) -> None:
        """Break one stream off."""
        if stream_id in self._streams:
            self._drop(stream_id, code)

    # What the engine reports

    def _on_head(self, stream_id: int, fields: Fields, ended: bool, events: list[Event]) -> None:
        streams = self._streams
        if self._leaving:  # what GOAWAY has said of the last stream stays as it is (RFC 9113, section 6.8)
            self._send_reset(stream_id, Http2Code.REFUSED_STREAM)
            self._walk.cut(stream_id)
            self._flood.control("streams after GOAWAY")
            return
        self._last_stream_id = stream_id
        if len(streams) >= self._limits.concurrent_streams:
            self._break(stream_id, Http2Code.REFUSED_STREAM, "more streams than allowed", events)
            return
        try:
            request = from_http2(
                fields, stream_id=stream_id, peer=self.peer, limits=self._limits, ended=ended,
                validated=self.validates, upgrades=self._upgrades,
            )  # fmt: skip
        except StreamFault as fault:
            self._break(stream_id, fault.code, str(fault), events)
        except Refusal as refusal:
            self._refuse(stream_id, refusal, fields, ended, events)
        else:
            streams[stream_id] = Http2Stream(ended, request.content_length, request.headers)
            events.append(request)
            if ended:
                self._known.remember_fields(fields, request)

    def _refuse(
        self, stream_id: int, refusal: Refusal, fields: Sequence[Field], ended: bool, events: list[Event]
    ) -> None:
        announced = next((int(value) for name, value in fields if name == b"content-length" and value.isdigit()), None)
        stream = self._streams[stream_id] = Http2Stream(ended, announced, _NO_FIELDS)
        stream.discards = True
        method, target = "-", b"-"
        for name, value in fields[:4]:
            if name == b":method":
                method = value.decode("ascii", "replace")
            elif name == b":path":
                target = value
        events.append(RequestRefused(stream_id, refusal, method, target))

    def _on_data(self, stream_id: int, data: bytes, credit: int, ended: bool, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            self._give_back(stream_id, credit)
            return
        stream.uncredited += credit
        if ended:
            stream.request_ended = True
        stream.received += len(data)
        announced = stream.announced
        if announced is not None and (stream.received > announced or (ended and stream.received != announced)):
            self._break(stream_id, Http2Code.PROTOCOL_ERROR, "content-length is not what was sent", events)
            return
        if stream.discards:
            if ended:
                self._request_ended(stream_id, stream)
            return
        if announced is None and stream.received > self._limits.request_body_bytes and not stream.tunnels:
            stream.discards = True
            detail = f"more than {self._limits.request_body_bytes} bytes"
            events.append(
                RequestRefused(stream_id, Refusal(413, "The request body is too large.", detail), in_body=True)
            )
            if ended:
                self._request_ended(stream_id, stream)
            return
        if data:
            events.append(BodyReceived(stream_id, data, credit))
        elif credit:
            self.consumed(stream_id, credit)
        if ended:
            events.append(BodyEnded(stream_id))
            self._request_ended(stream_id, stream)

    def _on_trailers(self, stream_id: int, fields: Sequence[Field], ended: bool, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            if not ended:
                raise StreamFault("trailer section without END_STREAM")
            if any(name in _MALFORMED_TRAILERS for name, _ in fields):
                raise StreamFault("trailer fields that frame or route")
            if stream.announced not in (None, stream.received):
                raise StreamFault("content-length is not what was sent")
            trailers = checked_trailers(fields, self._limits)
        except StreamFault as fault:
            self._break(stream_id, fault.code, str(fault), events)
            return
        stream.request_ended = True
        if not stream.discards:
            events.append(BodyEnded(stream_id, trailers))
        self._request_ended(stream_id, stream)

    def _on_peer_reset(self, stream_id: int, code: int, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if self._forget(stream_id) and stream is not None and not (stream.ended and stream.request_ended):
            events.append(StreamAborted(stream_id, code, by_peer=True, reason="reset"))

    # Streams

    def _obey(self, finding: Finding, events: list[Event]) -> None:
        """What a finding of the walk that is not for the engine means."""
        if isinstance(finding, DroppedData):
            self._owed_bytes += finding.data_bytes
        elif isinstance(finding, Leaving):
            self._peer_left = True
            events.append(PeerLeaving())
        elif isinstance(finding, DoubtfulUpdate):
            if finding.stream_id == 0:
                self._widen(finding, events)
            elif finding.stream_id in self._streams:
                if self._stream_window(finding.stream_id) + finding.increment > LARGEST_WINDOW:
                    self._break(finding.stream_id, Http2Code.FLOW_CONTROL_ERROR, "WINDOW_UPDATE overflow", events)
                else:
                    self._widen(finding, events)
        elif isinstance(finding, StreamBreach):
            self._settle()
            self._owed_bytes += finding.data_bytes
            stream = self._streams.get(finding.stream_id)
            if stream is not None and not (stream.ended and stream.request_ended):
                self._break(finding.stream_id, finding.code, finding.reason, events)
            elif finding.code != Http2Code.PROTOCOL_ERROR:
                raise ConnectionFault(f"{finding.reason} on stream {finding.stream_id}", finding.code)

    def _widen(self, update: DoubtfulUpdate, events: list[Event]) -> None:
        """Give an update that overflows nothing of the stream to the engine."""
        self._feed(update.frame, events)

    def _break(self, stream_id: int, code: Http2Code, reason: str, events: list[Event]) -> None:
        """The peer's fault costs it the stream, and counts."""
        self._drop(stream_id, code)
        events.append(StreamAborted(stream_id, code, by_peer=False, reason=reason))
        self._flood.reset("streams reset for faults")

    def _drop(self, stream_id: int, code: Http2Code) -> None:
        self._send_reset(stream_id, code)
        self._walk.cut(stream_id)
        self._forget(stream_id)

    def _forget(self, stream_id: int) -> bool:
        """Whether the stream was open."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return False
        if stream.uncredited:
            self._give_back(stream_id, stream.uncredited)
        return True
