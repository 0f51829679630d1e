"""Why clients would refuse a chain: what browsers, curl and Python's ssl check, each finding with who minds.

Works on the certificates alone, without the network. Lists of known roots are handed in, since they differ by client;
what is said of clients is what they did in 2026 with the defaults of a Debian system.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from securelight.pki.chain_facts import KNOWN_EXTENSIONS, extension, usages_of
from securelight.pki.constraints import constraints_of, permits
from securelight.pki.identities import UNREADABLE, covers, identities_of, names_of
from securelight.pki.inspect import signed_by

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

ALL: Final = ("browsers", "curl", "Python")
BROWSERS: Final = ("browsers",)

PUBLIC_DAYS: Final = 398
"""The longest life of a certificate by a public authority that browsers accept."""
APPLE_DAYS: Final = 825
"""The longest that Apple accepts from any authority (support.apple.com/103769)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One reason to refuse.

    Args:
        clients: who minds.
        what: for people, with the cure where it is not obvious.
    """

    clients: tuple[str, ...]
    what: str


def chain_faults(
    chain: Sequence[x509.Certificate], host: str | None, now: datetime, roots: Collection[x509.Certificate]
) -> list[Fault]:
    """Everything that speaks against a server's chain.

    Args:
        chain: the server's own certificate first.
        host: what the client asked for; None if that is not known.
        now: the time.
        roots: that the clients trust.

    Errors: one of UNREADABLE.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ordered, root = _path(chain, roots)
        faults = [*_leaf_faults(chain[0], host), *_trust_faults(chain, ordered, root)]
        for certificate in ordered:
            faults += _time_faults(certificate, now)
            faults += _strength_faults(certificate, leaf=certificate is chain[0], is_root=certificate is root)
        for above, certificate in enumerate(ordered[1:]):
            faults += _authority_faults(certificate, above, chain[0])
        faults += _life_faults(chain[0], public=root is not None and root in roots and constraints_of(root) is None)
    return faults


def _path(
    chain: Sequence[x509.Certificate], roots: Collection[x509.Certificate]
) -> tuple[list[x509.Certificate], x509.Certificate | None]:
    """From the first certificate upwards as far as it goes, each the issuer of the one before; and the root."""
    path, rest = [chain[0]], list(chain[1:])
    while len(path) <= len(chain):
        last = path[-1]
        if last in roots:
            return path, last
        trusted = next((one for one in roots if one.subject == last.issuer and signed_by(last, one)), None)
        if trusted is not None:
            return [*path, trusted], trusted
        if last.subject == last.issuer and signed_by(last, last):
            return path, None
        above = next((one for one in rest if one.subject == last.issuer and signed_by(last, one)), None)
        if above is None:
            return path, None
        rest.remove(above)
        path.append(above)
    return path, None


def _leaf_faults(leaf: x509.Certificate, host: str | None) -> Iterator[Fault]:
    names = names_of(leaf)
    if not names:
        yield Fault(
            ("browsers", "Python"), "it has no host name or address in subjectAltName; its common name does not count"
        )
    if host is not None and not covers(names, host):
        shown = ", ".join(names[:10]) or "nothing"
        yield Fault(ALL, f"it is not for {host}; it is for {shown}{' ...' if len(names) > 10 else ''}")
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    if purposes is not None and ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        yield Fault(ALL, "it is not for servers (extended key usage without server authentication)")
    usages = usages_of(leaf)
    if usages and "digital signature" not in usages:
        yield Fault(ALL, "its key may not sign handshakes (key usage without digital signature)")
    for name in names:
        if name.startswith("*.") and "." not in name[2:]:
            yield Fault((), f"{name} is a star right below a top-level domain, which covers nothing in browsers")


def _trust_faults(
    chain: Sequence[x509.Certificate], path: Sequence[x509.Certificate], root: x509.Certificate | None
) -> Iterator[Fault]:
    if root is None:
        top = path[-1]
        if top is chain[0] and signed_by(top, top):
            yield Fault(ALL, "it is signed by itself; clients accept it only if they are told to")
        elif signed_by(top, top):
            yield Fault(ALL, f"its root is not one that this machine trusts: {_shown(top.subject)}")
        elif any(one.subject == top.issuer for one in chain if one is not top):
            yield Fault(ALL, f"the signature on {_shown(top.subject)} is not by the key of {_shown(top.issuer)}")
        else:
            yield Fault(
                ALL, f"who signed {_shown(top.subject)} is neither in the chain nor trusted here: {_shown(top.issuer)}"
            )
    in_order = [one for one in path if one in chain]
    if list(chain[: len(in_order)]) != in_order:
        yield Fault(
            (), "the certificates are not in order: each has to be followed by the one that signed it (RFC 5246)"
        )
    elif len(chain) > len(in_order):
        yield Fault((), f"{len(chain) - len(in_order)} of the certificates are not part of the chain")


def _time_faults(certificate: x509.Certificate, now: datetime) -> Iterator[Fault]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end <= now:
        yield Fault(ALL, f"{_shown(certificate.subject)} expired on {end:%Y-%m-%d %H:%M} UTC")
    elif begin > now:
        yield Fault(
            ALL, f"{_shown(certificate.subject)} is not valid before {begin:%Y-%m-%d %H:%M} UTC; is the clock right?"
        )


def _strength_faults(certificate: x509.Certificate, *, leaf: bool, is_root: bool) -> Iterator[Fault]:
    key, shown = certificate.public_key(), _shown(certificate.subject)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        yield Fault(ALL, f"{shown} has an RSA key of {key.key_size} bits; 2048 is the least")
    if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        yield Fault(BROWSERS, f"{shown} has an Edwards-curve key, which browsers do not accept in certificates")
    if leaf and isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in ("secp256r1", "secp384r1"):
        yield Fault(BROWSERS, f"{shown} has a key on {key.curve.name}; Chromium takes P-256 and P-384 alone")
    if not is_root:
        used = _hash_name(certificate)
        if used in ("md5", "sha1"):
            yield Fault(ALL, f"{shown} is signed with {used.upper()}, which can be forged")
    for one in certificate.extensions:
        if one.critical and one.oid not in KNOWN_EXTENSIONS:
            yield Fault(ALL, f"{shown} has the critical extension {one.oid.dotted_string}, which clients do not know")


def _authority_faults(certificate: x509.Certificate, below: int, leaf: x509.Certificate) -> Iterator[Fault]:
    """Of a certificate above the server's; `below` is the number of authorities between them."""
    shown = _shown(certificate.subject)
    basic = extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.ca:
        yield Fault(ALL, f"{shown} is not an authority's (basicConstraints), and has signed another certificate")
    elif basic.path_length is not None and basic.path_length < below:
        yield Fault(ALL, f"{shown} allows {basic.path_length} authorities below it; there are {below}")
    usages = usages_of(certificate)
    if usages and "key cert sign" not in usages:
        yield Fault(ALL, f"{shown} may not sign certificates (key usage)")
    if not usages or (basic is not None and not _is_critical(certificate, x509.BasicConstraints)):
        yield Fault(
            ("Python 3.13",),
            f"{shown} lacks a key usage, or its basicConstraints are not critical (RFC 5280, section 4.2.1)",
        )
    constraints = constraints_of(certificate)
    for name in identities_of(leaf):
        if not permits(constraints, name):
            yield Fault(ALL, f"{name} is outside of what {shown} may sign for (name constraints)")


def _life_faults(leaf: x509.Certificate, *, public: bool) -> Iterator[Fault]:
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if life > timedelta(days=APPLE_DAYS):
        yield Fault(("Safari",), f"it is valid for {life.days} days; Apple accepts {APPLE_DAYS} at most")
    if public and life > timedelta(days=PUBLIC_DAYS):
        yield Fault(BROWSERS, f"it is valid for {life.days} days; from a public authority they accept {PUBLIC_DAYS}")
    if extension(leaf, x509.AuthorityKeyIdentifier) is None and leaf.subject != leaf.issuer:
        yield Fault(("Python 3.13",), "it lacks an authority key identifier (RFC 5280, section 4.2.1.1)")


def _is_critical(certificate: x509.Certificate, kind: type[Any]) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(kind).critical
    except x509.ExtensionNotFound:
        return False


def _hash_name(certificate: x509.Certificate) -> str:
    try:
        used = certificate.signature_hash_algorithm
    except UNREADABLE:
        return ""
    return used.name if used is not None else ""


def _shown(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string() or "the certificate"
