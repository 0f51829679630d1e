"""Names that a certificate can be for: host names, wildcards, IP addresses, URIs and mail addresses.

Owns how such a name is written and which hosts a name covers (which names an authority may sign: constraints). Refuses
what no client would match: bare wildcards, stars inside a label, host names with a port.
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
    from collections.abc import Iterable

ALWAYS = ("localhost", "*.localhost", "127.0.0.1", "::1")
"""In every certificate for this machine."""

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
_IDENTITY_KINDS = (*_NAME_KINDS, x509.UniformResourceIdentifier, x509.RFC822Name)

MAXIMUM_IDENTITY_CHARACTERS = 2048
"""Of a URI or a mail address."""

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?:\*\.)?(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)*(?!-)[a-z0-9-]{1,63}(?<!-)")

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_MAILBOX = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


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


def normal_identity(text: str) -> str:
    """As normal_name, and URIs (with `://`, or `urn:`) and mail addresses (with `@`) too.

    Errors: CertificateError.
    """
    name = text.strip()
    is_uri = "://" in name or name.lower().startswith("urn:")
    if (not is_uri and "@" not in name) or name.lower().startswith(("http://", "https://")):
        return normal_name(name)
    if len(name) > MAXIMUM_IDENTITY_CHARACTERS or not name.isascii() or not name.isprintable() or " " in name:
        raise CertificateError(repr(name[:80]), "is not an identity of ASCII characters without spaces")
    if is_uri:
        if not _URI.fullmatch(name):
            raise CertificateError(name, "is not a URI")
        return name
    local, _, domain = name.rpartition("@")
    if not _MAILBOX.fullmatch(local) or not _HOST_NAME.fullmatch(domain.lower()) or domain.startswith("*"):
        raise CertificateError(name, "is not a mail address")
    return f"{local}@{domain.lower()}"


def general_name(name: str) -> x509.GeneralName:
    """A normal identity as an entry of subjectAltName (RFC 5280, section 4.2.1.6)."""
    if "://" in name or name.lower().startswith("urn:"):
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
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


def identities_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """As names_of, with URIs and mail addresses."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(
        str(entry.value).lower() if isinstance(entry, _NAME_KINDS) else str(entry.value)
        for entry in extension.value
        if isinstance(entry, _IDENTITY_KINDS)
    )


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
