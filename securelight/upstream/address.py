"""Where a server behind us is: the URL of the configuration, taken apart, and the addresses of its name.

Names are looked up when a connection is made, not at the start: a name that isn't known yet stops nothing. A lookup
counts for as long as DNS says, and no longer than is configured; when the next one fails, the last good answer stays in
use.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address

import trio

from securelight.upstream import name_lifetime
from securelight.upstream.faults import ConnectFailed

_SCHEMES = {"http": 80, "https": 443, "h2c": 80, "h2": 443}
"""`h2c` is HTTP/2 without TLS, `h2` HTTP/2 over TLS; `http` and `https` are HTTP/1.1."""
_URL = re.compile(
    r"(?P<scheme>https?|h2c?)://(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?)"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
_UNIX = re.compile(r"(?:(?P<scheme>http|h2c)\+)?unix:(?P<path>/[^\x00-\x1f]{1,106})")
_MAXIMUM_PORT = 65_535
RETRY_LOOKUP_SECONDS = 1.0
"""After a lookup that failed."""
LEAST_LOOKUP_SECONDS = 1.0
"""A lookup counts at least so long: some answers come with a lifetime of 0."""

Lifetime = Callable[[str], Awaitable[float | None]]
SocketAddress = tuple[socket.AddressFamily, str | tuple[str, int]]
"""What a socket is made with and connected to."""


@dataclass(frozen=True, slots=True)
class Address:
    """One server.

    Attributes:
        url: as it was written; names the server in logs.
        scheme: `http`, `https`, `h2c` or `h2`.
        host: a name, or an IP address without brackets; empty for a unix socket.
        port: 0 for a unix socket.
        path: of the unix socket; empty without one.
    """

    url: str
    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def authority(self) -> str:
        """What stands in a Host field that names this server."""
        if self.path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _SCHEMES[self.scheme] else f"{host}:{self.port}"


def parse_address(url: str) -> Address:
    """The address that a URL such as `http://127.0.0.1:9000` or `unix:/run/app.sock` stands for.

    Errors: ValueError, with what would cure it.
    """
    match = _UNIX.fullmatch(url)
    if match is not None:
        return Address(url, match["scheme"] or "http", path=match["path"])
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(
            f'{url!r} is not the address of a server; write "http://127.0.0.1:9000", "https://name", '
            f'"h2c://name:port", "h2://name" or "unix:/path/of/socket", without a path, user or query'
        )
    port = int(match["port"]) if match["port"] else _SCHEMES[match["scheme"]]
    if not 0 < port <= _MAXIMUM_PORT:
        raise ValueError(f"{url!r}: there is no port {port}")
    host = match["host"].lower()
    if host[0] == "[":
        host = host[1:-1]
        ip_address(host)
    return Address(url, match["scheme"], host, port)


class Resolver:
    """The addresses of one server.

    Args:
        address: of the server.
        resolve_seconds: how long a lookup counts at the most.
        lifetime: gives how long the answer to a name counts by DNS, or None.
    """

    __slots__ = ("_address", "_known", "_lifetime", "_next", "_resolve_seconds", "_until")

    def __init__(
        self, address: Address, resolve_seconds: float, lifetime: Lifetime = name_lifetime.lifetime_seconds
    ) -> None:
        self._address = address
        self._resolve_seconds = resolve_seconds
        self._lifetime = lifetime
        self._known: list[SocketAddress] = []
        self._until = 0.0
        self._next = 0
        if address.path:
            self._known = [(socket.AF_UNIX, address.path)]
            self._until = float("inf")
        elif _is_literal(address.host):
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            self._known = [(family, (address.host, address.port))]
            self._until = float("inf")
        else:
            name_lifetime.load()

    async def addresses(self) -> list[SocketAddress]:
        """All of them; the first one is another each time.

        Errors: ConnectFailed if the name was never found.
        """
        if trio.current_time() >= self._until:
            await self._look_up()
        known = self._known
        if len(known) == 1:
            return known
        self._next = (self._next + 1) % len(known)
        return known[self._next :] + known[: self._next]

    async def _look_up(self) -> None:
        address = self._address
        if self._known:  # others go on with these meanwhile
            self._until = trio.current_time() + self._resolve_seconds
        try:
            found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            if not self._known:
                raise ConnectFailed(f"the name {address.host!r} is not found: {error}") from error
            self._until = trio.current_time() + RETRY_LOOKUP_SECONDS
            return
        lifetime = await self._lifetime(address.host)
        self._known = [
            (family, (str(to[0]), int(to[1])))
            for family, _kind, _protocol, _name, to in found
            if family in (socket.AF_INET, socket.AF_INET6)
        ] or self._known
        if not self._known:
            raise ConnectFailed(f"the name {address.host!r} has no address")
        seconds = self._resolve_seconds
        if lifetime is not None:
            seconds = min(seconds, max(lifetime, LEAST_LOOKUP_SECONDS))
        self._until = trio.current_time() + seconds


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
