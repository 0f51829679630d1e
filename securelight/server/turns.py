"""The turns of one connection: what is read goes to the session, what it answers is written, all within budgets.

Everything here is synchronous. A turn reads, hands what it read to the session, writes, all within the turn's budgets
(limits `*_per_turn`), and asks for another turn if something is left.

Back-pressure: while the client does not take our bytes we do not read more of its requests; a request body that is not
asked for, and HTTP/1.1 requests behind one that is being answered, stop the reading too.
"""

from __future__ import annotations

import abc
import select
import socket
from time import monotonic

from securelight.model.request import Peer
from securelight.protocol.slices import SLICE_BYTES
from securelight.server.http_session import HttpSession
from securelight.server.opening import Opening
from securelight.server.service import Service
from securelight.server.transport import PeerGone, Transport
from securelight.tls.session import TlsFault

_IN, _OUT, _END, _GONE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP, select.EPOLLERR | select.EPOLLHUP
OUTPUT_BYTES = SLICE_BYTES + 16_384
"""A slice with its frame headers, and what is said beside it."""


class Turns(abc.ABC):
    """How a connection reads, answers and writes; Connection adds its beginning, its deadlines and its end.

    Args:
        service: what it shares with the others of its listener.
        sock: connected, non-blocking; owned from now on.
        peer: who is at the other end; its TLS facts come with the handshake.
    """

    __slots__ = (
        "_active_at", "_closing_since", "_descriptor", "_end_in_sight", "_head_since", "_input_ended", "_mask",
        "_opening", "_out_bytes", "_reads_on", "_service", "_session", "_transport", "closed", "scheduled",
    )  # fmt: skip

    def __init__(self, service: Service, sock: socket.socket, peer: Peer) -> None:
        self.closed = False
        self.scheduled = False
        self._reads_on = False
        """The last turn ran out of budget: there may be more in the socket, or in what was read of it."""
        self._service = service
        self._active_at = monotonic()
        self._transport = Transport(sock)
        self._opening: Opening | None = Opening(service, peer, self._active_at)
        self._session: HttpSession | None = None
        self._out_bytes = 0
        self._head_since = self._closing_since = 0.0
        self._input_ended = self._end_in_sight = False
        self._mask = _IN
        self._descriptor = sock.fileno()
        service.reactor.register(self._descriptor, self, _IN)

    @abc.abstractmethod
    def _open(self) -> bool:
        """Go on with the opening; True once there is a session.

        Errors: PeerGone; TlsFault.
        """

    @abc.abstractmethod
    def _tls_failed(self, fault: TlsFault) -> None:
        """Say why, and close."""

    @abc.abstractmethod
    def _drain(self) -> None:
        """Drop what the client still sends after our end.

        Errors: PeerGone.
        """

    @abc.abstractmethod
    def _end(self) -> None:
        """All is said: end our side.

        Errors: PeerGone.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Close now. May be called twice."""

    def on_ready(self, mask: int) -> None:
        """See server.reactor.Stepped."""
        if mask == _IN:
            session = self._session
            if (
                session is None or self._closing_since or self._head_since or self._reads_on
                or session.streams or session.senders or session.held
            ):  # fmt: skip
                if not (self._reads_on and self.scheduled):  # its next turn comes when the others had theirs
                    self._turn(reading=True)
            else:
                self._quick_turn(session)
        elif mask & _GONE:
            if self._opening is not None and mask & _IN:
                self._turn(reading=True)  # a client that does not trust us says why before it goes
            self.close()
        elif mask & _END and not mask & _IN:
            self._end_seen()
        else:
            self._turn(reading=True)

    def _end_seen(self) -> None:
        """The client has ended its side while we do not read: there may be requests before the end of its input."""
        if self._session is None or self._session.streams:
            self.close()
        else:
            self._end_in_sight = True
            self._wait()

    def on_turn(self) -> None:
        """See server.reactor.Stepped. Reads only what no readiness of the socket will tell of."""
        if self.closed:
            return
        session = self._session
        self._turn(
            reading=session is None
            or self._reads_on
            or bool(session.held)
            or self._transport.holds_input
            or (session.adapter is not None and session.adapter.input_ready)
        )

    def _turn(self, *, reading: bool) -> None:
        transport = self._transport
        transport.emptied = False
        try:
            if self._closing_since:
                self._drain()
            elif (self._opening is None or self._open()) and (transport.pending is None or transport.flush()):
                session, tls = self._session, transport.session
                assert session is not None
                if tls is not None and tls.ended:
                    self._end()  # the last answer is out now, and close_notify with it
                else:
                    if not reading or self._receive(session):
                        self._send(session)
                    else:
                        self._peer_ended(session)
                    if tls is not None and tls.output and not self._closing_since:
                        transport.send_handshake()  # no answer has taken it along
        except PeerGone:
            self.close()
        except TlsFault as fault:
            self._tls_failed(fault)
        if not self.closed:
            self._wait()

    def _quick_turn(self, session: HttpSession) -> None:
        """The turn of a client for whom nothing is under way: one read, the answers to it, one write.

        As `_turn` does it, which goes on from any point where there is more to do.
        """
        transport, adapter, limits = self._transport, session.adapter, self._service.limits
        assert adapter is not None
        transport.emptied = False
        session.turn_requests = limits.requests_per_turn
        try:
            data = transport.receive(adapter.read_bytes) if transport.pending is None else b""
            if data:
                self._active_at = monotonic()
                session.handle(adapter.receive(data))
                if transport.emptied and not (session.held or adapter.partial_head or adapter.closing):
                    out = adapter.take_output(OUTPUT_BYTES)
                    self._out_bytes += len(out)
                    if (not out or transport.send(out)) and not (
                        session.senders or session.writers or session.paused or adapter.closing
                        or not (adapter.wants_input or session.streams)
                        or len(out) >= OUTPUT_BYTES
                    ):  # fmt: skip
                        return
            elif data is None:
                self._peer_ended(session)
                self._wait_if_open()
                return
        except PeerGone:
            self.close()
            return
        except TlsFault as fault:
            self._tls_failed(fault)
            return
        if data and monotonic() > self._active_at + limits.receive_seconds_per_turn:
            self._reads_on = True
            self._service.reactor.schedule(self)
        self._turn(reading=not self._reads_on)

    def _wait_if_open(self) -> None:
        if not self.closed:
            self._wait()

    def _wait(self) -> None:
        """Wait for what can go on: room in the socket, input, or (reading paused) only the end of the client."""
        session = self._session
        if self._transport.pending is not None:
            mask = _OUT
        elif session is None or self._closing_since or self._reads(session):
            mask = _IN
        elif self._input_ended or (self._end_in_sight and not session.streams):
            mask = 0
        else:
            mask = _END
        if mask != self._mask:
            self._mask = mask
            self._service.reactor.modify(self._descriptor, mask)

    def _reads(self, session: HttpSession) -> bool:
        adapter = session.adapter
        if adapter is None or adapter.closing or self._input_ended:
            return False
        return adapter.wants_input and not session.paused and not session.held

    def _receive(self, session: HttpSession) -> bool:
        """Read within the turn's budgets; False once the client has ended its side."""
        adapter, transport, limits = session.adapter, self._transport, self._service.limits
        assert adapter is not None
        begun = session.requests
        self._reads_on = False
        session.turn_requests = limits.requests_per_turn
        if session.held:
            held, session.held = session.held, ()
            session.handle(held)
        budget = limits.receive_bytes_per_turn
        enough_at = monotonic() + limits.receive_seconds_per_turn
        data: bytes | None = b""
        while True:
            while adapter.input_ready and session.turn_requests:
                session.handle(adapter.receive(b""))
                if monotonic() > enough_at:
                    budget = 0
                    break
            if session.held or adapter.input_ready or budget <= 0:
                self._reads_on = True
                self._service.reactor.schedule(self)
                break
            if not self._reads(session):
                break
            data = transport.receive(adapter.read_bytes)
            if not data:
                break
            budget -= len(data)
            session.handle(adapter.receive(data))
            if transport.emptied and not (transport.holds_input or adapter.input_ready or session.held):
                break
            if monotonic() > enough_at:
                budget = 0
        if budget < limits.receive_bytes_per_turn:
            self._active_at = monotonic()
        if not adapter.partial_head:
            self._head_since = 0.0
        elif not self._head_since or session.requests != begun:
            self._head_since = self._active_at
        return data is not None

    def _send(self, session: HttpSession) -> None:
        """Send within the turn's budget; then see who can go on, and whether the connection ends."""
        adapter, transport = session.adapter, self._transport
        assert adapter is not None
        budget = self._service.limits.send_bytes_per_turn
        while transport.pending is None:
            if budget <= 0:
                self._service.reactor.schedule(self)
                break
            out = adapter.take_output(OUTPUT_BYTES)
            if out:
                budget -= len(out)
                self._out_bytes += len(out)
                last = adapter.closing and len(out) < OUTPUT_BYTES and not (session.busy or adapter.cut)
                if not transport.send(out, last=last):
                    break  # the next slice is not read before there is room for it
                if len(out) >= OUTPUT_BYTES:
                    continue  # less means that there is no more
            if len(session.senders) == 1:
                ((stream_id, sender),) = session.senders.items()
                sent_bytes = sender.send_directly(stream_id, adapter, transport, budget)
                self._out_bytes += sent_bytes
                budget -= sent_bytes
                if budget <= 0 or transport.pending is not None:
                    continue
            if not session.senders or not session.fill(SLICE_BYTES):
                if adapter.closing and not session.busy:
                    self._end_when_sent()
                elif adapter.input_ready:
                    self._service.reactor.schedule(self)  # the next of the pipelined requests
                break
        if session.writers:
            session.wake_writers()

    def _end_when_sent(self) -> None:
        if self._transport.pending is None:
            self._end()

    def _peer_ended(self, session: HttpSession) -> None:
        """The client will send nothing more. It gets the answers that are there; it does not wait for others."""
        adapter = session.adapter
        assert adapter is not None
        self._input_ended = True
        session.handle(adapter.receive_end())
        session.give_up_streams()
        self._send(session)

    def _send_rest(self, session: HttpSession) -> None:
        """Send what the adapter has, as far as the socket takes it."""
        adapter, transport = session.adapter, self._transport
        assert adapter is not None
        while transport.pending is None and (out := adapter.take_output(OUTPUT_BYTES)):
            transport.send(out)
