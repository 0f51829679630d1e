"""One server behind us: its address, connections, weight and health, put together."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import trio

from securelight.upstream.address import Resolver
from securelight.upstream.faults import ConnectFailed
from securelight.upstream.health import Health, HealthRules
from securelight.upstream.http1_connection import Http1Connection
from securelight.upstream.http2_connection import Http2Connections, Http2Exchange
from securelight.upstream.pool import Pool
from securelight.upstream.stream import TlsStream, connect

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from securelight.model.limits import Limits
    from securelight.upstream.address import Address
    from securelight.upstream.exchange import UpstreamExchange
    from securelight.upstream.health import CheckRules
    from securelight.upstream.stream import ByteStream

CHECK_BODY_BYTES = 1 << 20
"""As much of the answer to a check is read; a page that is longer is no page for checks."""


@dataclass(frozen=True, slots=True)
class ConnectionRules:
    """How connections are made and kept.

    Attributes:
        connect_seconds: for the lookup of the name, the connection and the TLS handshake together.
        maximum, idle_maximum, idle_seconds, queue, queue_seconds: see Pool.
        resolve_seconds: how long a lookup of a name counts.
        tls: the context for `https`; None for all others.
        tls_name: the name to verify and to ask for; by default that of the address.
        greeting: what a connection of nobody in particular begins with (PROXY protocol); then each serves one request.
    """

    connect_seconds: float = 5.0
    maximum: int = 128
    idle_maximum: int = 32
    idle_seconds: float = 30.0
    queue: int = 256
    queue_seconds: float = 5.0
    resolve_seconds: float = 30.0
    tls: ssl.SSLContext | None = None
    tls_name: str = ""
    greeting: bytes = b""


class Endpoint:
    """One server.

    Args:
        address: where it is.
        weight: its share among others.
        rules: of its connections.
        health: of its health.
        limits: the server's bounds.
        report: is told ("down" or "up", why) when its health changes.

    Attributes:
        health: whether it is asked.
    """

    def __init__(
        self,
        address: Address,
        weight: int,
        rules: ConnectionRules,
        health: HealthRules,
        limits: Limits,
        report: Callable[[str, str], None],
    ) -> None:
        self.address = address
        self.health = Health(health, report)
        self.name = address.url
        self._plain = address.scheme == "http" and not rules.greeting
        self._weight = weight
        self._rules = rules
        self._limits = limits
        self._resolver = Resolver(address, rules.resolve_seconds)
        self._http2: Http2Connections | None = None
        if address.scheme in ("h2", "h2c"):
            scheme = "https" if address.scheme == "h2" else "http"
            self._http2 = Http2Connections(self.open_stream, scheme, limits, rules.idle_seconds)
        self._pool: Pool[Http1Connection | Http2Exchange] = Pool(
            self._connect if self._http2 is None else self._http2.exchange,
            maximum=rules.maximum,
            idle_maximum=rules.idle_maximum,
            idle_seconds=rules.idle_seconds,
            queue=rules.queue,
            queue_seconds=rules.queue_seconds,
        )

    @property
    def load(self) -> int:
        """Requests under way, or waiting for a connection."""
        return self._pool.active + self._pool.waiting

    def share(self) -> float:
        """Its weight, less while it starts slowly."""
        return self._weight * self.health.share(monotonic())

    def take(self) -> UpstreamExchange | None:
        """As `acquire`, but only a connection that is there and was used before; None if there is none."""
        return self._pool.take()

    async def acquire(self, *, fresh: bool = False, greeting: bytes = b"") -> tuple[UpstreamExchange, bool]:
        """A way to ask it, and whether its connection was used before; give it back with `release`.

        Args:
            fresh: only a new connection will do.
            greeting: what that begins with, in the place of the one of the rules.

        Errors: ConnectFailed, PoolFull.
        """
        if not greeting:
            return await self._pool.acquire(fresh=fresh)

        async def connect() -> Http1Connection:
            return Http1Connection(await self.open_stream(greeting), self._limits)

        return await self._pool.acquire(fresh=True, connect=connect)

    def release(self, exchange: UpstreamExchange) -> None:
        """Nobody uses `exchange` any more. What is not whole is broken off."""
        assert isinstance(exchange, Http1Connection | Http2Exchange)
        self._pool.release(exchange, reusable=exchange.reusable and not self._rules.greeting)

    def take_plain(self) -> Http1Connection | None:
        """As `take`, but only of those without TLS that serve one request after the other."""
        exchange = self._pool.take() if self._plain else None
        return exchange if type(exchange) is Http1Connection else None

    def discard(self, exchange: Http1Connection) -> None:
        """As `release`, and `exchange` is broken off in any case."""
        self._pool.release(exchange, reusable=False)

    async def _connect(self) -> Http1Connection:
        return Http1Connection(await self.open_stream(), self._limits)

    async def open_stream(self, greeting: bytes = b"") -> ByteStream:
        """A new connection, verified where it is one over TLS.

        Args:
            greeting: as for `acquire`.

        Errors: ConnectFailed.
        """
        rules = self._rules
        with trio.move_on_after(rules.connect_seconds):
            plain = await connect(
                await self._resolver.addresses(), rules.connect_seconds, self._limits.upstream_buffer_bytes
            )
            secured = False
            try:
                if greeting or rules.greeting:
                    await plain.send(greeting or rules.greeting)
                if rules.tls is None or self.address.scheme not in ("https", "h2"):
                    secured = True
                    return plain
                name = rules.tls_name or self.address.host
                stream = TlsStream(plain, rules.tls, name, self._limits.upstream_buffer_bytes)
                protocol = await stream.handshake()
                if self.address.scheme == "h2" and protocol != "h2":
                    raise ConnectFailed("it does not speak HTTP/2")
                secured = True
                return stream
            except OSError as error:
                raise ConnectFailed(str(error)) from error
            finally:
                if not secured:
                    plain.close()
        raise ConnectFailed(f"no connection within {rules.connect_seconds:g} s", late=True)

    async def try_connection(self) -> None:
        """See whether it takes one.

        Errors: ConnectFailed.
        """
        (await self.open_stream()).close()

    async def status_of(self, checks: CheckRules) -> int:
        """The status of its answer to a check, which is read so far as a page for checks may be long.

        Errors: UpstreamFault.
        """
        exchange, _reused = await self.acquire(fresh=True)
        try:
            host = (checks.host or self.address.authority).encode("ascii")
            fields = ((b"host", host), (b"user-agent", b"securelight"), (b"accept", b"*/*"))
            await exchange.send_head("GET", checks.path.encode("ascii"), fields, length=None, has_body=False)
            head = await exchange.receive_head()
            while head.status < 200:
                head = await exchange.receive_head()
            size = len(exchange.take())
            while size < CHECK_BODY_BYTES and (data := await exchange.receive()):
                size += len(data)
            return head.status
        finally:
            self.release(exchange)

    def sweep(self) -> None:
        """Close connections that nobody needs."""
        self._pool.sweep()
        if self._http2 is not None:
            self._http2.sweep()

    def close(self) -> None:
        """Keep no connection from now on."""
        self._pool.close()
        if self._http2 is not None:
            self._http2.close()

    def read_in(self, nursery: trio.Nursery | None) -> None:
        """Where connections that several requests share are read from now on; None for nowhere."""
        if self._http2 is not None:
            self._http2.nursery = nursery
