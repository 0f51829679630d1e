"""The PROXY header that begins a connection to a server behind us, where it wants one.

Such a connection is one client's: it serves one request, since the next could be somebody else's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from securelight.protocol.proxy_protocol import ProxiedTls, write_v1, write_v2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.forwarded import ForwardingFields
    from securelight.model.request import Facts, Request

Kind = Literal["off", "v1", "v2"]
_NOBODY = ("", 0)


def greeting_faults(kind: Kind, upstreams: Sequence[str]) -> list[str]:
    """What is wrong with `send_proxy_protocol`."""
    if kind == "off":
        return []
    return [
        f"send_proxy_protocol: {url!r} speaks HTTP/2, where the requests of many clients share a connection"
        for url in upstreams
        if url.startswith(("h2:", "h2c:", "h2c+"))
    ]


def own_greeting(kind: Kind) -> bytes:
    """For connections of our own, such as checks; empty for none."""
    if kind == "off":
        return b""
    return (write_v1 if kind == "v1" else write_v2)(_NOBODY, _NOBODY)


def greeting_of(kind: Kind, forwarding: ForwardingFields, request: Request, facts: Facts) -> bytes:
    """For the client of `request`; with version 2, what its TLS connection is like, too."""
    peer = request.peer
    address = forwarding.client_address(request, facts)
    source = (address, peer.port if address == peer.address else 0)
    destination = (peer.local_address, peer.local_port)
    if kind == "v1":
        return write_v1(source, destination)
    tls = peer.tls
    told = None
    if request.scheme == "https":
        certificate = tls.client_certificate
        told = (
            ProxiedTls(tls.version, tls.cipher, facts.user or "", verified=True)
            if certificate
            else ProxiedTls(tls.version, tls.cipher)
        )
    return write_v2(source, destination, alpn=tls.alpn.encode("ascii"), authority=tls.server_name, tls=told)
