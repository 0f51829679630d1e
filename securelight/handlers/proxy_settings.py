"""The tables below `proxy` in the configuration; the table itself is in handlers/proxy."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class ProxyTimeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`proxy.timeouts`: how long a server behind us may take. 504, or a broken answer if one has begun."""

    connect_seconds: Seconds = 5.0
    """To look its name up, connect, and shake hands where it speaks TLS."""
    first_byte_seconds: Seconds = 60.0
    """From the end of the request to the head of the answer."""
    idle_seconds: Seconds = 60.0
    """Between two pieces of an answer, and until it takes more of a request body."""
    total_seconds: Seconds = 3600.0
    """For one request in all."""


class ProxyConnections(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`proxy.connections`: to each server, from each worker."""

    maximum: Count = 128
    """In all. What comes on top waits."""
    idle: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 32
    """Kept open for the next requests."""
    idle_seconds: Seconds = 30.0
    """For so long; shorter than the servers themselves keep them is best."""
    queue: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 256
    """Requests that may wait for a connection; 503 for more."""
    queue_seconds: Seconds = 5.0
    """For so long; then 503."""
    resolve_seconds: Seconds = 30.0
    """How long a lookup of a name counts at the most; shorter where DNS says so (extra: dns)."""


class ProxyHealth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`proxy.health`: when a server is not asked for a while."""

    failures: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 3
    """Failed requests within failure_seconds after which it rests; 0 for never. A single server never rests."""
    failure_seconds: Seconds = 10.0
    """The window in which failures count, and the length of the rest."""
    failure_statuses: tuple[Annotated[int, msgspec.Meta(ge=400, le=599)], ...] = ()
    """Answers that count as failures; broken and late ones always do."""
    slow_start_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    """After a rest, the time until it gets its whole share again."""
    path: str = ""
    """What is asked for, again and again, to see whether it is well; empty for no such checks."""
    connect: bool = False
    """Without a path: see, again and again, whether it takes a connection."""
    host: str = ""
    """The Host field of checks; that of the server's address by default."""
    statuses: tuple[Annotated[int, msgspec.Meta(ge=200, le=599)], Annotated[int, msgspec.Meta(ge=200, le=599)]] = (
        200,
        399,
    )
    """The first and the last status of a good answer."""
    seconds: Seconds = 10.0
    """Between two checks."""
    timeout_seconds: Seconds = 5.0
    """For one check."""
    ups: Count = 2
    """Good checks in a row that bring a server back."""
    downs: Count = 3
    """Bad checks in a row that take it out."""


class ProxyTls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`proxy.tls`: for https:// and h2:// upstreams. Relative paths start from the file that this stands in."""

    ca: str = ""
    """PEM of the authorities to trust instead of the system's."""
    certificate: str = ""
    """Our own, PEM, for servers that ask for one."""
    key: str = ""
    """Of that certificate; by default it is in the same file."""
    name: str = ""
    """The name that the server's certificate must have; by default that of its address."""
    verify: bool = True
    """False accepts any certificate: then nobody knows who answers."""


class ProxyFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`proxy.fields`: of the request, as the server behind us gets it."""

    set: dict[str, str] = {}
    """Instead of what the client sent. `{client_address}`, `{host}`, `{scheme}`, `{user}` and `{tls_version}` stand for
    what they say."""
    add: dict[str, str] = {}
    """Beside what the client sent."""
    remove: tuple[str, ...] = ()
    """Not passed on."""
