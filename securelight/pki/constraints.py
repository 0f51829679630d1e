"""What an authority may sign for (RFC 5280, section 4.2.1.10): by default local names alone.

If the key of such an authority is ever stolen, it is good for nothing on the internet. Owns the making of constraints,
and the question whether they permit a name; clients ask it of every chain, we before we sign.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509

from securelight.model.errors import CertificateError
from securelight.pki.identities import general_name, normal_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOCAL_DOMAINS = ("localhost", "test", "local", "internal", "home.arpa")
"""Domains that nobody can own on the internet: RFC 6761, 6762 and 8375, and ICANN's `internal`."""

LOCAL_NETWORKS = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
)
"""Loopback, RFC 1918 and RFC 4193."""

MAXIMUM_PERMITTED = 100
"""Names that may be added: each makes every handshake longer."""


def local_constraints(host: str, permit: Sequence[str] = ()) -> x509.NameConstraints:
    """Local names, the machine's own, and what is permitted besides.

    A domain in a constraint stands for all below it as well; for a machine that is called `dev`, that would be the
    whole top-level domain, so what is below a machine's one-label name is excluded again. Mail addresses and URIs are
    held to the same domains.

    Args:
        host: the machine's name, or "".
        permit: further domains, addresses and networks.

    Errors: CertificateError for what is none of these.
    """
    domains, networks = list(LOCAL_DOMAINS), list(LOCAL_NETWORKS)
    excluded: list[x509.GeneralName] | None = None
    if host and not _within_domains(host, LOCAL_DOMAINS) and isinstance(general_name(host), x509.DNSName):
        domains.append(host)
        if "." not in host:
            excluded = [x509.DNSName(f".{host}")]
    if len(permit) > MAXIMUM_PERMITTED:
        raise CertificateError("--permit", f"has {len(permit)} names; it may have {MAXIMUM_PERMITTED}")
    for wish in permit:
        network = _network(wish)
        if network:
            networks.append(network)
        else:
            domain = normal_name(wish).removeprefix("*.")
            excluded = [one for one in excluded or () if one.value != f".{domain}"] or None
            domains.append(domain)
    domains, networks = list(dict.fromkeys(domains)), list(dict.fromkeys(networks))
    permitted: list[x509.GeneralName] = [x509.DNSName(domain) for domain in domains]
    permitted += [x509.IPAddress(ipaddress.ip_network(network)) for network in networks]
    for domain in domains:
        # Here a domain stands for itself alone, and one with a dot before it for all below it.
        permitted += [x509.RFC822Name(domain), x509.RFC822Name(f".{domain}")]
        permitted += [x509.UniformResourceIdentifier(domain), x509.UniformResourceIdentifier(f".{domain}")]
    return x509.NameConstraints(permitted, excluded)


def permits(constraints: x509.NameConstraints | None, name: str) -> bool:
    """Whether an authority with these constraints may sign for a normal identity."""
    if constraints is None:
        return True
    permitted, excluded = list(constraints.permitted_subtrees or ()), list(constraints.excluded_subtrees or ())
    entry = general_name(name)
    same_kind = [subtree for subtree in permitted if isinstance(subtree, type(entry))]
    return (not same_kind or any(_within(entry, subtree) for subtree in same_kind)) and not any(
        _within(entry, subtree) for subtree in excluded
    )


def not_permitted(constraints: x509.NameConstraints | None, wishes: Sequence[str]) -> list[str]:
    """Which of these domains, addresses and networks are not, or not wholly, within the constraints.

    Errors: CertificateError for what is none of them.
    """
    return [wish for wish in wishes if not _covers(constraints, wish)]


def constraints_of(certificate: x509.Certificate) -> x509.NameConstraints | None:
    """Those in an authority's certificate; None if it has none."""
    try:
        return certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None


def describe_constraints(constraints: x509.NameConstraints) -> str:
    """The permitted names and networks in one line, for messages."""
    subtrees: Iterable[x509.GeneralName] = constraints.permitted_subtrees or ()
    return ", ".join(dict.fromkeys(str(one.value).removeprefix(".") for one in subtrees))


def _covers(constraints: x509.NameConstraints | None, wish: str) -> bool:
    text = _network(wish)
    if not text or constraints is None:
        domain = normal_name(wish).removeprefix("*.") if not text else ""
        return constraints is None or (permits(constraints, domain) and permits(constraints, f"any.{domain}"))
    network = ipaddress.ip_network(text)
    ends = (str(network.network_address), str(network.broadcast_address))
    return any(
        all(_within(general_name(end), one) for end in ends)
        for one in constraints.permitted_subtrees or ()
        if isinstance(one, x509.IPAddress)
    )


def _network(text: str) -> str:
    """`text` as a network; "" if it is none.

    Errors: CertificateError for a network with host bits.
    """
    try:
        return str(ipaddress.ip_network(text.strip().strip("[]")))
    except ValueError as error:
        if "host bits" in str(error):
            raise CertificateError(text, "has bits set behind its prefix") from error
        return ""


def _within(entry: x509.GeneralName, subtree: x509.GeneralName) -> bool:
    if isinstance(entry, x509.IPAddress):
        network = subtree.value
        return isinstance(network, (ipaddress.IPv4Network, ipaddress.IPv6Network)) and entry.value in network
    if type(entry) is not type(subtree):
        return False
    domain, name = str(subtree.value), str(entry.value)
    if isinstance(entry, x509.DNSName):
        name = name.removeprefix("*.") if not domain.startswith(".") else name
        return name.endswith(domain) if domain.startswith(".") else _within_domains(name, (domain,))
    try:
        host = name.rpartition("@")[2] if isinstance(entry, x509.RFC822Name) else urlsplit(name).hostname or ""
    except ValueError:
        return False
    return host.endswith(domain) if domain.startswith(".") else host == domain


def _within_domains(name: str, domains: Sequence[str]) -> bool:
    return any(name == domain or name.endswith(f".{domain}") for domain in domains)
