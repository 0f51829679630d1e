"""One authority's certificate and its key, opened only to sign: it may have a passphrase, or be kept elsewhere.

Makes such certificates too, roots and intermediates alike.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from securelight.model.errors import CertificateError
from securelight.pki.identities import UNREADABLE
from securelight.pki.key_files import environment_passphrase, has_passphrase, load_key, read_file, refuse_shared_key
from securelight.pki.key_types import signature_hash

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.pki.key_files import Passphrase, SigningKey

BACKDATED = timedelta(hours=1)
"""Certificates begin this long before they are made, for clients (phones, virtual machines) whose clock is behind."""


class Signer:
    """A certificate that may sign others.

    Args:
        certificate: of an authority.
        key: its private key, if it is at hand.
        certificate_path: where the certificate is on disk; None if nowhere.
        key_path: where the key is, or would be.
        passphrase: asked for that of the key, once, if it is needed.
    """

    __slots__ = ("_key", "certificate", "certificate_path", "key_path", "passphrase")

    def __init__(
        self,
        certificate: x509.Certificate,
        key: SigningKey | None,
        certificate_path: Path | None = None,
        key_path: Path | None = None,
        passphrase: Passphrase | None = None,
    ) -> None:
        self.certificate = certificate
        self.certificate_path = certificate_path
        self.key_path = key_path
        self._key = key
        self.passphrase = passphrase

    @property
    def key(self) -> SigningKey | None:
        """The private key; None if it is not here.

        Errors: CertificateError if it cannot be opened, or is not that of the certificate.
        """
        if self._key is None and self.key_path is not None:
            refuse_shared_key(self.key_path)
            content = read_file(self.key_path)
            if content is not None:
                self._key = self._open(content, self.key_path)
        return self._key

    def signing_key(self) -> SigningKey:
        """The private key.

        Errors: CertificateError if it is not here, or cannot be opened.
        """
        key = self.key
        if key is None:
            where = self.certificate_path or "another authority"
            raise CertificateError(
                str(self.key_path or self.name),
                f"is missing, so nothing can be signed; restore it, or take another folder than that of {where} for a "
                "new authority (which every client has to be told about)",
            )
        return key

    def check(self) -> None:
        """See that the key, if it is here, is for its owner only and belongs to the certificate. One with a passphrase
        is looked into only when it signs.

        Errors: CertificateError.
        """
        if self.key_path is not None:
            refuse_shared_key(self.key_path)
            content = read_file(self.key_path)
            if content is not None and not has_passphrase(content):
                self._key = self._open(content, self.key_path)

    def secret(self) -> bytes | None:
        """The passphrase of its key; None if it has none.

        Errors: CertificateError.
        """
        content = read_file(self.key_path) if self.key_path is not None else None
        if content is None or self.key_path is None or not has_passphrase(content):
            return None
        return (self.passphrase or environment_passphrase)(self.key_path)

    @property
    def name(self) -> str:
        """Its common name, or its whole subject."""
        found = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(found[0].value) if found else self.certificate.subject.rfc4514_string()

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def path_length(self) -> int | None:
        """How many authorities may be below it; None for any number."""
        return self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length

    @property
    def key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """As it stands in what it signs."""
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.signing_key().public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)

    def _open(self, content: bytes, path: Path) -> SigningKey:
        key = load_key(content, path, self.passphrase)
        if key.public_key() != self.certificate.public_key():
            raise CertificateError(
                str(path),
                f"is not the key of {self.certificate_path}; restore the right one, or take another folder for a new "
                "authority",
            )
        return key


def authority_name(key: SigningKey, kind: str, now: datetime) -> x509.Name:
    """A name that no other authority has: with the id of its key and the day it was made, so that a re-made one is
    never taken for the old by a client that knows both.

    Args:
        key: its own.
        kind: such as `local CA`.
        now: when it is made.
    """
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "securelight"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"securelight {kind} {now:%Y-%m-%d} {digest.hex()[:12]}"),
        ]
    )


def sign_authority(
    key: SigningKey,
    name: x509.Name,
    issuer: Signer | None,
    constraints: x509.NameConstraints | None,
    life: tuple[datetime, timedelta],
    *,
    path_length: int | None,
) -> x509.Certificate:
    """A root (without an issuer) or an intermediate. With the name and key of an old one it is the same authority with
    a longer life, and all that it signed stays good.

    Args:
        key: its own.
        name: its own.
        issuer: signs it, if not itself.
        constraints: what it may sign for.
        life: when it is made, and how long it lasts; an intermediate never longer than its issuer.
        path_length: how many authorities may be below it.
    """
    now, lasting = life
    end = now + lasting
    if issuer is not None:
        end = min(end, issuer.certificate.not_valid_after_utc)
    signing = key if issuer is None else issuer.signing_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer is not None:
        builder = builder.add_extension(issuer.key_identifier, critical=False)
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    return builder.sign(signing, signature_hash(signing))


def read_authority_certificate(path: Path) -> x509.Certificate | None:
    """The certificate of an authority in a PEM file; None if there is no such file.

    Errors: CertificateError for one that cannot be read, or is not an authority's.
    """
    content = read_file(path)
    if content is None:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(content)
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (*UNREADABLE, x509.ExtensionNotFound) as error:
        raise CertificateError(
            str(path), "holds no authority's certificate; remove it, and its key, for a new one"
        ) from error
    if not basic.ca:
        raise CertificateError(
            str(path), "is not the certificate of an authority; remove it, and its key, for a new one"
        )
    return certificate


def key_usage(*, is_authority: bool) -> x509.KeyUsage:
    """Certificates and lists for an authority; signatures for all others (RSA key exchange is long gone)."""
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
