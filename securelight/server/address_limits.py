"""How many connections, and how many handshakes, one client address may have at a time in one worker.

Asked once per accepted connection, before any work is done for it; requests cost nothing. An IPv6 client is its /64,
which is what one subscriber is given; an IPv4 client is its address. Who connects by a unix socket is not counted,
and a trusted proxy (`trusted_proxies` of any site) has no limit: its clients are many, and which of them a connection
is for is known only once there is a request.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import TYPE_CHECKING

from securelight.model.request import UNIX

if TYPE_CHECKING:
    from securelight.model.forwarded import TrustedProxies
    from securelight.model.limits import Limits

TOO_MANY_CONNECTIONS = "too many connections from one address"
TOO_MANY_HANDSHAKES = "too many handshakes from one address"
_MAPPED = b"\0" * 10 + b"\xff\xff"
"""What an IPv4 address in IPv6 form begins with (RFC 4291, section 2.5.5.2)."""
_NETWORK_BYTES = 8


def counted_as(address: str) -> str | bytes:
    """What `address` is counted under: itself for IPv4, its /64 for IPv6, empty for who is not counted."""
    if ":" not in address:
        return address
    return "" if address == UNIX else _network_of(address)


@lru_cache(maxsize=1024)  # a connection asks three times
def _network_of(address: str) -> str | bytes:
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    if packed.startswith(_MAPPED):
        return socket.inet_ntoa(packed[len(_MAPPED) :])
    if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
        return packed  # link-local: all neighbours share one /64
    return packed[:_NETWORK_BYTES]


class AddressLimits:
    """The counts of one worker, over all of its listeners.

    Args:
        limits: connections_per_address and handshakes_per_address.
        trusted: the proxies, which are counted but never refused.
    """

    __slots__ = ("_connections", "_handshakes", "_most_connections", "_most_handshakes", "_trusted")

    def __init__(self, limits: Limits, trusted: TrustedProxies) -> None:
        self._most_connections = limits.connections_per_address
        self._most_handshakes = limits.handshakes_per_address
        self._trusted = trusted
        self._connections: dict[str | bytes, int] = {}
        self._handshakes: dict[str | bytes, int] = {}

    def admit(self, address: str) -> str:
        """Count a new connection, whose handshake begins; returns why it is refused and not counted, "" if it is not.

        Args:
            address: of the client, as the socket or a PROXY header gives it.
        """
        key = counted_as(address)
        if not key:
            return ""
        connections, handshakes = self._connections.get(key, 0), self._handshakes.get(key, 0)
        if (connections >= self._most_connections or handshakes >= self._most_handshakes) and not (
            self._trusted and self._trusted.trusts(address)
        ):
            return TOO_MANY_CONNECTIONS if connections >= self._most_connections else TOO_MANY_HANDSHAKES
        self._connections[key] = connections + 1
        self._handshakes[key] = handshakes + 1
        return ""

    def opened(self, address: str) -> None:
        """The handshake of an admitted connection is over."""
        _less(self._handshakes, counted_as(address))

    def release(self, address: str, *, opening: bool) -> None:
        """An admitted connection has ended, perhaps while it was still `opening`."""
        key = counted_as(address)
        _less(self._connections, key)
        if opening:
            _less(self._handshakes, key)

    def __len__(self) -> int:
        """How many addresses are counted at the moment."""
        return len(self._connections)


def _less(counts: dict[str | bytes, int], key: str | bytes) -> None:
    if not key:
        return
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
