"""What both HTTP/2 adapters share: the streams of one connection, from the frames that `frame_walk` let through.

Owns: which streams are open and how many may be; request bodies against their announced and allowed length; credit for
received bodies; the verdict on faults of one stream; SETTINGS, GOAWAY and the answers to frames that the engine never
sees. The engines own header compression, flow control and the order of output. A subclass says how to do the few
things that `_send_head` and its like name, and reports what it receives by `_on_head` and its like.

Bytes of ours (GOAWAY, WINDOW_UPDATE for dropped DATA) go out when the engine has nothing more to say, because only then
is its output known to end with a whole frame. For the same reason everything that was answered goes out before a
GOAWAY that ends the connection.
"""

from __future__ import annotations

import abc
import struct
import time
from typing import TYPE_CHECKING, Any

from securelight.model.dates import current_date
from securelight.model.errors import ConnectionFault, Http2Code, Refusal, StreamFault
from securelight.protocol.adapter import SERVER_FIELD
from securelight.protocol.events import (
    BodyEnded,
    BodyReceived,
    ConnectionFailed,
    PeerLeaving,
    RequestRefused,
    StreamAborted,
)
from securelight.protocol.flood import Flood
from securelight.protocol.frame_walk import (
    GOAWAY,
    LARGEST_WINDOW,
    MAX_FRAME_BYTES,
    SETTINGS,
    WINDOW_UPDATE,
    DroppedData,
    FrameWalk,
    LargeUpdate,
    Leaving,
    StreamBreach,
)
from securelight.protocol.known_heads import known_heads, remember
from securelight.protocol.request_head import CONNECTION_FIELDS, checked_trailers, from_http2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.model.request import Peer
    from securelight.model.response import Response
    from securelight.protocol.events import Event
    from securelight.protocol.frame_walk import Finding

DEFAULT_WINDOW = 65_535
"""RFC 9113, section 6.9.2."""

_MALFORMED_TRAILERS = CONNECTION_FIELDS | {b"content-length", b"host", b"te"}
"""Trailer fields that engines disagree about; nobody sends them by mistake."""
DISCARDING_STREAMS = 8
"""How many streams of a connection may wait at once for the end of a request that is answered already."""
_NO_LENGTH_STATUSES = frozenset({204, 304})
"""A 204 has no Content-Length (RFC 9110, section 8.6); that of a 304 would have to be that of the 200."""

_frame_header = struct.Struct(">BHBBI").pack
_setting = struct.Struct(">HI").pack
_uint32 = struct.Struct(">I").pack
_HIGHEST_STREAM_ID = (1 << 31) - 1
_two_uint32 = struct.Struct(">II").pack


class Http2Stream:
    """One request and its response.

    Attributes:
        request_ended: END_STREAM was received.
        responded: the head of the response was given to the adapter.
        ended: so was the end of the response.
        discards: nothing more of the request's body is reported, because it was refused or the answer is out.
        succeeded: the status of the response is below 300.
        signals: the client has sent a priority (RFC 9218).
        announced: the Content-Length of the request, or None.
        received: bytes of its body so far.
        uncredited: flow-controlled bytes received and not yet given back.
    """

    __slots__ = (
        "announced", "discards", "ended", "received", "request_ended", "responded", "signals", "succeeded",
        "uncredited",
    )  # fmt: skip

    def __init__(self, request_ended: bool, announced: int | None, signals: bool) -> None:
        self.request_ended = request_ended
        self.announced = announced
        self.signals = signals
        self.responded = False
        self.ended = False
        self.discards = False
        self.succeeded = False
        self.received = 0
        self.uncredited = 0


class Http2Adapter(abc.ABC):
    """A ProtocolAdapter for HTTP/2, without its engine.

    Args:
        peer: who is at the other end.
        limits: the bounds in force.
        clock: monotonic seconds, for the flood counters; given by tests.
    """

    __slots__ = (
        "_announced", "_clock", "_discarding", "_failed", "_finishing", "_flood", "_known", "_last_stream_id",
        "_leaving", "_limits", "_ours", "_owed_bytes", "_peer", "_peer_left", "_ready", "_streams", "_walk",
    )  # fmt: skip

    validates = False
    """Whether the engine checks the syntax of fields itself."""
    prioritizes = False
    """Whether the engine understands RFC 9218."""

    def __init__(self, peer: Peer, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._peer = peer
        self._limits = limits
        self._clock = clock
        self._flood = Flood(limits, clock)
        self._walk = FrameWalk(limits, self._flood, priorities=self.prioritizes)
        self._streams: dict[int, Http2Stream] = {}
        self._finishing: list[int] = []
        """Streams whose response was given whole while their request had not ended."""
        self._discarding: dict[int, float] = {}
        """Those of them whose response is out, oldest first -> when they are reset if the request still goes on."""
        self._last_stream_id = 0
        """The last stream that was looked at: what GOAWAY says."""
        self._ready = b""
        """What goes out before anything else of the engine."""
        self._ours = b""
        """Frames of ours that wait for the engine's output to be at the end of a frame."""
        self._owed_bytes = 0
        """Received DATA bytes that the engine does not know of, to be given back to the connection's window."""
        self._failed = False
        self._known = known_heads(limits, f"{type(self).__name__} {peer.tls.version and 'https'}")
        self._announced = False
        self._leaving = False
        self._peer_left = False

    # What the engine does

    @abc.abstractmethod
    def _feed(self, run: bytes, events: list[Event]) -> None:
        """Give whole frames to the engine and report what comes of them.

        Errors: ConnectionFault.
        """

    @abc.abstractmethod
    def _send_head(self, stream_id: int, fields: list[Field], end: bool) -> None: ...

    @abc.abstractmethod
    def _send_data(self, stream_id: int, data: bytes, end: bool) -> None: ...

    @abc.abstractmethod
    def _send_trailers(self, stream_id: int, fields: Fields) -> None: ...

    @abc.abstractmethod
    def _send_interim(self, stream_id: int, fields: list[Field]) -> None: ...

    @abc.abstractmethod
    def _send_reset(self, stream_id: int, code: Http2Code) -> None: ...

    @abc.abstractmethod
    def _give_back(self, stream_id: int, credit: int) -> None:
        """Open the receive windows by `credit`; that of the stream only if it is still there."""

    @abc.abstractmethod
    def _window(self, stream_id: int) -> int:
        """How many bytes the peer lets us send now, on the stream and on the connection; may be negative."""

    @abc.abstractmethod
    def _stream_window(self, stream_id: int) -> int:
        """The same without the connection's window."""

    @abc.abstractmethod
    def _queued(self, stream_id: int) -> int:
        """Body bytes that were given to `_send_data` and not taken out."""

    @abc.abstractmethod
    def _engine_output(self, limit: int) -> bytes:
        """At most `limit` bytes. If there are fewer, the engine has nothing more to say now."""

    @abc.abstractmethod
    def _take_turns(self, stream_id: int) -> None:
        """The response is long, and the client has not said how to rank it: let it take turns with its equals."""

    @abc.abstractmethod
    def _settle(self) -> None:
        """Notice the streams that output has closed."""

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
        return not self._failed and self._walk.partial_head

    @property
    def input_ready(self) -> bool:
        """Never."""
        return False

    @property
    def wants_input(self) -> bool:
        """Always: the windows bound what comes."""
        return True

    @property
    def cut(self) -> bool:
        """Never: a stream that is broken off is reset."""
        return False

    def start(self) -> None:
        """Queue SETTINGS and the connection's receive window."""
        limits = self._limits
        settings = b"".join(
            _setting(identifier, value)
            for identifier, value in (
                (0x3, limits.concurrent_streams),
                (0x4, limits.request_body_buffer_bytes),
                (0x6, limits.request_head_bytes),
                (0x9, 1),
            )
        )
        self._ready += _frame(SETTINGS, 0, settings)
        if limits.connection_window_bytes > DEFAULT_WINDOW:
            self._ready += _frame(WINDOW_UPDATE, 0, _uint32(limits.connection_window_bytes - DEFAULT_WINDOW))

    def receive(self, data: bytes) -> Sequence[Event]:
        """The events of `data`; faults are events too."""
        events: list[Event] = []
        if self._failed:
            return events
        try:
            for finding in self._walk.walk(data):
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

    def respond(self, stream_id: int, response: Response, data: bytes, *, end: bool) -> None:
        """Queue the head and what is there of the body."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.responded:
            return
        stream.responded = True
        stream.succeeded = response.status < 300
        heads = response.heads
        if heads is None:
            fields = response_fields(response, current_date())
        else:
            date = current_date()
            kept = heads.get("2")
            if kept is None or kept[0] is not date:
                kept = heads["2"] = (date, response_fields(response, date))
            fields = kept[1]
        if data:
            self._send_head(stream_id, fields, False)
            if not stream.signals and (not end or len(data) > MAX_FRAME_BYTES):
                self._take_turns(stream_id)
            self._send_data(stream_id, data, end)
        else:
            self._send_head(stream_id, fields, end)
            if not end and not stream.signals:
                self._take_turns(stream_id)
        if end:
            self._end(stream_id, stream)

    def inform(self, stream_id: int, status: int, fields: Fields) -> None:
        """Queue an interim response, if the final one has not been given."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.responded:
            self._send_interim(stream_id, [(b":status", b"%d" % status), *fields])

    def capacity(self, stream_id: int) -> int:
        """What `write` takes now."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.ended or self._failed:
            return -1
        return max(min(self._window(stream_id), self._limits.response_buffer_bytes) - self._queued(stream_id), 0)

    def write(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """Queue body bytes."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.responded or stream.ended:
            return
        if data or end:
            self._send_data(stream_id, data, end)
        if end:
            self._end(stream_id, stream)

    def end_with_trailers(self, stream_id: int, fields: Fields) -> None:
        """End the response with `fields`."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.responded or stream.ended:
            return
        if fields:
            self._send_trailers(stream_id, fields)
        else:
            self._send_data(stream_id, b"", True)
        self._end(stream_id, stream)

    def consumed(self, stream_id: int, credit: int) -> None:
        """Let the peer send `credit` more."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.ended:
            credit = min(credit, stream.uncredited)
            stream.uncredited -= credit
            if credit > 0:
                self._give_back(stream_id, credit)

    def reset(self, stream_id: int, code: Http2Code) -> None:
        """Break one stream off."""
        if stream_id in self._streams:
            self._drop(stream_id, code)

    def announce_shutdown(self) -> None:
        """Send the shutdown notice: a GOAWAY with the highest stream there can be (RFC 9113, section 6.8)."""
        if not (self._announced or self._leaving or self._failed):
            self._announced = True
            self._ours += _frame(GOAWAY, 0, _two_uint32(_HIGHEST_STREAM_ID, Http2Code.NO_ERROR))

    def goodbye(self) -> None:
        """Send GOAWAY with the last stream that is served (RFC 9113, section 6.8)."""
        if not self._leaving and not self._failed:
            self._leaving = True
            self._ours += self._goaway(Http2Code.NO_ERROR)

    def fail(self, code: Http2Code) -> None:
        """Send GOAWAY after what was answered, and hear nothing more."""
        if not self._failed:
            self._failed = True
            self._ours += self._goaway(code)

    def take_output(self, limit: int) -> bytes:
        """The engine's output, then ours."""
        output = self._engine_output(limit)
        dry = len(output) < limit
        if self._ready:
            output = self._ready + output
            self._ready = b""
        if dry:
            if (self._finishing or self._discarding) and self._finish():
                output += self._engine_output(limit)
            if self._owed_bytes and not self._failed:
                output += _frame(WINDOW_UPDATE, 0, _uint32(self._owed_bytes))
                self._owed_bytes = 0
            if self._ours:
                output += self._ours
                self._ours = b""
        if output:
            self._flood.sent(len(output))
        return output

    # What the engine reports

    def _on_head(self, stream_id: int, fields: Sequence[Field], ended: bool, events: list[Event]) -> None:
        streams = self._streams
        self._last_stream_id = stream_id
        if self._leaving:
            self._send_reset(stream_id, Http2Code.REFUSED_STREAM)
            self._walk.cut(stream_id)
            self._flood.control("streams after GOAWAY")
            return
        if len(streams) >= self._limits.concurrent_streams:
            self._break(stream_id, Http2Code.REFUSED_STREAM, "more streams than allowed", events)
            return
        known = self._known.get(fields) if ended and type(fields) is tuple else None
        if known is not None:
            streams[stream_id] = Http2Stream(True, known.content_length, b"priority" in known.headers)
            events.append(known.again(stream_id, self._peer))
            return
        try:
            request = from_http2(
                fields, stream_id=stream_id, peer=self._peer, limits=self._limits, ended=ended,
                validated=self.validates,
            )  # fmt: skip
        except StreamFault as fault:
            self._break(stream_id, fault.code, str(fault), events)
        except Refusal as refusal:
            self._refuse(stream_id, refusal, fields, ended, events)
        else:
            streams[stream_id] = Http2Stream(ended, request.content_length, b"priority" in request.headers)
            events.append(request)
            if type(fields) is tuple:
                remember(self._known, fields, sum(len(name) + len(value) for name, value in fields), request)

    def _refuse(
        self, stream_id: int, refusal: Refusal, fields: Sequence[Field], ended: bool, events: list[Event]
    ) -> None:
        stream = self._streams[stream_id] = Http2Stream(ended, None, False)
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
        if stream.discards:
            if ended:
                self._request_ended(stream_id, stream)
            return
        stream.received += len(data)
        announced = stream.announced
        if announced is not None:
            if stream.received > announced or (ended and stream.received != announced):
                self._break(stream_id, Http2Code.PROTOCOL_ERROR, "content-length is not what was sent", events)
                return
        elif stream.received > self._limits.request_body_bytes:
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
            if stream.announced not in (None, stream.received) and not stream.discards:
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

    @abc.abstractmethod
    def _request_ended(self, stream_id: int, stream: Http2Stream) -> None:
        """END_STREAM was received; the subclass looks whether that has closed the stream."""

    # Streams

    def _obey(self, finding: Finding, events: list[Event]) -> None:
        """What a finding of the walk that is not for the engine means."""
        if isinstance(finding, DroppedData):
            self._owed_bytes += finding.data_bytes
        elif isinstance(finding, Leaving):
            self._peer_left = True
            events.append(PeerLeaving())
        elif isinstance(finding, LargeUpdate):
            if finding.stream_id in self._streams:
                if self._stream_window(finding.stream_id) + finding.increment > LARGEST_WINDOW:
                    self._break(finding.stream_id, Http2Code.FLOW_CONTROL_ERROR, "WINDOW_UPDATE overflow", events)
                else:
                    self._feed(finding.frame, events)
        elif isinstance(finding, StreamBreach):
            self._settle()
            self._owed_bytes += finding.data_bytes
            stream = self._streams.get(finding.stream_id)
            if stream is not None and not (stream.ended and stream.request_ended):
                self._break(finding.stream_id, finding.code, finding.reason, events)
            elif finding.code != Http2Code.PROTOCOL_ERROR:
                raise ConnectionFault(f"{finding.reason} on stream {finding.stream_id}", finding.code)

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

    def _end(self, stream_id: int, stream: Http2Stream) -> None:
        stream.ended = True
        if not stream.request_ended:
            self._finishing.append(stream_id)

    def _finish(self) -> bool:
        """Look after the streams whose request goes on although it was answered; True if one was reset.

        RFC 9113, section 8.1 lets us reset them at once, but then widespread clients report an error and lose the
        response. So what comes is discarded while the client makes up its mind to stop: for a short time, for few
        streams, and within the stream's window, which is not opened any more. Then NO_ERROR. After a success nobody
        stops, and curl would wait for ever: there it comes at once unless the request may end within the window.
        """
        now, limits, discarding = self._clock(), self._limits, self._discarding
        window = limits.request_body_buffer_bytes
        waiting = []
        for stream_id in self._finishing:
            stream = self._streams.get(stream_id)
            if stream is None or stream.request_ended:
                continue
            if self._queued(stream_id) or self._window(stream_id) <= 0:
                # Without a window an engine may hold even an empty frame that ends the stream.
                waiting.append(stream_id)
            else:
                stream.discards = True
                hopeless = stream.succeeded and (stream.announced or 0) > window
                discarding[stream_id] = now if hopeless else now + limits.closing_seconds
        self._finishing = waiting
        held_bytes = 0
        excess = len(discarding) - DISCARDING_STREAMS
        finished = False
        for stream_id in tuple(discarding):
            stream = self._streams.get(stream_id)
            if stream is None or stream.request_ended:
                del discarding[stream_id]
            elif (
                self._leaving or self._peer_left or excess > 0 or now >= discarding[stream_id]
                or stream.uncredited > limits.drain_body_bytes
                or (stream.succeeded and stream.uncredited >= window)
                or held_bytes + stream.uncredited > limits.connection_window_bytes // 2
            ):  # fmt: skip
                del discarding[stream_id]
                self._drop(stream_id, Http2Code.NO_ERROR)
                finished = True
            else:
                held_bytes += stream.uncredited
            excess -= 1
        return finished

    def _goaway(self, code: Http2Code) -> bytes:
        return _frame(GOAWAY, 0, _two_uint32(self._last_stream_id, code))


def response_fields(response: Response, date: bytes) -> list[Field]:
    """The header list of `response`, with the fields that belong to the adapter."""
    fields: list[Any] = [(b":status", b"%d" % response.status), *response.fields]
    if response.content_length is not None and response.status not in _NO_LENGTH_STATUSES:
        fields.append((b"content-length", b"%d" % response.content_length))
    fields.append((b"date", date))
    fields.append((b"server", SERVER_FIELD))
    return fields


def _frame(kind: int, stream_id: int, payload: bytes) -> bytes:
    return _frame_header(len(payload) >> 16, len(payload) & 0xFFFF, kind, 0, stream_id) + payload
