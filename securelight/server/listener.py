"""One listening address of a worker: a nursery, a reactor, a wheel of deadlines, a connection limit.

Accepting is a step of the reactor like any other, bounded a turn. When descriptors or memory run out, or the limit of
connections is reached, accepting pauses; those that are connected go on.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import Counter
from collections.abc import Callable

import trio

from securelight.model.request import UNIX, Peer
from securelight.server.connection import Connection
from securelight.server.deadlines import Wheel
from securelight.server.reactor import Reactor, Stepped
from securelight.server.service import Service
from securelight.server.sockets import shown
from securelight.upstream import poller

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
TELL_SECONDS = 1.0
"""How often the log hears of connections that were refused for their address: it is not to be flooded with them."""
PAUSE_SECONDS = 0.1
"""How long accepting pauses when something has run out (Trio's own figure)."""
LAST_CALL_SECONDS = 1.0
"""How long a connection of a draining listener is quiet before it ends: what its client sent before it heard that we
leave has then arrived (RFC 9113, section 6.8, asks for a round trip at least; Go waits as long)."""
_SWEEP_MOST = 4096
"""More connections than any backlog holds: accepting the rest of it ends, whoever keeps on coming."""


class Listener:
    """Serves one listening socket.

    Args:
        sock: bound and listening, non-blocking; owned by the caller.
        make_service: given the listener's reactor, wheel and nursery, makes what its connections share.
    """

    def __init__(self, sock: socket.socket, make_service: Callable[[Reactor, Wheel, trio.Nursery], Service]) -> None:
        self._sock = sock
        self._unix_address = shown(sock) if sock.family == socket.AF_UNIX else ""
        self._make_service = make_service
        self._service: Service | None = None
        self._accepting = False
        self.accepted = 0
        """Connections so far."""
        self.scheduled = False
        self._draining_since = 0.0
        self._refused: Counter[str] = Counter()
        """Connections since they were last told of, by reason."""
        self._refused_address = ""
        self._refused_told = 0.0
        self.ended = trio.Event()
        """Set once a drain has let the last connection go."""

    async def run(self) -> None:
        """Serve until `drain` has let the last connection go, or until cancelled."""
        reactor, wheel = Reactor(self._fence), Wheel()
        try:
            async with trio.open_nursery() as nursery:
                self._service = service = self._make_service(reactor, wheel, nursery)
                self._resume()
                service.runners.start()
                poller.offer(reactor)
                nursery.start_soon(wheel.run)
                nursery.start_soon(self._watch)
                try:
                    await self.ended.wait()
                finally:
                    poller.withdraw(reactor)
                    for connection in tuple(service.connections):
                        connection.close()
                    nursery.cancel_scope.cancel()
        finally:
            reactor.close()

    async def _watch(self) -> None:
        """Take up accepting again, and notice the end of a drain."""
        while True:
            await trio.sleep(PAUSE_SECONDS)
            service = self._service
            assert service is not None
            if self._refused and (now := time.monotonic()) - self._refused_told >= TELL_SECONDS:
                self._refused_told = now
                self._tell_refused(service)
            if service.draining:
                self._say_goodbye(service)
            elif not self._accepting and len(service.connections) < service.limits.connections:
                self._resume()

    def drain(self) -> None:
        """Accept what has connected already, and no more; serve what is on its way, and end the connections.

        The caller closes the listening socket, and enforces limits.graceful_stop_seconds.
        """
        service = self._service
        if service is None:
            self.ended.set()
            return
        if service.draining:
            return
        for _ in range(_SWEEP_MOST // service.limits.accepts_per_turn + 1):
            if not self._accepting or not self._accept(service):
                break
        service.draining = True
        self._draining_since = time.monotonic()
        self._pause()
        for connection in tuple(service.connections):
            connection.announce_shutdown()

    def _say_goodbye(self, service: Service) -> None:
        """End the connections that had their last call; notice when all are gone."""
        quiet_since = time.monotonic() - LAST_CALL_SECONDS
        if self._draining_since <= quiet_since:
            for connection in tuple(service.connections):
                if connection.active_at <= quiet_since:
                    connection.goodbye()
        if not service.connections:
            self.ended.set()

    def _tell_refused(self, service: Service) -> None:
        for why, connections in self._refused.items():
            service.fence.counts[why] += connections
            service.fence.events.info(why, peer=self._refused_address, connections=connections)
        self._refused.clear()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._service.connections) if self._service is not None else 0

    def open_connections(self) -> list[tuple[str, int]]:
        """(protocol, requests on their way) of each."""
        return [] if self._service is None else [one.occupation for one in self._service.connections]

    def on_ready(self, _mask: int) -> None:
        """See server.reactor.Stepped: accept."""
        assert self._service is not None
        self._accept(self._service)

    def _accept(self, service: Service) -> bool:
        """Accept up to limits.accepts_per_turn; False if there are no more, or accepting has to pause."""
        for _ in range(service.limits.accepts_per_turn):
            if len(service.connections) >= service.limits.connections:
                service.fence.count("connection limit reached", "", limit=service.limits.connections)
                self._pause()
                return False
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    service.fence.count("cannot accept", "", why=error.strerror)
                    self._pause()
                    return False
                continue  # the client was gone before we came to it
            self.accepted += 1
            if self._unix_address:
                peer = Peer(UNIX, self.accepted & 0xFFFF, self._unix_address)
            elif why := service.addresses.admit(address[0]):
                sock.close()
                self._refused[why] += 1
                self._refused_address = address[0]
                continue
            else:
                peer = Peer(address[0], address[1], *sock.getsockname()[:2])
            sock.setblocking(False)
            connection = Connection(service, sock, peer)
            # The ClientHello is often there already; without this the next poll would say so.
            service.reactor.schedule(connection)
        return True

    def on_turn(self) -> None:
        """See server.reactor.Stepped."""

    def _pause(self) -> None:
        if self._accepting and self._service is not None:
            self._accepting = False
            self._service.reactor.unregister(self._sock.fileno())

    def _resume(self) -> None:
        if not self._accepting and self._service is not None:
            self._accepting = True
            self._service.reactor.register(self._sock.fileno(), self, select.EPOLLIN)

    def _fence(self, error: Exception, stepped: Stepped) -> None:
        service = self._service
        assert service is not None
        service.fence.report(error, "serving a connection")
        if isinstance(stepped, Connection):
            try:
                stepped.close()
            except Exception as second:
                service.fence.report(second, "closing a connection")
                service.connections.discard(stepped)
