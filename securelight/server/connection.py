"""One client: its beginning, its deadlines and its end; turns.py has what it does in between."""

from __future__ import annotations

import contextlib
import socket
from time import monotonic
from typing import TYPE_CHECKING

from securelight.model.errors import Http2Code, Refusal
from securelight.model.request import Peer
from securelight.server.deadlines import Pace
from securelight.server.http_session import HttpSession
from securelight.server.paces import check_paces
from securelight.server.service import Service
from securelight.server.tcp_tunnel import TcpTunnel
from securelight.server.transport import PeerGone
from securelight.server.turns import Turns
from securelight.tls.session import TlsFault

if TYPE_CHECKING:
    from securelight.model.limits import Limits
    from securelight.server.opening import Opening
    from securelight.server.tcp_tunnel import TcpRoute

_CHECK_SECONDS = 10.0
"""The longest time between two looks at a connection's deadlines, which also bounds how long a closed one is kept."""
_BUSY_CHECK_SECONDS = 5.0
"""The same while the pace of a body is watched."""


def _check_seconds(limits: Limits) -> float:
    """How long a connection may go without a look at its deadlines, so that short limits are kept too."""
    return min(
        _CHECK_SECONDS,
        limits.request_head_seconds,
        limits.idle_seconds,
        limits.body_grace_seconds,
        limits.write_stall_seconds,
        limits.handler_seconds,
    )


class Connection(Turns):
    """One accepted connection.

    Args:
        service: what it shares with the others of its listener.
        sock: connected, non-blocking; owned from now on.
        peer: who is at the other end, admitted by service.addresses; its TLS facts come with the handshake.
    """

    __slots__ = ("_counted_address", "_drained_bytes", "_pace", "_peer")

    def __init__(self, service: Service, sock: socket.socket, peer: Peer) -> None:
        super().__init__(service, sock, peer)
        self._peer = peer
        self._counted_address = peer.address
        self._pace: Pace | None = None
        self._drained_bytes = 0
        service.connections.add(self)
        service.wheel.add(self, self._active_at + min(service.limits.handshake_seconds, _check_seconds(service.limits)))

    # The beginning.

    def _open(self) -> bool:
        opening, service = self._opening, self._service
        assert opening is not None
        if not opening.step(self._transport):
            if opening.refused:
                service.fence.count("tls refused", opening.peer.address, why=opening.refused)
                self._end()
            elif opening.route is not None:
                self._pass_on(opening, opening.route)
            return False
        self._opening = None
        self._counted_address = opening.peer.address
        service.addresses.opened(self._counted_address)
        self._active_at = monotonic()
        encrypted = self._transport.session is not None
        adapter = opening.adapter(self._transport)
        self._peer = adapter.peer
        self._session = session = HttpSession(
            service, self, adapter, self._peer, service.sites if encrypted else service.plain_sites
        )
        adapter.start(upgrades=session.sites.upgrades)
        if service.draining:
            adapter.announce_shutdown()
        if opening.plain_bytes:
            session.handle(adapter.receive(opening.plain_bytes))
        return True

    def _pass_on(self, opening: Opening, route: TcpRoute) -> None:
        """This connection is for another server: a tunnel has the socket from now on."""
        self.closed = True
        self._opening = None
        service = self._service
        service.reactor.unregister(self._descriptor)
        service.connections.discard(self)
        service.addresses.opened(opening.peer.address)
        tunnel = TcpTunnel(service, self._transport.sock, opening.peer, route, opening.received)
        service.nursery.start_soon(tunnel.run)

    def _tls_failed(self, fault: TlsFault) -> None:
        what = "tls handshake failed" if self._opening is not None else "tls broken"
        self._service.fence.count(what, self._peer.address, why=fault.reason)
        with contextlib.suppress(PeerGone):
            self._transport.send_handshake()  # the alert
            if self._opening is not None:
                # A TLS 1.3 client has sent its first request before it can know that its certificate is refused; to
                # close over that would reset the connection, and the alert would be lost.
                self._end()
                return
        self.close()

    # The end.

    @property
    def active_at(self) -> float:
        """When the client was last heard."""
        return self._active_at

    @property
    def occupation(self) -> tuple[str, int]:
        """(protocol, empty before there is one; requests on their way)."""
        session = self._session
        if session is None:
            return "", 0
        return session.peer.tls.alpn or "http/1.1", len(session.streams) + len(session.senders)

    def announce_shutdown(self) -> None:
        """Say that the connection will end; requests that are on their way are still served. `goodbye` follows."""
        if self._session is not None and self._session.adapter is not None and not self._closing_since:
            self._session.adapter.announce_shutdown()
            self._service.reactor.schedule(self)

    def goodbye(self) -> None:
        """Begin no more requests; end when the open ones have ended."""
        if self._session is not None and self._session.adapter is not None and not self._closing_since:
            self._session.adapter.goodbye()
            self._session.leave()
            self._service.reactor.schedule(self)

    def _end(self) -> None:
        """All is said: end our side, and drop what the client still sends for a while (RFC 9112, section 9.6)."""
        self._closing_since = monotonic()
        cut = False
        if self._session is not None:
            cut = self._session.adapter is not None and self._session.adapter.cut
            self._session.abandon_all()
        self._transport.end(notify=not cut)
        self._service.wheel.add(self, self._closing_since + self._service.limits.closing_seconds)

    def _drain(self) -> None:
        if self._transport.flush():
            self._transport.shut()
        limits = self._service.limits
        budget = limits.receive_bytes_per_turn
        while self._drained_bytes < limits.closing_bytes:
            if budget <= 0:
                self._service.reactor.schedule(self)
                return
            data = self._transport.receive_raw()
            if data == b"":
                return
            if data is None:
                break
            self._drained_bytes += len(data)
            budget -= len(data)
        self.close()

    def close(self) -> None:
        """Close now; streams are cancelled, files given back. May be called twice."""
        if self.closed:
            return
        self.closed = True
        service = self._service
        service.reactor.unregister(self._descriptor)
        service.connections.discard(self)
        opening = self._opening
        counted = self._counted_address if opening is None else opening.peer.address
        service.addresses.release(counted, opening=opening is not None)
        self._opening = None
        self._transport.close()
        if self._session is not None:
            self._session.close()
            self._session = None  # the wheel keeps a closed connection until its next look

    # Deadlines.

    def on_deadline(self, now: float) -> float:
        """See server.deadlines.Timed. Nothing is raised: the wheel is everybody's."""
        try:
            return self._on_deadline(now)
        except Exception as error:
            self._service.fence.report(error, "looking at deadlines")
            self.close()
            return 0

    def _on_deadline(self, now: float) -> float:
        if self.closed:
            return 0
        if self._closing_since:
            return self._unless_due(now, self._closing_since + self._service.limits.closing_seconds, "")
        if self._opening is not None:
            due = self._opening.started + self._service.limits.handshake_seconds
            return self._unless_due(now, due, "handshake too slow")
        session = self._session
        assert session is not None
        try:
            due = self._check(session, now)
        except (PeerGone, TlsFault):
            self.close()
            return 0
        self._wait_if_open()
        return due

    def _unless_due(self, now: float, due: float, what: str) -> float:
        if now < due:
            return due
        if what:
            self._service.fence.count(what, self._peer.address)
        self.close()
        return 0

    def _check(self, session: HttpSession, now: float) -> float:
        """Act on the deadlines of an open connection; returns when to look again, 0 if it is closed or closing.

        Errors: PeerGone; TlsFault.
        """
        limits, adapter = self._service.limits, session.adapter
        assert adapter is not None
        due = now + _check_seconds(limits)
        if self._too_slow_a_reader(now):
            self._service.fence.count("client reads too slowly", self._peer.address)
            self._transport.abort()
            self.close()
            return 0
        if check_paces(session, now) or self._transport.pending is not None:
            due = now + min(
                _BUSY_CHECK_SECONDS, limits.body_grace_seconds, limits.write_stall_seconds, limits.handler_seconds
            )
        elif not self._head_since:
            idle_due = self._active_at + limits.idle_seconds
            if now >= idle_due:
                adapter.goodbye()
                self._send_rest(session)
                self._end()
                return 0
            due = min(due, idle_due)
        if self._head_since:
            head_due = self._head_since + limits.request_head_seconds
            if now >= head_due:
                self._head_too_slow(session)
            else:
                due = min(due, head_due)
        if self._transport.pending is None:
            self._send(session)
        return due

    def _head_too_slow(self, session: HttpSession) -> None:
        """A total, so that a client that sends a byte now and then does not live for ever (slowloris)."""
        self._service.fence.count("request head too slow", self._peer.address)
        self._head_since = 0.0
        adapter = session.adapter
        assert adapter is not None
        if self._peer.tls.alpn == "h2" or adapter.open_streams:
            adapter.fail(Http2Code.ENHANCE_YOUR_CALM)  # HTTP/1: a body that nobody wants comes too slowly
        else:
            refusal = Refusal(408, "The request did not arrive in time.")
            session.answer_refusal(session.requests + 1, refusal, "-", b"-")

    def _too_slow_a_reader(self, now: float) -> bool:
        limits, pending = self._service.limits, self._transport.pending
        if pending is None:
            self._pace = None
            return False
        pace = self._pace = self._pace or Pace()
        taken = self._out_bytes - len(pending)
        pace.look(now, taken, waiting=True, bytes_per_second=limits.body_minimum_bytes_per_second)
        return pace.slow_seconds > limits.body_grace_seconds or pace.still_seconds >= limits.write_stall_seconds
