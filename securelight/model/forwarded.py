"""Who the client is when there are proxies in front of us, and how the next server is told.

Source: RFC 7239 (Forwarded), and the X-Forwarded-* fields that came before it and that everybody reads. What a client
says of itself counts for nothing: only a peer in the list of trusted proxies is believed, and of the addresses that it
hands on, those up to and including the first that isn't trusted, read from the right. What stands left of that one
could have been written by anybody, and is not passed on, so that servers that read from the left get the truth too.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Literal

from securelight.model.request import UNIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.headers import Field
    from securelight.model.request import Facts, Request

MAXIMUM_HOPS = 32
"""Addresses of one X-Forwarded-For that are looked at; no chain of proxies is as long."""

FORWARDING_FIELDS = frozenset(
    b"forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-forwarded-server "
    b"x-forwarded-scheme x-forwarded-ssl x-forwarded-prefix x-real-ip x-client-ip x-cluster-client-ip "
    b"true-client-ip".split()
)
"""What applications believe about the client. From a peer that isn't trusted none of them passes, in no spelling."""

Network = IPv4Network | IPv6Network | Literal["unix:"]
"""`unix:` is whoever comes by a unix socket."""


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks of a list such as `["10.0.0.0/8", "::1"]`.

    Errors: ValueError with the text that is none.
    """
    networks: list[Network] = []
    for text in texts:
        if text == UNIX:
            networks.append(UNIX)
            continue
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise ValueError(f"{text!r} is not an address or network such as 10.0.0.0/8: {error}") from error
    return tuple(networks)


class TrustedProxies:
    """The peers that are believed.

    Args:
        networks: of their addresses.
    """

    __slots__ = ("_networks", "trusts")

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self.trusts = lru_cache(maxsize=1024)(self._trusts)
        """Whether the address in a text is one of them; a text that is no address is none."""

    def __bool__(self) -> bool:
        return bool(self._networks)

    def _trusts(self, text: str) -> bool:
        if text == UNIX:
            return UNIX in self._networks
        try:
            address = ip_address(text)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is not None:
            address = mapped
        return any(address in network for network in self._networks if not isinstance(network, str))

    def chain(self, request: Request) -> list[str]:
        """The addresses from the client to the peer of `request`, as far as they can be believed; at least the peer."""
        chain = [request.peer.address]
        if not self._networks or not self.trusts(chain[0]):
            return chain
        hops = _hops(request)
        for hop in reversed(hops[-MAXIMUM_HOPS:]):
            chain.insert(0, hop)
            if not self.trusts(hop):
                break
        return chain


def _hops(request: Request) -> list[str]:
    """The addresses of X-Forwarded-For, of Forwarded if there is none; up to the last one that is no address."""
    line = request.headers.get(b"x-forwarded-for")
    if line is not None:
        texts = line.decode("latin-1").split(",")
    else:
        texts = [
            _for_of(element) for element in (request.headers.get(b"forwarded") or b"").decode("latin-1").split(",")
        ]
    hops: list[str] = []
    for text in reversed(texts[-MAXIMUM_HOPS:]):
        hop = _bare_address(text.strip())
        if not hop:
            break
        hops.insert(0, hop)
    return hops


def _for_of(element: str) -> str:
    for pair in element.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "for":
            return value.strip('"')
    return ""


def _bare_address(text: str) -> str:
    """The IP address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; "" for anything else."""
    if "%" in text:  # a zone may hold anything, quotes too, and means nothing on another machine
        return ""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def is_forwarding(name: bytes) -> bool:
    """Whether the field `name` (lower case) says something of the client; `x_forwarded_for` does it behind CGI."""
    return name in FORWARDING_FIELDS or (b"_" in name and name.replace(b"_", b"-") in FORWARDING_FIELDS)


class ForwardingFields:
    """Makes the fields that tell the next server who asks.

    Args:
        trusted: whose fields are believed.
        style: `x` for X-Forwarded-*, `rfc7239` for Forwarded, `both`, `off`.
    """

    __slots__ = ("_rfc7239", "_trusted", "_x")

    def __init__(self, trusted: TrustedProxies, style: str) -> None:
        self._trusted = trusted
        self._x = style in ("x", "both")
        self._rfc7239 = style in ("rfc7239", "both")

    def client_address(self, request: Request, facts: Facts) -> str:
        """The client's address: what a stage has found out, else what trusted proxies say, else the peer's."""
        if not self._trusted or facts.client_address != request.peer.address:
            return facts.client_address
        return self._trusted.chain(request)[0]

    def add_to(self, fields: list[Field], request: Request) -> None:
        """Append them to `fields`, which have none of FORWARDING_FIELDS yet."""
        peer = request.peer.address
        scheme = request.scheme.encode("ascii")
        host = request.authority.encode("ascii")
        if not self._trusted or not self._trusted.trusts(peer):
            chain = [peer]
        else:
            chain = self._trusted.chain(request)
            told = (request.headers.get(b"x-forwarded-proto") or b"").lower()
            scheme = told if told in (b"http", b"https") else scheme
            told = request.headers.get(b"x-forwarded-host") or b""
            host = told if told and told.isascii() and not set(told) & set(b' ,;"\\') else host
        if self._x:
            addresses = [address for address in chain if address != UNIX]
            if addresses:
                fields.append((b"x-forwarded-for", ", ".join(addresses).encode("ascii")))
            fields.append((b"x-forwarded-proto", scheme))
            if host:
                fields.append((b"x-forwarded-host", host))
        if self._rfc7239:
            elements = [b"for=" + _node(address) for address in chain]
            elements[-1] += b";proto=" + scheme + (b';host="' + host + b'"' if host else b"")
            fields.append((b"forwarded", b", ".join(elements)))


def _node(address: str) -> bytes:
    """RFC 7239, section 6."""
    if address == UNIX:
        return b"unknown"
    return b'"[' + address.encode("ascii") + b']"' if ":" in address else address.encode("ascii")
