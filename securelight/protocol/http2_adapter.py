"""The answering half of both HTTP/2 adapters, and with http2_requests the whole of what they share.

Owns: response heads and bodies on their way to the engine, what becomes of a request that was answered before its end,
SETTINGS and GOAWAY. The engines own header compression, flow control and the order of output. A subclass says how to do
the few things that `_send_head` and its like name.

Bytes of ours (GOAWAY, WINDOW_UPDATE for dropped DATA) go out when the engine has nothing more to say, because only then
is its output known to end with a whole frame. For the same reason everything that was answered goes out before a
GOAWAY that ends the connection.
"""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING

from securelight.model.body import PUSHED_BODY
from securelight.model.errors import Http2Code
from securelight.model.response import Response
from securelight.protocol.adapter import SHORT_BODY_BYTES
from securelight.protocol.http2_frames import LARGEST_STREAM_ID
from securelight.protocol.http2_output import fields_to_send, goaway, server_preface, window_update
from securelight.protocol.http2_requests import Http2Requests
from securelight.protocol.http2_stream import ANSWERED
from securelight.protocol.slices import FRAMED_SLICES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.model.request import Peer
    from securelight.protocol.http2_stream import Http2Stream

DISCARDING_STREAMS = 8
"""How many streams of a connection may wait at once for the end of a request that is answered already."""


class Http2Adapter(Http2Requests):
    """A ProtocolAdapter for HTTP/2, without its engine. Its arguments are those of Http2Requests."""

    __slots__ = ("_announced", "_discarding", "_finishing", "_ours", "_ready")

    slices = FRAMED_SLICES

    def __init__(self, peer: Peer, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(peer, limits, clock)
        self._finishing: list[int] = []
        """Streams whose response was given whole while their request had not ended."""
        self._discarding: dict[int, float] = {}
        """Those of them whose response is out, oldest first -> when they are reset if the request still goes on."""
        self._ready = b""
        """What goes out before anything else of the engine."""
        self._ours = b""
        """Frames of ours that wait for the engine's output to be at the end of a frame."""
        self._announced = False

    # What the engine does

    @abc.abstractmethod
    def _send_head(self, stream_id: int, fields: list[Field], end: bool) -> None: ...

    @abc.abstractmethod
    def _send_data(self, stream_id: int, data: bytes | memoryview, end: bool) -> None: ...

    def _send_whole(self, stream_id: int, fields: list[Field], body: bytes) -> None:
        """A response with a body that is not empty."""
        self._send_head(stream_id, fields, False)
        self._send_data(stream_id, body, True)

    @abc.abstractmethod
    def _send_trailers(self, stream_id: int, fields: Fields) -> None: ...

    @abc.abstractmethod
    def _send_interim(self, stream_id: int, fields: list[Field]) -> None: ...

    @abc.abstractmethod
    def _window(self, stream_id: int) -> int:
        """How many bytes the peer lets us send now, on the stream and on the connection; may be negative."""

    @abc.abstractmethod
    def _queued(self, stream_id: int) -> int:
        """Body bytes that were given to `_send_data` and not taken out."""

    @abc.abstractmethod
    def _engine_output(self, limit: int) -> bytes:
        """At most `limit` bytes. If there are fewer, the engine has nothing more to say now."""

    @abc.abstractmethod
    def _take_turns(self, stream_id: int) -> None:
        """The response is long, and the client has not said how to rank it: let it take turns with its equals."""

    # ProtocolAdapter

    def start(self, *, upgrades: bool = False) -> None:
        """See ProtocolAdapter, as for all that follows. Queues SETTINGS and the connection's receive window."""
        self._upgrades = upgrades
        self._ready += server_preface(self._limits, upgrades=upgrades)

    def respond(self, stream_id: int, response: Response, data: bytes, *, end: bool) -> None:
        """Queue the head and what is there of the body."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.responded:
            return
        if stream.shared:
            stream = self._streams[stream_id] = stream.own()
        stream.responded = True
        stream.succeeded = response.status < 300
        self._send_head(stream_id, fields_to_send(response), end and not data)
        if (not end or len(data) > SHORT_BODY_BYTES) and not stream.signals:
            self._take_turns(stream_id)
        if data:
            self._send_data(stream_id, data, end)
        if end:
            self._end(stream_id, stream)

    def respond_whole(self, stream_id: int, response: Response, body: bytes) -> bool:
        """Queue the head and the body."""
        streams = self._streams
        stream = streams.get(stream_id)
        size = len(body)
        if stream is None or stream.responded or size > self._window(stream_id):
            return False
        if not 0 < size <= SHORT_BODY_BYTES:
            if size > self._limits.response_buffer_bytes:
                return False
            self.respond(stream_id, response, body, end=True)
            return True
        if stream.request_ended:
            streams[stream_id] = ANSWERED
        else:
            stream.responded = stream.ended = True
            stream.succeeded = response.status < 300
            self._finishing.append(stream_id)
        self._send_whole(stream_id, fields_to_send(response), body)
        return True

    def prepared(self, response: Response) -> list[Field]:
        """See ProtocolAdapter."""
        return fields_to_send(response)

    def respond_again(self, stream_id: int, head: list[Field], body: bytes) -> bool:
        """See ProtocolAdapter."""
        if stream_id not in self._streams or len(body) > self._window(stream_id):
            return False
        self._streams[stream_id] = ANSWERED
        self._send_whole(stream_id, head, body)
        return True

    def upgrade(self, stream_id: int, protocol: bytes, fields: Fields) -> int:
        """Answer an extended CONNECT; its body and that of the answer have no end but END_STREAM."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.tunnels = True
            self.respond(stream_id, Response(200, fields, PUSHED_BODY), b"", end=False)
        return 200

    def inform(self, stream_id: int, status: int, fields: Fields) -> None:
        """Queue an interim response, if the final one has not been given."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.responded:
            self._send_interim(stream_id, [(b":status", b"%d" % status), *fields])

    def capacity(self, stream_id: int, most: int = 0) -> int:
        """What `write` takes now."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.ended:
            return -1
        most = most or self._limits.response_buffer_bytes
        return max(min(self._window(stream_id), most) - self._queued(stream_id), 0)

    def backlog(self) -> Sequence[tuple[int, int]]:
        """What waits for the peer's windows, of responses that were given whole."""
        return [
            (stream_id, queued_bytes)
            for stream_id, stream in self._streams.items()
            if stream.ended and (queued_bytes := self._queued(stream_id))
        ]

    def write(self, stream_id: int, data: bytes | memoryview, *, end: bool) -> None:
        """Queue body bytes."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.responded or stream.ended:
            return
        if data or end:
            self._send_data(stream_id, data, end)
        if end:
            self._end(stream_id, stream)

    def direct_room(self, stream_id: int) -> int:
        """None, unless a subclass knows better."""
        return 0

    def direct_sent(self, stream_id: int, size: int) -> None:
        """For subclasses with `direct_room`."""
        raise NotImplementedError

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

    def announce_shutdown(self) -> None:
        """Send the shutdown notice: a GOAWAY with the highest stream there can be (RFC 9113, section 6.8)."""
        if not (self._announced or self._leaving or self._failed):
            self._announced = True
            self._ours += goaway(LARGEST_STREAM_ID, Http2Code.NO_ERROR)

    def goodbye(self) -> None:
        """Send GOAWAY with the last stream that is served (RFC 9113, section 6.8)."""
        if not self._leaving and not self._failed:
            self._leaving = True
            self._ours += goaway(self._last_stream_id, Http2Code.NO_ERROR)

    def fail(self, code: Http2Code) -> None:
        """Send GOAWAY after what was answered, and hear nothing more."""
        if not self._failed:
            self._failed = True
            self._ours += goaway(self._last_stream_id, code)

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
                output += window_update(self._owed_bytes)
                self._owed_bytes = 0
            if self._ours:
                output += self._ours
                self._ours = b""
        if output:
            self._flood.sent(len(output))
        return output

    # Ends of streams

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
