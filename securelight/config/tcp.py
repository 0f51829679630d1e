"""Reads `[[tcp]]` tables: names whose TLS connections are passed on as they are, to servers that end them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from securelight.config.check import normalise_host, parse_address
from securelight.config.faults import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securelight.config.faults import Faults, Where

Seconds = Annotated[float, msgspec.Meta(gt=0, le=2_592_000)]
_UNIX_PATH_CHARACTERS = 107


class TcpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[tcp]]`: connections for these names are not opened here; their bytes go to another server, both ways.

    The name is that of the ClientHello (SNI). No certificate is needed, as no TLS ends here.
    """

    hosts: list[str]
    """Exact names, `*.example.org`, or `*` for whatever no other name fits, clients that send no name among them."""
    upstreams: Annotated[list[str], msgspec.Meta(min_length=1, max_length=256)]
    """`name:port`, `192.0.2.1:993`, `[2001:db8::1]:993` or `unix:/run/imap.sock`; asked in turn."""
    send_proxy_protocol: Literal["off", "v1", "v2"] = "off"
    """Tell the server who the client is, by the PROXY protocol, before the first byte."""
    connect_seconds: Seconds = 5.0
    """To reach one of the servers."""
    idle_seconds: Seconds = 300.0
    """Without a byte either way; then the connection is cut."""
    total_seconds: Seconds = 86_400.0
    """For one connection in all."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1024
    """At a time, in each worker; more are refused."""


def read_tcp(tcp: TcpConfig, where: Where, taken: dict[str, Where], faults: Faults) -> TcpConfig:
    """`tcp` with its hosts in normal form; what is wrong with it is reported.

    Args:
        tcp: as converted.
        where: its place.
        taken: the hosts that others have; its own are put there.
        faults: where to report.
    """
    hosts = []
    if not tcp.hosts:
        faults.add(where.key("hosts"), 'is empty; name the hosts, or write hosts = ["*"] for all that no site has')
    for index, text in enumerate(tcp.hosts):
        place = where.key("hosts").item(index)
        try:
            host = normalise_host(text)
        except ValueError as error:
            faults.add(place, str(error))
            continue
        if host[0] == "[" or host.rpartition(".")[2].isdigit():
            faults.add(place, f"{quoted(text)} is an IP address, which no ClientHello names")
            continue
        other = taken.setdefault(host, place)
        if other is not place:
            faults.add(place, f"{quoted(host)} is already the host of {other}")
        hosts.append(host)
    for index, text in enumerate(tcp.upstreams):
        try:
            check_upstream(text)
        except ValueError as error:
            faults.add(where.key("upstreams").item(index), str(error))
    return msgspec.structs.replace(tcp, hosts=hosts)


def check_upstream(text: str) -> None:
    """Whether a server can be reached at `text`.

    Errors: ValueError, worded for the operator.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path) > _UNIX_PATH_CHARACTERS or not path.isprintable():
            raise ValueError(f"{quoted(text)} is not the path of a unix socket, such as unix:/run/imap.sock")
        return
    address = parse_address(text)
    if address.host == "*" or address.port == 0:
        raise ValueError(f"{quoted(text)} is nowhere to connect to; write a name and a port, such as 127.0.0.1:993")


def upstream_parts(text: str) -> tuple[str, int, str]:
    """(host, port, path of a unix socket) of an upstream that `check_upstream` has passed."""
    if text.startswith("unix:"):
        return "", 0, text.removeprefix("unix:")
    address = parse_address(text)
    return address.host, address.port, ""


def find_host(hosts: Mapping[str, TcpConfig], name: str) -> TcpConfig | None:
    """What is for `name`, as ClientHello gives it: itself, then the longest wildcard, then `*`."""
    found = hosts.get(name) if name else None
    suffix = name
    while found is None and suffix:
        _, dot, suffix = suffix.partition(".")
        if dot:
            found = hosts.get(f"*.{suffix}")
    return found or hosts.get("*")
