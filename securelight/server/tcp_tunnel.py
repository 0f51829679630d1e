"""Connections that are for other servers, by the name in their ClientHello: passed on unopened, byte for byte.

What is held of each is one read in either direction, made when the other side has taken the last one; a side that has
said its last is told to the other, which may go on (half-close). No key is here, so nothing of it can be looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from securelight.config.tcp import TcpConfig, find_host, upstream_parts
from securelight.protocol.proxy_protocol import write_v1, write_v2
from securelight.upstream.address import Address, Resolver
from securelight.upstream.faults import ConnectFailed
from securelight.upstream.stream import PlainStream, connect

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from securelight.model.limits import Limits
    from securelight.model.request import Peer
    from securelight.server.service import Service

RESOLVE_SECONDS = 30.0
"""How long a lookup of a name counts."""


class TcpRoute:
    """The servers of one `[[tcp]]`.

    Args:
        config: as it stands there.
        limits: the server's bounds.

    Attributes:
        active: connections at the moment.
    """

    def __init__(self, config: TcpConfig, limits: Limits) -> None:
        self.config = config
        self.active = 0
        self._buffer_bytes = limits.upstream_buffer_bytes
        self._resolvers = []
        for text in config.upstreams:
            host, port, path = upstream_parts(text)
            self._resolvers.append(Resolver(Address(text, "tcp", host, port, path), RESOLVE_SECONDS))
        self._turn = 0

    async def connect(self) -> tuple[PlainStream, str]:
        """A connection to the next server that takes one, and which it is.

        Errors: ConnectFailed.
        """
        resolvers, seconds = self._resolvers, self.config.connect_seconds
        self._turn = (self._turn + 1) % len(resolvers)
        failure = ConnectFailed("there is no server")
        with trio.move_on_after(seconds):
            for number in range(len(resolvers)):
                at = (self._turn + number) % len(resolvers)
                try:
                    share = seconds / min(len(resolvers), 4)
                    stream = await connect(await resolvers[at].addresses(), share, self._buffer_bytes)
                except ConnectFailed as fault:
                    failure = fault
                else:
                    return stream, self.config.upstreams[at]
            raise failure
        raise ConnectFailed(f"no connection within {seconds:g} s", late=True)


class TcpRoutes:
    """All of them.

    Args:
        configs: the tables.
        limits: the server's bounds.
    """

    def __init__(self, configs: Sequence[TcpConfig], limits: Limits) -> None:
        self._hosts = {host: config for config in configs for host in config.hosts}
        self._routes = {id(config): TcpRoute(config, limits) for config in configs}

    def find(self, server_name: str) -> TcpRoute | None:
        """Where a connection with this name in its ClientHello goes; None for our own sites."""
        config = find_host(self._hosts, server_name)
        return None if config is None else self._routes[id(config)]


class TcpTunnel:
    """One connection that is passed on. Counted among its listener's connections, as long as it lives.

    Args:
        service: of the listener.
        sock: the client's; owned from now on.
        peer: the client, admitted by service.addresses.
        route: where to.
        received: what came of it already.
    """

    def __init__(self, service: Service, sock: socket.socket, peer: Peer, route: TcpRoute, received: bytes) -> None:
        self._service = service
        self._client = PlainStream(sock, service.limits.upstream_buffer_bytes)
        self._peer = peer
        self._route = route
        self._received = received
        self._scope = trio.CancelScope()
        self._deadline = 0.0
        self._cut = False
        self._taken = [len(received), 0]
        self.active_at = 0.0
        self.occupation = ("tcp", 1)
        service.connections.add(self)

    def announce_shutdown(self) -> None:
        """It ends by itself, or at the end of the graceful stop: what it carries is not known here."""

    def goodbye(self) -> None:
        """As `announce_shutdown`."""

    def close(self) -> None:
        """Cut it: the server stops."""
        self._cut = True
        self._scope.cancel()

    async def run(self) -> None:
        """Pass bytes on until both sides are done; the task's main function, which never raises."""
        service, route, config = self._service, self._route, self._route.config
        started = trio.current_time()
        self._deadline = started + config.total_seconds
        upstream: PlainStream | None = None
        name, why = "", "done"
        route.active += 1
        try:
            with self._scope:
                if route.active > config.connections:
                    raise ConnectFailed(f"{config.connections} connections are in use")
                upstream, name = await route.connect()
                self._touch()
                await upstream.send(self._greeting() + self._received)
                self._received = b""
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, self._client, upstream, 0, nursery.cancel_scope)
                    nursery.start_soon(self._pump, upstream, self._client, 1, nursery.cancel_scope)
            if self._scope.cancelled_caught:
                why = "idle" if trio.current_time() < self._deadline else "total_seconds are over"
                if self._cut:
                    why = "the server stops"
        except (ConnectFailed, OSError) as error:
            why = str(error)
            if upstream is None:
                service.fence.count("tcp upstream failed", self._peer.address, hosts=config.hosts[0], why=why)
        except Exception as error:
            service.fence.report(error, "passing a connection on")
            why = "internal error"
        finally:
            route.active -= 1
            self._client.close()
            if upstream is not None:
                upstream.close()
            service.connections.discard(self)
            service.addresses.release(self._peer.address, opening=False)
            service.fence.events.info(
                "tcp connection ended", peer=self._peer.address, upstream=name, why=why, up=self._taken[0],
                down=self._taken[1], seconds=round(trio.current_time() - started, 3),
            )  # fmt: skip

    def _touch(self) -> None:
        self._scope.deadline = min(self._deadline, trio.current_time() + self._route.config.idle_seconds)

    def _greeting(self) -> bytes:
        """The PROXY header that the server gets, if it wants one."""
        peer, kind = self._peer, self._route.config.send_proxy_protocol
        if kind == "off":
            return b""
        write = write_v1 if kind == "v1" else write_v2
        return write((peer.address, peer.port), (peer.local_address, peer.local_port))

    async def _pump(self, source: PlainStream, sink: PlainStream, direction: int, both: trio.CancelScope) -> None:
        """Pass on what comes from `source`, its end too; an error of either side ends both directions."""
        try:
            while data := await source.receive():
                self._touch()
                await sink.send(data)
                self._taken[direction] += len(data)
                self._touch()
            sink.end()
        except OSError:
            both.cancel()
