"""The receiving half of both HTTP/1 adapters: the request of one exchange at a time, and keep-alive.

Bytes go through http1_guard to an engine (h11 or httptools), whose reading of each message has to agree with the
guard's: where they differ, the request is refused. The next message is looked at only after the answer to the one
before; until then its bytes are held. An HTTP/1.0 client gets one answer a connection on either engine.

Never reads what is left of a body as a request: a body that nobody wants is read and dropped within
Limits.drain_body_bytes, or the connection closes.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from securelight.model.errors import Http2Code, Refusal
from securelight.protocol.adapter import READ_BYTES
from securelight.protocol.events import BodyEnded, BodyReceived, RequestRefused, StreamAborted
from securelight.protocol.http1_guard import Http1Guard
from securelight.protocol.known_heads import known_heads
from securelight.protocol.request_head import from_http1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.model.request import Peer, Request
    from securelight.protocol.events import Event
    from securelight.protocol.http1_guard import Head


class Http1Requests(abc.ABC):
    """protocol.adapter.ProtocolAdapter for HTTP/1.1 and 1.0; a subclass reads messages with its engine.

    Args:
        peer: goes into each Request.
        limits: the bounds in force.

    Attributes beside those of ProtocolAdapter:
        cut: a response was broken off. Close without close_notify: a body that ends with the connection would
            otherwise look whole.
    """

    __slots__ = (
        "_announced",
        "_continue_due",
        "_deaf",
        "_drained_bytes",
        "_draining",
        "_guard",
        "_input_ended",
        "_keep_alive",
        "_known",
        "_limits",
        "_method",
        "_number",
        "_request_ended",
        "_response_begun",
        "_scheme",
        "_tunnel",
        "_unseen",
        "_version",
        "closing",
        "cut",
        "open_streams",
        "peer",
    )  # fmt: skip

    def __init__(self, peer: Peer, limits: Limits) -> None:
        self.closing = False
        self.cut = False
        self.open_streams = 0
        self.peer = peer
        self._limits = limits
        self._scheme = b"https" if peer.tls.version else b"http"
        self._guard = Http1Guard(limits)
        self._known = known_heads(limits, f"{type(self).__name__} {peer.tls.version and 'https'}")
        self._unseen = False
        """The guard holds bytes that nobody has looked at."""
        self._deaf = False
        """Input is dropped from now on."""
        self._input_ended = False
        self._keep_alive = True
        self._announced = False
        # The exchange under way, or the last one.
        self._number = 0
        self._method = "-"
        self._version = "1.1"
        self._request_ended = True
        self._response_begun = False
        self._continue_due = False
        """The client waits for 100 (Continue), and neither that nor any of the body has been seen."""
        self._draining = False
        """The answer is out; the rest of the request body is read and dropped."""
        self._drained_bytes = 0
        self._tunnel = False
        """The connection has switched to another protocol: what comes is passed on as it is."""

    # The engine.

    @abc.abstractmethod
    def _read_head(self, head: Head) -> tuple[bytes, bytes, list[Field]]:
        """(method, target, fields) as the engine reads `head`; names in lower case, values stripped.

        Errors: Refusal if the engine does not like it.
        """

    @abc.abstractmethod
    def _read_body(self, data: bytes, *, ended: bool) -> bytes:
        """The content in `data`, which is framed and checked; `ended` says that the message ends with it.

        Errors: Refusal if the engine does not like it, or sees the end elsewhere.
        """

    # State.

    @property
    def partial_head(self) -> bool:
        """A head has begun to arrive; also while an unwanted body is drained, which stands under the same deadline."""
        return self._draining or (self.open_streams == 0 and bool(self._guard.held))

    @property
    def input_ready(self) -> bool:
        """See protocol.adapter."""
        return self._unseen and (self.open_streams == 0 or self._tunnel) and not self.closing

    @property
    def wants_input(self) -> bool:
        """See protocol.adapter."""
        return not self._unseen

    @property
    def read_bytes(self) -> int:
        """See protocol.adapter."""
        return READ_BYTES

    # Input.

    def receive(self, data: bytes) -> Sequence[Event]:
        """See protocol.adapter. At most one Request a call."""
        if self._deaf:
            return ()
        events: list[Event] = []
        if self.open_streams:
            if self._request_ended:
                if data:
                    self._guard.held += data
                    self._unseen = True
                return events
            self._receive_body(data, events)
            if self.open_streams or self._deaf:
                return events
            data = b""
        self._receive_head(data, events)
        if self._input_ended and not self._request_ended:
            events.append(self._abort())
        return events

    def _receive_head(self, data: bytes, events: list[Event]) -> None:
        guard = self._guard
        self._unseen = False
        if not guard.held:
            known = self._known.get(data)
            personal: Fields = ()
            if known is None:
                known, personal = self._known.with_line(data)
            if known is not None:
                self._number += 1
                request = known.request
                self._begin_exchange(request.method, request.http_version, body=False)
                self._settle_keep_alive(request)
                if self._keep_alive:
                    events.append((self._number, known, personal))
                else:  # its answer says so, and would not be given again
                    events.append(request.again(self._number, self.peer, personal))
                self._request_over()
                return
        try:
            head = guard.take_head(data)
            if head is None:
                if self._input_ended:
                    self._close()
                return
            method, target, fields = self._read_head(head)
            request = from_http1(
                method, target, head.version, fields, number=self._number + 1, peer=self.peer, limits=self._limits,
                has_body=guard.in_body, length=head.length, scheme=self._scheme,
            )  # fmt: skip
        except Refusal as refusal:
            self._number += 1
            self._begin_exchange(guard.method.decode("ascii"), "1.0", body=False)
            self._give_up_input()
            events.append(RequestRefused(self._number, refusal, self._method, guard.target))
            return
        self._number += 1
        self._begin_exchange(request.method, head.version, body=guard.in_body)
        self._settle_keep_alive(request)
        events.append(request)
        if guard.in_body:
            self._continue_due = request.expects_continue
            if guard.held:
                self._receive_body(b"", events)
        else:
            if head.raw is data:
                self._known.remember_head(data, request)
            self._request_over()

    def _begin_exchange(self, method: str, version: str, *, body: bool) -> None:
        self.open_streams = 1
        self._method = method
        self._version = version
        self._request_ended = not body
        self._response_begun = False
        self._continue_due = False

    def _settle_keep_alive(self, request: Request) -> None:
        if self._announced or request.http_version == "1.0" or self._number >= self._limits.requests_per_connection:
            self._keep_alive = False
            return
        connection = request.headers.get(b"connection")
        if connection is not None and b"close" in connection.lower():
            options = [option.strip(b" \t") for option in connection.lower().split(b",")]
            self._keep_alive = self._keep_alive and b"close" not in options

    def _begin_tunnel(self) -> None:
        """What was held as a next request belongs to the other protocol; nothing is a request any more."""
        self._tunnel = True
        self._keep_alive = False
        self._request_ended = False
        self._deaf = False

    def _receive_body(self, data: bytes, events: list[Event]) -> None:
        guard = self._guard
        if self._tunnel:
            if guard.held:
                data = bytes(guard.held) + data
                guard.held.clear()
                self._unseen = False
            if data:
                events.append(BodyReceived(self._number, data, len(data)))
            return
        before = len(data) + len(guard.held)
        passed = guard.take_body(data)
        fault = guard.fault
        content = b""
        if passed:
            self._continue_due = False
            try:
                content = self._read_body(passed, ended=not guard.in_body)
            except Refusal as refusal:
                fault = refusal
        if self._draining:
            self._drained_bytes += before - len(guard.held)
            if fault is not None or self._drained_bytes > self._limits.drain_body_bytes:
                self._close()
                return
        elif content:
            events.append(BodyReceived(self._number, content, len(content)))
        if fault is not None:
            self._give_up_input()
            events.append(RequestRefused(self._number, fault, self._method, guard.target, in_body=True))
        elif not guard.in_body:
            if not self._draining:
                events.append(BodyEnded(self._number, guard.trailers))
            self._request_over()

    def _request_over(self) -> None:
        """The whole request has been read."""
        self._request_ended = True
        if not self._keep_alive:
            self._drop_input()
        self._unseen = bool(self._guard.held)
        if self._draining:
            self._exchange_over()

    def _give_up_input(self) -> None:
        """The input makes no sense any more: answer, then close."""
        self._keep_alive = False
        self._request_ended = True
        self._drop_input()

    def _drop_input(self) -> None:
        self._deaf = True
        self._unseen = False
        self._guard.held.clear()

    def receive_end(self) -> Sequence[Event]:
        """See protocol.adapter. Requests that came whole before the end are still answered."""
        if self.closing:
            return ()
        self._input_ended = True
        if self.open_streams == 0:
            if not self._unseen:
                self._close()
        elif not self._request_ended:
            if not self._draining:
                return (self._abort(),)
            self._close()
        elif not self._unseen:
            self._keep_alive = False
        return ()

    def _abort(self) -> StreamAborted:
        self._cut()
        return StreamAborted(self._number, Http2Code.CANCEL, by_peer=True, reason="end of input in the body")

    # The exchange.

    def _awaits_answer(self) -> bool:
        return self.open_streams == 1 and not self._response_begun

    def _exchange_over(self) -> None:
        self.open_streams = 0
        self._draining = False
        if not self._keep_alive or (self._input_ended and not self._unseen):
            self._close()

    def _cut(self) -> None:
        """Close in the middle of the exchange."""
        self.cut = self._response_begun and not self._draining
        self._close()

    def _close(self) -> None:
        self.closing = True
        self.open_streams = 0
        self._draining = False
        self._drop_input()
