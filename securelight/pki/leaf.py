"""Server certificates signed by our authority: short-lived, made anew before anyone notices.

A leaf is reused as long as it is signed by the authority at hand, belongs to its key, has every name that is asked
for, and has a third of its life left.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securelight.model.errors import CertificateError
from securelight.pki.authority import BACKDATED, Authority
from securelight.pki.identities import MAXIMUM_NAMES, UNREADABLE, describe_constraints, general_name, names_of, permits
from securelight.pki.key_files import CERTIFICATE_MODE, KEY_MODE, key_pem, read_file, read_key, write_file

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAF_DAYS = 90
"""Far below the 397 days that browsers accept; it renews itself."""

RENEW_BELOW = 1 / 3
"""Of its life left, a leaf is made anew."""

RSA_BITS = 2048

KeyType = Literal["ecdsa", "rsa"]

_COMMON_NAME_CHARACTERS = 64  # RFC 5280, ub-common-name


@dataclass(frozen=True, slots=True)
class Leaf:
    """A server certificate on disk.

    Args:
        certificate: the certificate.
        chain_path: where it is, PEM, without the root (which clients must have anyway).
        key_path: where its key is.
        created: True if it was made just now.
    """

    certificate: x509.Certificate
    chain_path: Path
    key_path: Path
    created: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What it is for."""
        return names_of(self.certificate)


def ensure_leaf(
    authority: Authority, chain_path: Path, key_path: Path, names: Sequence[str], now: datetime | None = None
) -> Leaf:
    """A leaf for at least `names`, the one on disk if it will do. The caller holds the lock.

    Names that the one on disk has beside them are kept when it is made anew, so that two callers with different wishes
    do not take turns in undoing each other's.

    Args:
        authority: signs it.
        chain_path: PEM file of the certificate.
        key_path: PEM file of the key, mode 0600.
        names: normal names (see identities.normal_name), at least one.
        now: for tests.

    Errors: CertificateError.
    """
    now = now or datetime.now(UTC)
    present = _read_leaf(authority, chain_path, key_path)
    present_names = names_of(present) if present is not None else ()
    if present is not None and set(names) <= set(present_names) and _fresh(present, now):
        return Leaf(present, chain_path, key_path, created=False)
    kept = [name for name in present_names if name not in names and permits(authority.constraints, name)]
    certificate, key = new_leaf(authority, [*names, *kept[: max(0, MAXIMUM_NAMES - len(names))]], now)
    # A server may watch these files: the pair does not match between the two writes, which it has to live with.
    write_file(key_path, key, KEY_MODE)
    write_file(chain_path, certificate.public_bytes(Encoding.PEM), CERTIFICATE_MODE)
    return Leaf(certificate, chain_path, key_path, created=True)


def new_leaf(
    authority: Authority, names: Sequence[str], now: datetime, key_type: KeyType = "ecdsa"
) -> tuple[x509.Certificate, bytes]:
    """A server certificate and its key (PEM), neither written anywhere.

    Errors: CertificateError for names that the authority may not sign for, or if its key is not here.
    """
    if authority.key is None:
        raise CertificateError(
            str(authority.key_path),
            f"is missing, so nothing can be signed; restore it, or remove {authority.certificate_path} for a new "
            "authority (which every client has to be told about)",
        )
    if not 0 < len(names) <= MAXIMUM_NAMES:
        raise CertificateError("certificate", f"has {len(names)} names; it may have 1 to {MAXIMUM_NAMES}")
    constraints = authority.constraints
    for name in names:
        if constraints is not None and not permits(constraints, name):
            raise CertificateError(
                name,
                f"is not a local name, and the local authority may sign for these alone: "
                f"{describe_constraints(constraints)}",
            )
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if key_type == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    root = authority.certificate
    entries = [general_name(name) for name in names]
    subject = [
        # Never an address: without a DNS name beside it, OpenSSL holds it against the constraints on DNS names.
        x509.NameAttribute(NameOID.COMMON_NAME, entry.value)
        for entry in entries
        if isinstance(entry, x509.DNSName) and len(entry.value) <= _COMMON_NAME_CHARACTERS
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject[:1]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=LEAF_DAYS))
        .add_extension(x509.SubjectAlternativeName(entries), critical=not subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return certificate, key_pem(key)


def _read_leaf(authority: Authority, chain_path: Path, key_path: Path) -> x509.Certificate | None:
    """The leaf on disk if it is of this authority and has its key; None for anything else but a readable key."""
    content = read_file(chain_path)
    key = read_key(key_path)
    if content is None or key is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(content)
        certificate.verify_directly_issued_by(authority.certificate)
        names_of(certificate)
    except (*UNREADABLE, InvalidSignature):
        return None
    return certificate if certificate.public_key() == key.public_key() else None


def _fresh(certificate: x509.Certificate, now: datetime) -> bool:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin <= now and end - now > (end - begin) * RENEW_BELOW


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
