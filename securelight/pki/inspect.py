"""What a certificate file says, for people: who, for which names, until when, signed by whom.

Reads and judges nothing but the file: whether a client trusts it is the client's business, whether the key fits is
found out by tls.key_pair.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from securelight.model.errors import CertificateError
from securelight.pki.identities import UNREADABLE, covers, names_of
from securelight.pki.key_types import describe_key


@dataclass(frozen=True, slots=True)
class CertificateReport:
    """The first certificate of a chain.

    Args:
        subject: distinguished name, RFC 4514; may be empty.
        issuer: that of whoever signed it.
        names: host names and IP addresses it is for.
        not_before: valid from, UTC.
        not_after: valid until, UTC.
        key_type: such as `ECDSA P-256`, `RSA 2048`, `Ed25519`.
        sha256: fingerprint, upper-case hex with colons, as OpenSSL and browsers show it.
        is_ca: True for an authority's certificate, which no server should show as its own.
        self_signed: signed with its own key.
        chain_length: certificates in the file.
        chain_in_order: each certificate is signed by the one after it.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    key_type: str
    sha256: str
    is_ca: bool
    self_signed: bool
    chain_length: int
    chain_in_order: bool

    def covers(self, host: str) -> bool:
        """Whether clients that asked for `host` (a name or an IP address) accept it, as far as names go."""
        return covers(self.names, host)

    def days_left(self, now: datetime | None = None) -> float:
        """Until it expires; negative after that."""
        return (self.not_after - (now or datetime.now(UTC))).total_seconds() / 86_400


def describe_chain(pem: bytes, where: str = "certificate") -> CertificateReport:
    """Read a PEM file of one certificate or a chain, the server's first.

    Args:
        pem: the content.
        where: the file's name, for messages.

    Errors: CertificateError for what cannot be read.
    """
    try:
        chain = x509.load_pem_x509_certificates(pem)
        return _describe(chain)
    except UNREADABLE as error:
        raise CertificateError(where, "holds no certificate in PEM form that can be read") from error


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, as people compare it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _describe(chain: list[x509.Certificate]) -> CertificateReport:
    certificate = chain[0]
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    return CertificateReport(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=names_of(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key_type=describe_key(certificate.public_key()),
        sha256=fingerprint(certificate),
        is_ca=is_ca,
        self_signed=signed_by(certificate, certificate),
        chain_length=len(chain),
        chain_in_order=all(signed_by(lower, upper) for lower, upper in itertools.pairwise(chain)),
    )


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` has signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True
