"""Whom attacks may be tried on: this machine, and hosts whose owner says so by name. Asked before the first byte.

A name may mean something else a moment later, so the addresses that were looked at are the only ones that an attack on
loopback then connects to. Attackers come from another address of 127.0.0.0/8 than the polite clients beside them:
a server that counts by address is right to refuse one and to serve the others.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from securelight.conformance.dial import Connect, connect_only_to, connect_tcp
from securelight.conformance.target import TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.conformance.target import Target

ATTACKER = "127.66.0.1"


class AttackRefused(TargetError):
    """An attack was asked for on a host that is neither this machine nor said to be one's own."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What was found out.

    Attributes:
        granted: attacks may be tried.
        addresses: of the host, all of them loopback; empty for a host that is somebody's own.
    """

    granted: bool
    addresses: tuple[str, ...] = ()

    def connects(self, given: Connect) -> tuple[Connect, Connect]:
        """How an attacker and a polite client connect; `given` if that is the caller's own way."""
        if given is not connect_tcp or not self.addresses:
            return given, given
        return connect_only_to(self.addresses, ATTACKER), connect_only_to(self.addresses)


def refusal(host: str) -> str:
    """The words for it."""
    return f"attacks are tried on loopback only; if {host} is yours, add --i-own-this-host {host}"


async def permission(target: Target, owned_hosts: Sequence[str] | frozenset[str]) -> Permission:
    """Whether attacks may be tried on the target: each address of its name is loopback, or the host is one's own.

    Nothing is sent to it. A name without an address gets no permission; that it cannot be reached is said elsewhere.
    """
    if target.host in {host.lower() for host in owned_hosts}:
        return Permission(granted=True)
    try:
        found = await trio.socket.getaddrinfo(target.host, None)
    except OSError:
        return Permission(granted=False)
    addresses = tuple(dict.fromkeys(str(address[4][0]) for address in found))
    return Permission(bool(addresses) and all(ipaddress.ip_address(one).is_loopback for one in addresses), addresses)


def refuse_strangers(targets: Sequence[Target], owned_hosts: frozenset[str]) -> None:
    """For attacks that were asked for by name.

    Errors: AttackRefused for the first target that they may not be tried on.
    """
    for target in targets:
        if not trio.run(permission, target, owned_hosts).granted:
            raise AttackRefused(refusal(target.host))
