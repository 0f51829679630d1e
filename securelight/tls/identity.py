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

CONTEXTS_OF_NAMES = 500
"""So many names have a context of their own (about 21 kB and a few milliseconds each); those after them share one for
each set of certificates and policy.
"""
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


class _Contexts:
    """Makes contexts as they are wanted, each once."""

    def __init__(self, *, forgiving: bool) -> None:
        self.users: dict[PairFiles, list[ssl.SSLContext]] = {}
        self.asking: dict[ssl.SSLContext, str] = {}
        self._forgiving = forgiving
        self._made: dict[tuple[str, tuple[PairFiles, ...], ClientTrust | None, str], ssl.SSLContext] = {}
        self._names = 0

    def of(self, site: TlsSite, name: str = "") -> ssl.SSLContext:
        """For one of the site's exact names, or for everybody else who is shown its certificates."""
        key = (site.policy, site.certificates, site.clients, name)
        if name and key not in self._made:
            if self._names >= CONTEXTS_OF_NAMES:
                return self.of(site)
            self._names += 1
        if key not in self._made:
            self._made[key] = self._make(site)
        return self._made[key]

    def _make(self, site: TlsSite) -> ssl.SSLContext:
        policy = POLICIES.get(site.policy)
        if policy is None:
            raise ConfigError(site.where, f"there is no TLS policy {site.policy!r}; there are {', '.join(POLICIES)}")
        if not site.certificates:
            raise CertificateError(site.where, "has no certificate")
        context = server_context(policy, site.certificates, clients=site.clients, forgiving=self._forgiving)
        if site.clients is not None:
            self.asking[context] = site.clients.where
        for files in site.certificates:
            self.users.setdefault(files, []).append(context)
        return context


def build_identities(sites: Sequence[TlsSite], *, forgiving: bool = False) -> IdentityTable:
    """Read all certificates and make the contexts: one for each exact name, and one for each distinct set of
    certificates, policy and client authority, which serves wildcards and names that nobody has.

    OpenSSL ties sessions to a context. So what was agreed on for one name is worth nothing for another one: RFC 6066,
    section 3 forbids to resume it (TLS 1.2), and with client certificates it was a way past them (CVE-2025-23419).

    Args:
        sites: all of them; the first is the default.
        forgiving: see client_trust.ask_for_certificates.

    Errors: ConfigError for no site, a policy that does not exist, or a name that two sites have; CertificateError for
    a pair that cannot be served, naming its file.
    """
    if not sites:
        raise ConfigError("tls", "there is no site to serve")
    contexts = _Contexts(forgiving=forgiving)
    by_host: dict[str, tuple[ssl.SSLContext, str]] = {}
    for site in sites:
        for host in site.hosts:
            name = host.lower().removesuffix(".")
            if name in by_host and by_host[name][1] != site.where:
                raise ConfigError(site.where, f"the name {host} belongs to {by_host[name][1]} already")
            by_host[name] = (contexts.of(site, name if _is_exact(name) else ""), site.where)
        if not site.hosts:
            contexts.of(site)
    default = by_host["*"][0] if "*" in by_host else contexts.of(sites[0])
    return IdentityTable(
        {host: context for host, (context, _) in by_host.items()},
        default,
        {files: tuple(users) for files, users in contexts.users.items()},
        contexts.asking,
    )


def _is_exact(host: str) -> bool:
    """Whether SNI can name it and nothing else: it is no pattern, and no address, which SNI does not carry."""
    return not host.startswith("*") and ":" not in host and not host[-1:].isdigit()


def alpn_fits(hello: ClientHello) -> bool:
    """Whether client and server share a protocol (RFC 7301, section 3.2).

    A client without ALPN gets HTTP/1.1. One that offers only protocols that we do not speak must be refused with
    no_application_protocol, or bytes meant for its own protocol reach us as HTTP (ALPACA); OpenSSL under Python would
    go on without ALPN, so the refusal is ours.
    """
    return not hello.alpn or not _OFFERED.isdisjoint(hello.alpn)
