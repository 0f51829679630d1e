"""What every certificate of a chain says, as plain data for people and programs. Judges nothing: see chain_faults."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from securelight.model.errors import CertificateError
from securelight.pki.constraints import constraints_of
from securelight.pki.identities import UNREADABLE, identities_of
from securelight.pki.inspect import fingerprint, signed_by
from securelight.pki.key_types import describe_key
from securelight.pki.trust_root import read_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

MAXIMUM_CERTIFICATES = 100
"""In one chain; servers show two or three."""

_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogProof:
    """A promise of a Certificate Transparency log (SCT, RFC 6962) in the certificate.

    Args:
        log: id of the log, hex.
        at: when it was given, UTC.
    """

    log: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate.

    Args:
        subject: distinguished name, RFC 4514; may be empty.
        issuer: of whoever signed it.
        serial: hex.
        names: host names, addresses, URIs, mail addresses.
        not_before: valid from, UTC.
        not_after: valid until, UTC.
        key_type: such as `ECDSA P-256`.
        signature: how it was signed, such as `ecdsa-with-SHA256`.
        sha256: fingerprint.
        is_ca: whether it may sign others.
        path_length: how many authorities may be below it; None for any number.
        permitted: names that it may sign for; None if there is no limit.
        excluded: names that it may not.
        key_usage: what its key is for.
        extended_key_usage: whom it is for; empty if it does not say.
        log_proofs: of Certificate Transparency.
        self_signed: signed with its own key.
    """

    subject: str
    issuer: str
    serial: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    key_type: str
    signature: str
    sha256: str
    is_ca: bool
    path_length: int | None
    permitted: tuple[str, ...] | None
    excluded: tuple[str, ...]
    key_usage: tuple[str, ...]
    extended_key_usage: tuple[str, ...]
    log_proofs: tuple[LogProof, ...]
    self_signed: bool


def load_chain(content: bytes, where: str) -> list[x509.Certificate]:
    """The certificates in a file, PEM or one in DER, in their order.

    Errors: CertificateError for what cannot be read, or too many.
    """
    try:
        with warnings.catch_warnings():
            # It warns of old sins, such as a serial number of 0, that are not ours.
            warnings.simplefilter("ignore")
            if b"-----BEGIN " in content:
                chain = x509.load_pem_x509_certificates(content)
            else:
                chain = [x509.load_der_x509_certificate(content)]
    except UNREADABLE as error:
        raise CertificateError(where, "holds no certificate that can be read, neither as PEM nor as DER") from error
    if len(chain) > MAXIMUM_CERTIFICATES:
        raise CertificateError(where, f"holds {len(chain)} certificates; a chain has {MAXIMUM_CERTIFICATES} at most")
    return chain


def load_roots(bundles: Sequence[Path]) -> list[x509.Certificate]:
    """The roots in files of many, without those that cannot be read."""
    roots = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for der in (der for bundle in bundles for der in read_bundle(bundle)):
            with contextlib.suppress(*UNREADABLE):
                roots.append(x509.load_der_x509_certificate(der))
    return roots


def facts_of(certificate: x509.Certificate, where: str) -> CertificateFacts:
    """What it says.

    Errors: CertificateError if something in it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _facts(certificate)
    except UNREADABLE as error:
        raise CertificateError(where, f"holds a certificate with a part that cannot be read: {error}") from error


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> Any:
    """The value of an extension; None if there is none."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def usages_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """What the key is for; empty if it does not say."""
    usage = extension(certificate, x509.KeyUsage)
    return tuple(name.replace("_", " ") for name in _USAGES if usage is not None and getattr(usage, name))


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    basic = extension(certificate, x509.BasicConstraints)
    constraints = constraints_of(certificate)
    purposes = extension(certificate, x509.ExtendedKeyUsage)
    proofs = extension(certificate, x509.PrecertificateSignedCertificateTimestamps)
    permitted = None if constraints is None else constraints.permitted_subtrees
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        names=identities_of(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key_type=describe_key(certificate.public_key()),
        signature=_oid_name(certificate.signature_algorithm_oid),
        sha256=fingerprint(certificate),
        is_ca=basic is not None and basic.ca,
        path_length=basic.path_length if basic is not None else None,
        permitted=None if permitted is None else _subtrees(permitted),
        excluded=tuple(str(one.value) for one in constraints.excluded_subtrees or ())
        if constraints is not None
        else (),
        key_usage=usages_of(certificate),
        extended_key_usage=tuple(_oid_name(one) for one in purposes or ()),
        log_proofs=tuple(LogProof(one.log_id.hex(), one.timestamp) for one in proofs or ()),
        self_signed=signed_by(certificate, certificate),
    )


def _subtrees(subtrees: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(one.value).removeprefix(".") for one in subtrees))


def _oid_name(oid: x509.ObjectIdentifier) -> str:
    name: str = oid._name
    return oid.dotted_string if name == "Unknown OID" else name


KNOWN_EXTENSIONS = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.INHIBIT_ANY_POLICY,
    }
)
"""Those that clients understand; a critical one beside them makes them refuse."""
