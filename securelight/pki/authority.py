"""Our own certificate authority: one ECDSA P-256 root for this machine, limited to local names.

The root can sign nothing that is of use on the internet (see identities.local_constraints), its name holds the id of
its key and the day it was made, so that a re-made one is never taken for the old by a client that knows both, and no
intermediate can be put below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from securelight.model.errors import CertificateError
from securelight.pki.identities import UNREADABLE, host_name, local_constraints
from securelight.pki.key_files import CERTIFICATE_MODE, KEY_MODE, SigningKey, key_pem, read_file, read_key, write_file

CERTIFICATE_FILE = "ca.pem"
KEY_FILE = "ca.key"

AUTHORITY_DAYS = 3650
"""Long, because every client has to be told about a new one by hand."""

REPLACE_DAYS = 100
"""A root with less than this left is made anew: it must outlive every leaf that it signs."""

BACKDATED = timedelta(hours=1)
"""Certificates begin this long before they are made, for clients (phones, virtual machines) whose clock is behind."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A root certificate, with its key unless that is kept elsewhere.

    Args:
        certificate: the root.
        key: None if only the certificate is here: then it can be trusted, but not sign.
        certificate_path: where the root is.
        key_path: where its key is, or would be.
        created: True if it was made just now.
    """

    certificate: x509.Certificate
    key: SigningKey | None
    certificate_path: Path
    key_path: Path
    created: bool = False

    @property
    def constraints(self) -> x509.NameConstraints | None:
        """What it may sign for; None if there is no limit, as in a root that we did not make."""
        try:
            return self.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return None


def ensure_authority(directory: Path, now: datetime | None = None) -> Authority:
    """The authority of `directory`, made if there is none, or if it is about to expire. The caller holds the lock.

    Errors: CertificateError for files that cannot be used, or a key that others may read.
    """
    now = now or datetime.now(UTC)
    certificate_path, key_path = directory / CERTIFICATE_FILE, directory / KEY_FILE
    key = read_key(key_path)
    certificate = _read_certificate(certificate_path)
    if certificate is not None and certificate.not_valid_after_utc - now > timedelta(days=REPLACE_DAYS):
        if key is not None and key.public_key() != certificate.public_key():
            raise CertificateError(
                str(key_path),
                f"is not the key of {certificate_path}; restore the right one, or remove both files for a new one",
            )
        return Authority(certificate, key, certificate_path, key_path)
    if key is None or certificate is not None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_file(key_path, key_pem(key), KEY_MODE)
    # A key without a certificate is what an interrupted run leaves behind, since the key is written first.
    certificate = new_root(key, now)
    write_file(certificate_path, certificate.public_bytes(Encoding.PEM), CERTIFICATE_MODE)
    return Authority(certificate, key, certificate_path, key_path, created=True)


def new_root(key: SigningKey, now: datetime) -> x509.Certificate:
    """A self-signed root for `key`, limited to local names."""
    key_identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "securelight"),
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"securelight local CA {now:%Y-%m-%d} {key_identifier.digest.hex()[:12]}"
            ),
        ]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(local_constraints(host_name()), critical=True)
        .add_extension(key_identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _read_certificate(path: Path) -> x509.Certificate | None:
    content = read_file(path)
    if content is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(content)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (*UNREADABLE, x509.ExtensionNotFound) as error:
        raise CertificateError(
            str(path), "holds no authority's certificate; remove it, and its key, for a new one"
        ) from error
    if not constraints.ca:
        raise CertificateError(
            str(path), "is not the certificate of an authority; remove it, and its key, for a new one"
        )
    return certificate


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
