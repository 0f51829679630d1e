"""An HTTP/1 client that keeps account of both sides of its connection and fails on what no peer may ever see.

It reads with h11 as a client, one parser for each answer, and does its own sums. What it is told to send may be as
wrong as you like. The state machine and a fuzz target drive it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import h11

from securelight.model.body import PUSHED_BODY
from securelight.model.errors import Http2Code
from securelight.model.limits import Limits
from securelight.model.request import Request
from securelight.model.response import Response
from securelight.protocol.events import BodyEnded, BodyReceived, RequestRefused, StreamAborted
from tests.protocol.http1_support import make, told, without_date

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.protocol.events import Event
    from tests.protocol.http1_support import Maker

SMALL: dict[str, Any] = {
    "request_target_bytes": 200, "request_head_bytes": 600, "trailer_bytes": 120, "chunk_extension_bytes": 20,
    "request_body_bytes": 2_000, "request_fields": 8, "chunk_overhead_bytes": 60, "requests_per_connection": 6,
    "response_buffer_bytes": 40_000, "drain_body_bytes": 500,
}  # fmt: skip
"""Limits that are small enough to be reached."""
LIMITS = dataclasses.replace(Limits(), **SMALL)
READ_BYTES = 3_000
"""What one read of the socket brings at most."""
HELD_BYTES = LIMITS.request_head_bytes + LIMITS.trailer_bytes + READ_BYTES
"""An unfinished head or trailer section, and what came behind it in the same read."""


class Answer:
    """What the adapter was given for one request."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.status = 0
        self.body = b""
        self.ended = False
        self.tunnel = False


class Witness:
    """One connection to an adapter of the class `engine`, with small limits.

    Attributes:
        open: the request that waits for its answer, or for the rest of it; 0 if there is none.
        answers: by the number of the request.
    """

    def __init__(self, engine: Maker) -> None:
        self.adapter = make(engine, **SMALL)
        self.adapter.start()
        self.open = 0
        self.answers: dict[int, Answer] = {}
        self._pending = b""
        self._request_ended = False
        self._refused = False
        self._last = 0
        self._output = b""

    # The peer.

    def send(self, data: bytes, cut: int = 0) -> list[Any]:
        """Put `data` on the wire, and let the server read: what is before `cut` first."""
        self._pending += data
        return self.read(cut) + self.read() if cut else self.read()

    def read(self, most: int = READ_BYTES) -> list[Any]:
        """What the adapter makes of the next bytes, if it takes any now."""
        adapter = self.adapter
        events: list[Event] = []
        if self._pending and adapter.wants_input and not adapter.closing:
            piece = self._pending[: min(most, READ_BYTES)]
            self._pending = self._pending[len(piece) :]
            events += self._judged(adapter.receive(piece))
        return told(events)

    def go_on(self) -> list[Any]:
        """The next request, if it has come already."""
        return told(self._judged(self.adapter.receive(b""))) if self.adapter.input_ready else []

    def end_input(self) -> list[Any]:
        return told(self._judged(self.adapter.receive_end()))

    def _judged(self, events: Sequence[Event]) -> list[Event]:
        assert len(self.adapter._guard.held) <= HELD_BYTES
        for event in events:
            self._judge(event)
        return list(events)

    def _judge(self, event: Event) -> None:
        if isinstance(event, Request | RequestRefused) and not (isinstance(event, RequestRefused) and event.in_body):
            assert event.stream_id == self._last + 1
            assert self.open == 0 or self.answers[self.open].ended, "two requests at a time"
            self._last = self.open = event.stream_id
            self.answers[event.stream_id] = Answer(event.method)
            self._refused = isinstance(event, RequestRefused)
            self._request_ended = self._refused or (isinstance(event, Request) and not event.has_body)
            return
        assert not isinstance(event, tuple)
        assert isinstance(event, BodyReceived | BodyEnded | RequestRefused | StreamAborted)
        assert event.stream_id == self._last
        tunnel = self.answers[self._last].tunnel
        assert tunnel or not (self._request_ended or self._refused), "more of a request that was whole"
        if isinstance(event, BodyEnded):
            self._request_ended = True
        elif isinstance(event, RequestRefused):
            self._refused = True
        elif isinstance(event, StreamAborted):
            self.open = 0
            self._request_ended = True

    # The server.

    def respond(self, body: bytes, *, end: bool, announced: int | None = None, status: int = 200) -> None:
        """Answer; without `end` more follows by `write`, `announced` bytes together if that is given."""
        if not self.open or self.answers[self.open].status or self.adapter.closing:
            return
        answer = self.answers[self.open]
        if answer.method == "HEAD" or status in (204, 304):
            end = True
        response = Response(status, (), body if end else PUSHED_BODY, content_length=None if end else announced)
        data = b"" if answer.method == "HEAD" or status in (204, 304) else body
        answer.status, answer.body, answer.ended = status, data, end
        self.adapter.respond(self.open, response, data, end=end)

    def write(self, data: bytes, *, end: bool) -> None:
        """As much of `data` as there is room for."""
        if self.open and self.answers[self.open].status and not self.answers[self.open].ended:
            room = self.adapter.capacity(self.open)
            assert room <= LIMITS.response_buffer_bytes
            if room < 0:
                return
            self.answers[self.open].body += data[:room]
            self.answers[self.open].ended = end
            self.adapter.write(self.open, data[:room], end=end)

    def end_with_trailers(self) -> None:
        if self.open and self.answers[self.open].status and not self.answers[self.open].ended:
            self.answers[self.open].ended = True
            self.adapter.end_with_trailers(self.open, ((b"x-sum", b"1"),))

    def upgrade(self) -> None:
        if self.open and not self.answers[self.open].status and not self._refused:
            answer = self.answers[self.open]
            answer.status = self.adapter.upgrade(self.open, b"websocket", ())
            answer.tunnel = True

    def inform(self) -> None:
        self.adapter.inform(self.open, 100, ())

    def cancel(self) -> None:
        """The handler breaks the response off."""
        if self.open:
            self.adapter.reset(self.open, Http2Code.INTERNAL_ERROR)
            self.open = 0

    # What comes out.

    def look(self) -> bytes:
        """What the adapter sends now, without dates."""
        output = b""
        while piece := bytes(self.adapter.take_output(1 << 16)):
            output += piece
        self._output += output
        return without_date(output)

    def finish(self) -> None:
        """Every answer is read as it was given, in order, and nothing is behind the last."""
        self.look()
        unread = self._output
        for answer in self.answers.values():
            if not unread:
                return
            unread = self._read(answer, unread)
        assert not unread, "more answers than requests"

    def _read(self, answer: Answer, unread: bytes) -> bytes:
        """Read one answer; what is behind it."""
        reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 16)
        method = answer.method if answer.method in ("HEAD", "POST") else "GET"
        reader.send(h11.Request(method=method, target="/", headers=[("host", "a"), ("upgrade", "websocket")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(unread)
        event = reader.next_event()
        while isinstance(event, h11.InformationalResponse) and event.status_code == 100:
            event = reader.next_event()
        if answer.tunnel:
            assert isinstance(event, h11.InformationalResponse)
            assert event.status_code == 101
            assert reader.trailing_data[0] == answer.body
            return b""
        if event is h11.NEED_DATA and not answer.status:
            return b""  # 100 (Continue) alone
        assert isinstance(event, h11.Response)
        assert event.status_code == answer.status
        body = b""
        event = reader.next_event()
        if event is h11.NEED_DATA and self.adapter.closing and not self.adapter.cut:
            reader.receive_data(b"")
            event = reader.next_event()
        while isinstance(event, h11.Data):
            body += event.data
            event = reader.next_event()
            if event is h11.NEED_DATA and self.adapter.closing and not self.adapter.cut:
                reader.receive_data(b"")
                event = reader.next_event()
        whole = isinstance(event, h11.EndOfMessage)
        assert answer.body.startswith(body)
        if answer.ended and not self.adapter.cut:
            assert whole
            assert body == answer.body
        if not whole:
            assert event is h11.NEED_DATA
            assert not answer.ended or self.adapter.cut
            return b""
        return bytes(reader.trailing_data[0])
