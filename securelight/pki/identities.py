"""Names that a certificate can be for: host names, wildcards and IP addresses.

Owns how such a name is written, which names the local authority may sign, and which hosts a name covers. Refuses what
no client would match: bare wildcards, stars inside a label, names with a scheme or a port.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from securelight.model.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALWAYS = ("localhost", "*.localhost", "127.0.0.1", "::1")
"""In every certificate for this machine."""

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

MAXIMUM_NAMES = 100
"""In one certificate: each makes every handshake longer."""

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises, early or late, for a certificate that it cannot make sense of."""

_NAME_KINDS = (x509.DNSName, x509.IPAddress)

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?:\*\.)?(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)*(?!-)[a-z0-9-]{1,63}(?<!-)")


def normal_name(text: str) -> str:
    """`text` as it stands in certificates: lower case, no trailing dot, addresses in their shortest form.

    Errors: CertificateError for what is neither a host name, nor a wildcard of one, nor an IP address.
    """
    name = text.strip().lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name))
    except ValueError:
        pass
    if not name.isascii():
        raise CertificateError(text, "is not ASCII; write it in its xn-- form")
    if not _HOST_NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
        raise CertificateError(
            text, "is neither a host name nor an IP address (no https://, no port, a star only as *.name)"
        )
    return name


def general_name(name: str) -> x509.GeneralName:
    """A normal name as an entry of subjectAltName (RFC 5280, section 4.2.1.6)."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names and IP addresses of a certificate. The common name does not count, as in every browser.

    Errors: one of UNREADABLE.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(entry.value).lower() for entry in extension.value if isinstance(entry, _NAME_KINDS))


def covers(names: Iterable[str], host: str) -> bool:
    """Whether a client that asked for `host` accepts a certificate with these names (RFC 9525, section 6).

    A star stands for exactly one label, and needs two more behind it: for `*.localhost` and `*.com` clients differ,
    and most refuse.
    """
    try:
        wanted = normal_name(host)
    except CertificateError:
        return False
    parent = "" if isinstance(general_name(wanted), x509.IPAddress) else wanted.partition(".")[2]
    return any(name == wanted or ("." in parent and name == f"*.{parent}") for name in names)


def host_name() -> str:
    """This machine's name, or "" if it has none that could stand in a certificate."""
    try:
        name = normal_name(socket.gethostname())
    except CertificateError:
        return ""
    return "" if name.startswith("*.") else name


def local_constraints(host: str) -> x509.NameConstraints:
    """What our authority may sign for (RFC 5280, section 4.2.1.10): local names, and the machine's own.

    If its key is ever stolen, it is good for nothing on the internet. A domain in a constraint stands for all below
    it as well; for a machine that is called `dev`, that would be the whole top-level domain, so what is below a
    machine's one-label name is excluded again.

    Args:
        host: the machine's name, or "".
    """
    permitted: list[x509.GeneralName] = [x509.DNSName(domain) for domain in LOCAL_DOMAINS]
    excluded: list[x509.GeneralName] | None = None
    if host and not _within_domains(host, LOCAL_DOMAINS):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            permitted.append(x509.DNSName(host))
            if "." not in host:
                excluded = [x509.DNSName(f".{host}")]
    permitted += [x509.IPAddress(ipaddress.ip_network(network)) for network in LOCAL_NETWORKS]
    return x509.NameConstraints(permitted, excluded)


def permits(constraints: x509.NameConstraints | None, name: str) -> bool:
    """Whether an authority with these constraints may sign for a normal name."""
    if constraints is None:
        return True
    permitted, excluded = list(constraints.permitted_subtrees or ()), list(constraints.excluded_subtrees or ())
    entry = general_name(name)
    same_kind = [subtree for subtree in permitted if isinstance(subtree, type(entry))]
    return (not same_kind or any(_within(name, subtree) for subtree in same_kind)) and not any(
        _within(name, subtree) for subtree in excluded
    )


def describe_constraints(constraints: x509.NameConstraints) -> str:
    """The permitted names in one line, for messages."""
    return ", ".join(str(subtree.value) for subtree in constraints.permitted_subtrees or ())


def _within(name: str, subtree: x509.GeneralName) -> bool:
    if isinstance(subtree, x509.IPAddress):
        network = subtree.value
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return isinstance(network, (ipaddress.IPv4Network, ipaddress.IPv6Network)) and address in network
    if isinstance(subtree, x509.DNSName):
        domain = subtree.value
        name = name.removeprefix("*.") if not domain.startswith(".") else name
        return name.endswith(domain) if domain.startswith(".") else _within_domains(name, (domain,))
    return False


def _within_domains(name: str, domains: Sequence[str]) -> bool:
    return any(name == domain or name.endswith(f".{domain}") for domain in domains)
