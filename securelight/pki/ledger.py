"""The record of what an authority has signed, so that it can be listed and taken back.

One JSON file, written whole; entries stay for a while after their certificates have expired, then nobody asks for them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from securelight.model.errors import CertificateError
from securelight.pki.identities import identities_of
from securelight.pki.inspect import fingerprint
from securelight.pki.key_files import KEY_MODE, read_file
from securelight.pki.key_types import signature_hash
from securelight.pki.signer import BACKDATED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.pki.issue import Issued
    from securelight.pki.signer import Signer

LEDGER_FILE = "issued.json"
MAXIMUM_LEDGER_BYTES: Final = 16 << 20
MAXIMUM_ENTRIES: Final = 20_000
KEPT_DAYS: Final = 90
"""After a certificate has expired, or was made if that is later, its entry is dropped."""

Reason = Literal[
    "unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation"
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)


class Entry(msgspec.Struct, omit_defaults=True):
    """One certificate.

    Args:
        serial: its serial number, hex.
        issuer: identifier of the key that signed it, hex.
        names: what it is for.
        subject: its distinguished name, RFC 4514.
        kind: whom it is for.
        sha256: its fingerprint.
        issued: when it was made.
        not_before: valid from.
        not_after: valid until.
        file: where it was written, within the authority's directory or absolute; "" if nowhere.
        revoked: when it was taken back.
        reason: why.
    """

    serial: str
    issuer: str
    names: list[str]
    subject: str
    kind: Literal["server", "client"]
    sha256: str
    issued: datetime
    not_before: datetime
    not_after: datetime
    file: str = ""
    revoked: datetime | None = None
    reason: Reason = "unspecified"


class Ledger(msgspec.Struct):
    """All of them.

    Args:
        version: of this format.
        list_number: of the latest revocation list (RFC 5280, section 5.2.3).
        certificates: in the order in which they were made.
    """

    version: Literal[1] = 1
    list_number: int = 0
    certificates: list[Entry] = msgspec.field(default_factory=list)

    @classmethod
    def read(cls, directory: Path) -> Ledger:
        """That of an authority's directory; an empty one if there is none.

        Errors: CertificateError for one that cannot be read.
        """
        path = directory / LEDGER_FILE
        content = read_file(path, MAXIMUM_LEDGER_BYTES)
        if content is None:
            return cls()
        try:
            return msgspec.json.decode(content, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CertificateError(
                str(path), f"is damaged ({error}); restore it, or remove it: what it holds can then not be revoked"
            ) from error

    def file(self, directory: Path) -> tuple[Path, bytes, int]:
        """As write_files takes it."""
        content = msgspec.json.format(msgspec.json.encode(self), indent=1)
        return directory / LEDGER_FILE, content + b"\n", KEY_MODE

    def add(self, issued: Issued, file: str = "", now: datetime | None = None) -> None:
        """Record a certificate.

        Errors: CertificateError if there are too many.
        """
        now = now or datetime.now(UTC)
        kept = timedelta(days=KEPT_DAYS)
        self.certificates = [one for one in self.certificates if max(one.issued, one.not_after) + kept > now]
        if len(self.certificates) >= MAXIMUM_ENTRIES:
            raise CertificateError(LEDGER_FILE, f"holds {MAXIMUM_ENTRIES} certificates that have not expired; no more")
        certificate = issued.certificate
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        self.certificates.append(
            Entry(
                serial=issued.serial,
                issuer=(authority.key_identifier or b"").hex(),
                names=list(identities_of(certificate)),
                subject=certificate.subject.rfc4514_string(),
                kind="client" if ExtendedKeyUsageOID.CLIENT_AUTH in usage else "server",
                sha256=fingerprint(certificate),
                issued=now.replace(microsecond=0),
                not_before=issued.not_before,
                not_after=issued.not_after,
                file=file,
            )
        )

    def revoke(self, serial: str, reason: Reason, now: datetime) -> Entry:
        """Take back the certificate with this serial number; one that is already stays as it is.

        Errors: CertificateError if there is none.
        """
        wanted = serial.lower().replace(":", "").lstrip("0")
        for entry in self.certificates:
            if entry.serial == wanted:
                if entry.revoked is None:
                    entry.revoked, entry.reason = now.replace(microsecond=0), reason
                return entry
        raise CertificateError(serial, "is not the serial number of a certificate that this authority has recorded")

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        """Whether it was taken back."""
        serial = f"{certificate.serial_number:x}"
        return any(entry.serial == serial and entry.revoked is not None for entry in self.certificates)

    def revocation_lists(self, signers: Sequence[Signer], now: datetime, days: float) -> bytes:
        """New revocation lists of these authorities (RFC 5280, section 5), PEM, one after the other.

        Args:
            signers: whose certificates are looked up by servers that check whole chains.
            now: when they are made.
            days: until the next update.

        Errors: CertificateError if a key is not here.
        """
        self.list_number += 1
        return b"".join(self._revocation_list(signer, now, days) for signer in signers)

    def _revocation_list(self, signer: Signer, now: datetime, days: float) -> bytes:
        key, identifier = signer.signing_key(), signer.key_identifier
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(signer.certificate.subject)
            .last_update(now - BACKDATED)
            .next_update(now + timedelta(days=days))
            .add_extension(x509.CRLNumber(self.list_number), critical=False)
            .add_extension(identifier, critical=False)
        )
        for entry in self.certificates:
            if entry.revoked is None or entry.issuer != (identifier.key_identifier or b"").hex():
                continue
            one = x509.RevokedCertificateBuilder().serial_number(int(entry.serial, 16)).revocation_date(entry.revoked)
            if entry.reason != "unspecified":
                one = one.add_extension(x509.CRLReason(x509.ReasonFlags(entry.reason)), critical=False)
            builder = builder.add_revoked_certificate(one.build())
        return builder.sign(key, signature_hash(key)).public_bytes(Encoding.PEM)
