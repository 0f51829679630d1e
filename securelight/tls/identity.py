"""Whose certificate a client is shown, chosen from the ClientHello before the handshake begins.

The order is that of the sites themselves: an exact name, then the longest `*.suffix`, then `*`, then the first site.
What to do with a name that nobody has (serve the default, or refuse with unrecognized_name) is the caller's choice;
`knows` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securelight.model.errors import CertificateError, ConfigError
from securelight.tls.context import ALPN, server_context
from securelight.tls.key_pair import PairFiles, load_into
from securelight.tls.policy import POLICIES

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from securelight.tls.client_hello import ClientHello
    from securelight.tls.client_trust import ClientTrust

_OFFERED = frozenset(name.encode("ascii") for name in ALPN)


@dataclass(frozen=True, slots=True)
class TlsSite:
    """What TLS has to know of a site.

    Args:
        hosts: exact names, IP addresses, `*.suffix` (one or more labels) or `*`.
        policy: a name in tls.policy.POLICIES.
        certificates: files of (chain, key), one pair for each key type.
        where: file and key path, for messages.
        clients: which certificates it asks its clients for; None for a site that asks for none.
    """

    hosts: tuple[str, ...]
    policy: str
    certificates: tuple[PairFiles, ...]
    where: str
    clients: ClientTrust | None = None


class IdentityTable:
    """The contexts of all sites, by name. Made by `build_identities`.

    Args:
        contexts: by host pattern.
        default: for clients without SNI, and for unknown names unless there is a `*`.
        users: the contexts that each pair of files was loaded into.
        asking: the contexts that ask for client certificates, with the site (TlsSite.where) whose rules they follow.
    """

    __slots__ = ("_asking", "_default", "_exact", "_suffixes", "_users", "default_is_chosen")

    def __init__(
        self,
        contexts: Mapping[str, ssl.SSLContext],
        default: ssl.SSLContext,
        users: Mapping[PairFiles, tuple[ssl.SSLContext, ...]],
        asking: Mapping[ssl.SSLContext, str],
    ) -> None:
        self._exact: dict[str, ssl.SSLContext] = {}
        self._suffixes: dict[str, ssl.SSLContext] = {}
        for host, context in contexts.items():
            if host.startswith("*."):
                self._suffixes[host[2:]] = context
            else:
                self._exact[host] = context
        self.default_is_chosen = "*" in self._exact
        """True if some site asked for whatever name no other site has."""
        self._default = self._exact.pop("*", default)
        self._users = dict(users)
        self._asking = dict(asking)

    def select(self, server_name: str) -> ssl.SSLContext:
        """The context for an SNI name as ClientHello gives it (lower case, no trailing dot, "" if there was none)."""
        return self._find(server_name) or self._default

    def asked_by(self, context: ssl.SSLContext) -> str:
        """The site (TlsSite.where) by whose rules `context` asks for client certificates; "" if it asks for none."""
        return self._asking.get(context, "")

    def knows(self, server_name: str) -> bool:
        """Whether a site has this name, by itself or by a wildcard. True as well when no name was sent."""
        return not server_name or self.default_is_chosen or self._find(server_name) is not None

    def _find(self, server_name: str) -> ssl.SSLContext | None:
        context = self._exact.get(server_name)
        suffix = server_name
        while context is None and self._suffixes:
            _, dot, suffix = suffix.partition(".")
            if not dot:
                break
            context = self._suffixes.get(suffix)
        return context

    @property
    def pairs(self) -> tuple[PairFiles, ...]:
        """The files of every pair in use, each once, in the order of the sites."""
        return tuple(self._users)

    def replace(self, files: PairFiles, chain_pem: bytes, key_pem: bytes) -> None:
        """Put a new chain and key, proved by tls.reload, in the place of those that `files` held.

        Later handshakes use them; sessions and tickets go on. Nothing happens if no site uses `files`.
        """
        for context in self._users.get(files, ()):
            load_into(context, chain_pem, key_pem)


def build_identities(sites: Sequence[TlsSite], *, forgiving: bool = False) -> IdentityTable:
    """Read all certificates and make one context for each distinct set of certificates and policy.

    A site that asks for client certificates has a context of its own, so that no session of another site is worth
    anything there (CVE-2025-23419).

    Args:
        sites: all of them; the first is the default.
        forgiving: see client_trust.ask_for_certificates.

    Errors: ConfigError for no site, a policy that does not exist, or a name that two sites have; CertificateError for
    a pair that cannot be served, naming its file.
    """
    if not sites:
        raise ConfigError("tls", "there is no site to serve")
    made: dict[tuple[str, tuple[PairFiles, ...], ClientTrust | None], ssl.SSLContext] = {}
    asking: dict[ssl.SSLContext, str] = {}
    by_host: dict[str, tuple[ssl.SSLContext, str]] = {}
    users: dict[PairFiles, list[ssl.SSLContext]] = {}
    for site in sites:
        policy = POLICIES.get(site.policy)
        if policy is None:
            raise ConfigError(site.where, f"there is no TLS policy {site.policy!r}; there are {', '.join(POLICIES)}")
        if not site.certificates:
            raise CertificateError(site.where, "has no certificate")
        identity = (site.policy, site.certificates, site.clients)
        context = made.get(identity)
        if context is None:
            context = made[identity] = server_context(
                policy, site.certificates, clients=site.clients, forgiving=forgiving
            )
            if site.clients is not None:
                asking[context] = site.clients.where
            for files in site.certificates:
                users.setdefault(files, []).append(context)
        for host in site.hosts:
            name = host.lower().removesuffix(".")
            _, other = by_host.setdefault(name, (context, site.where))
            if other != site.where:
                raise ConfigError(site.where, f"the name {host} belongs to {other} already")
    default = made[sites[0].policy, sites[0].certificates, sites[0].clients]
    return IdentityTable(
        {host: context for host, (context, _) in by_host.items()},
        default,
        {files: tuple(contexts) for files, contexts in users.items()},
        asking,
    )


def alpn_fits(hello: ClientHello) -> bool:
    """Whether client and server share a protocol (RFC 7301, section 3.2).

    A client without ALPN gets HTTP/1.1. One that offers only protocols that we do not speak must be refused with
    no_application_protocol, or bytes meant for its own protocol reach us as HTTP (ALPACA); OpenSSL under Python would
    go on without ALPN, so the refusal is ours.
    """
    return not hello.alpn or not _OFFERED.isdisjoint(hello.alpn)
