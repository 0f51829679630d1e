"""What the connections of one listener share. Made once; connections change only counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from securelight.model.limits import Limits
from securelight.pipeline.compile import CompiledSites
from securelight.protocol.engine import Engines
from securelight.server.access_log import AccessLog
from securelight.server.address_limits import AddressLimits
from securelight.server.deadlines import Wheel
from securelight.server.fence import Fence
from securelight.server.reactor import Reactor
from securelight.server.stream_runners import StreamRunners
from securelight.tls.identity import IdentityTable

if TYPE_CHECKING:
    from securelight.model.forwarded import TrustedProxies
    from securelight.server.connection import Connection
    from securelight.server.tcp_tunnel import TcpRoutes, TcpTunnel


@dataclass(slots=True)
class Service:
    """One listener's shared things.

    Attributes:
        limits: the bounds in force.
        sites: what HTTPS requests are answered from.
        plain_sites: what requests over plain HTTP get: redirects to https.
        engines: the protocol adapters.
        identities: TLS contexts by name; None on a plain HTTP port.
        access_log, fence, reactor, wheel, nursery, runners, threads: see their modules.
        addresses: what each client address has open, over all listeners of the worker.
        connections: those that are open.
    """

    limits: Limits
    sites: CompiledSites
    plain_sites: CompiledSites
    engines: Engines
    identities: IdentityTable | None
    access_log: AccessLog
    fence: Fence
    reactor: Reactor
    wheel: Wheel
    nursery: trio.Nursery
    runners: StreamRunners
    threads: trio.CapacityLimiter
    addresses: AddressLimits
    connections: set[Connection | TcpTunnel] = field(default_factory=set)
    proxied_from: TrustedProxies | None = None
    """Whose connections begin with a PROXY header; None for nobody's."""
    tcp: TcpRoutes | None = None
    """The names whose connections are passed on unopened; None for none."""
    draining: bool = False
    """No new connections; each connection ends with its open requests."""
