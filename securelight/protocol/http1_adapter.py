"""The answering half of both HTTP/1 adapters, and with http1_requests the whole of what they share.

Owns: the framing of responses, and what becomes of the connection after each. Never answers twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.model.errors import Http2Code
from securelight.model.response import BODYLESS_STATUSES
from securelight.protocol.http1_output import (
    CHUNKED,
    NO_BODY,
    UNTIL_CLOSE,
    WITH_LENGTH,
    OutputQueue,
    choose_framing,
    field_lines,
    response_head,
    shared_head,
    upgrade_head,
)
from securelight.protocol.http1_requests import Http1Requests
from securelight.protocol.slices import BARE_SLICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.headers import Fields
    from securelight.model.limits import Limits
    from securelight.model.request import Peer
    from securelight.model.response import Response


class Http1Adapter(Http1Requests):
    """protocol.adapter.ProtocolAdapter for HTTP/1.1 and 1.0; a subclass reads messages with its engine.

    Its arguments are those of Http1Requests.
    """

    __slots__ = ("_body_left", "_framing", "_output")

    slices = BARE_SLICES

    def __init__(self, peer: Peer, limits: Limits) -> None:
        super().__init__(peer, limits)
        self._output = OutputQueue()
        self._framing = NO_BODY
        self._body_left = 0

    def start(self, *, upgrades: bool = False) -> None:
        """Nothing is said first on HTTP/1."""

    # Output.

    def respond(self, stream_id: int, response: Response, data: bytes, *, end: bool) -> None:
        """See protocol.adapter.

        A `stream_id` above the last request's answers a request whose head never became whole (408), and closes.

        Errors: ValueError for a response that cannot be written; nothing is queued then.
        """
        if self.closing or stream_id < self._number or (stream_id == self._number and not self._awaits_answer()):
            return
        if stream_id > self._number:
            if self.open_streams:
                if self._draining:
                    self._close()
                return
            self._number = stream_id
            self._begin_exchange("-", "1.0", body=False)
            self._give_up_input()
        if not self._request_ended and (
            self._continue_due
            or response.status == 408
            or (end and self._guard.body_left > self._limits.drain_body_bytes)
        ):
            # What the client does with the body now is not known (RFC 9110, section 10.1.1), or it comes too slowly
            # (section 15.5.9), or it is too much.
            self._keep_alive = False
        if (
            response.serialised is not None
            and response.content_length is not None
            and response.status not in BODYLESS_STATUSES
        ):
            length = response.content_length
            framing = NO_BODY if self._method == "HEAD" else WITH_LENGTH
            head = shared_head(response, close=not self._keep_alive)
        else:
            framing, announced = choose_framing(
                response, self._method, chunks=self._version == "1.1", whole=len(data) if end else None
            )
            head = response_head(response, framing, announced, close=not self._keep_alive)
            length = announced or 0
        self._response_begun = True
        self._framing = framing
        self._body_left = length
        if framing == NO_BODY:
            self._output.put(head)
        elif framing == WITH_LENGTH:
            self._body_left -= len(data)
            if self._body_left < 0:
                self._output.put(head)
                self._cut()
                return
            self._output.put_head(head, data)
        else:
            self._output.put(head)
            self._put_body(data)
        if end:
            self._response_over()

    def respond_whole(self, stream_id: int, response: Response, body: bytes) -> bool:
        """See protocol.adapter."""
        output = self._output
        if (
            stream_id == self._number
            and self.open_streams
            and self._request_ended
            and not self._response_begun
            and response.serialised is not None
            and response.content_length == len(body) <= self._limits.response_buffer_bytes - output.queued_bytes
        ):
            self._response_begun = True
            output.put_head(shared_head(response, close=not self._keep_alive), body)
            self._exchange_over()
            return True
        if len(body) > self.capacity(stream_id):
            return False
        self.respond(stream_id, response, body, end=True)
        return True

    def prepared(self, response: Response) -> bytes:
        """See protocol.adapter."""
        return shared_head(response, close=False)

    def respond_again(self, stream_id: int, head: bytes, body: bytes) -> bool:
        """See protocol.adapter."""
        output = self._output
        if stream_id != self._number or not self._keep_alive or not self.open_streams or self._input_ended:
            return False
        if len(body) > self._limits.response_buffer_bytes - output.queued_bytes:
            return False
        self._response_begun = True
        output.put(head + body)
        self.open_streams = 0
        return True

    def _may_respond(self, stream_id: int) -> bool:
        return self._awaits_answer() if stream_id == self._number else self.open_streams == 0

    def _sends(self, stream_id: int) -> bool:
        return stream_id == self._number and self.open_streams == 1 and self._response_begun and not self._draining

    def upgrade(self, stream_id: int, protocol: bytes, fields: Fields) -> int:
        """See protocol.adapter. The connection serves nothing else from now on."""
        if stream_id == self._number and self._awaits_answer():
            self._output.put(upgrade_head(protocol, fields))
            self._response_begun = True
            self._framing = UNTIL_CLOSE
            self._begin_tunnel()
        return 101

    def inform(self, stream_id: int, status: int, fields: Fields) -> None:
        """See protocol.adapter. Only 100 is sent, and only while the client may be waiting for it."""
        if status == 100 and stream_id == self._number and self._awaits_answer() and self._continue_due:
            self._continue_due = False
            self._output.put(b"HTTP/1.1 100 Continue\r\n\r\n")

    def capacity(self, stream_id: int, most: int = 0) -> int:
        """See protocol.adapter. Also before `respond`: what its first data may be."""
        if stream_id < self._number or self.closing or not (self._sends(stream_id) or self._may_respond(stream_id)):
            return -1
        return max(0, (most or self._limits.response_buffer_bytes) - self._output.queued_bytes)

    def widen(self, stream_id: int) -> None:
        """See protocol.adapter. There is no window."""

    def backlog(self) -> Sequence[tuple[int, int]]:
        """See protocol.adapter. What is given here waits for the socket alone."""
        return ()

    def write(self, stream_id: int, data: bytes | memoryview, *, end: bool) -> None:
        """See protocol.adapter. A body that is not as long as announced cuts the connection."""
        if not self._sends(stream_id):
            return
        if data:
            self._put_body(data)
        if end and not self.closing:
            self._response_over()

    def direct_room(self, stream_id: int) -> int:
        """See protocol.adapter."""
        if self._framing != WITH_LENGTH or self._output.queued_bytes or self.closing or not self._sends(stream_id):
            return 0
        return self._body_left

    def direct_sent(self, stream_id: int, size: int) -> None:
        """See protocol.adapter."""
        self._body_left -= size

    def _put_body(self, data: bytes | memoryview) -> None:
        framing = self._framing
        if not data or framing == NO_BODY:
            return
        if framing == CHUNKED:
            self._output.put(b"%x\r\n%b\r\n" % (len(data), bytes(data)))
            return
        if framing == WITH_LENGTH:
            self._body_left -= len(data)
            if self._body_left < 0:
                self._cut()
                return
        self._output.put(data)

    def end_with_trailers(self, stream_id: int, fields: Fields) -> None:
        """See protocol.adapter.

        Errors: ValueError for trailers that cannot be written; nothing is queued then.
        """
        if self._sends(stream_id):
            self._response_over(field_lines(fields) if self._framing == CHUNKED else b"")

    def _response_over(self, trailer_lines: bytes = b"") -> None:
        framing = self._framing
        if framing == CHUNKED:
            self._output.put(b"0\r\n" + trailer_lines + b"\r\n")
        elif framing == WITH_LENGTH and self._body_left:
            self._cut()
            return
        if self._request_ended:
            self._exchange_over()
        elif not self._keep_alive or self._guard.body_left > self._limits.drain_body_bytes:
            self._close()
        else:
            self._draining = True
            self._drained_bytes = 0

    def consumed(self, stream_id: int, credit: int) -> None:
        """Nothing to do: the connection itself stops reading while a handler is behind."""

    # The end.

    def reset(self, stream_id: int, code: Http2Code) -> None:
        """See protocol.adapter. Closes at once; what is queued lacks its end."""
        if stream_id == self._number and self.open_streams:
            self._cut()

    def announce_shutdown(self) -> None:
        """See protocol.adapter. A response head that said nothing of it is a promise: one more request is served."""
        self._announced = True
        if self._awaits_answer():
            self._keep_alive = False

    def goodbye(self) -> None:
        """See protocol.adapter. A request that has begun to arrive is still answered."""
        self._keep_alive = False
        if self.open_streams == 0 and not self._guard.held:
            self._close()

    def fail(self, code: Http2Code) -> None:
        """See protocol.adapter."""
        if self.open_streams:
            self._cut()
        else:
            self._close()

    def take_output(self, limit: int) -> bytes | memoryview:
        """See protocol.adapter."""
        return self._output.take(limit) if self._output.queued_bytes else b""
