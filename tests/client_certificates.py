"""Client authorities, client certificates and revocation lists for tests, straight from `cryptography`: good ones, and
every kind of bad one. None is ever committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY = timedelta(days=1)


def name_of(common_name: str | None, organization: str = "") -> x509.Name:
    attributes = []
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    if common_name is not None:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


@dataclass(frozen=True)
class Credentials:
    """A client's certificate with its key, and the file that holds both, as ssl.load_cert_chain takes it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    path: Path

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


@dataclass
class ClientAuthority:
    """One authority for clients, with its files in `directory`."""

    directory: Path
    name: str = "Clients CA"
    parent: ClientAuthority | None = None
    not_after: datetime = field(default_factory=lambda: datetime.now(UTC) + 30 * DAY)

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.parent or self
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name_of(self.name))
            .issuer_name(name_of(issuer.name))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - 60 * DAY)
            .not_valid_after(self.not_after)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(issuer.key, hashes.SHA256())
        )
        self.directory.mkdir(exist_ok=True)
        self.path = self.directory / f"{self.name.replace(' ', '-')}.pem"
        self.path.write_bytes(self.pem)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        common_name: str | None,
        *,
        organization: str = "",
        names: Sequence[x509.GeneralName] = (),
        age: timedelta = timedelta(0),
        days: float = 10,
        usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
        self_signed: bool = False,
        above: Sequence[x509.Certificate] = (),
    ) -> Credentials:
        """A client certificate.

        Args:
            common_name: of its subject; None for none.
            organization: of its subject.
            names: the alternative names.
            age: how long ago it was made.
            days: how long it is good for, from then.
            usage: its extended key usage; None for none.
            self_signed: sign it with its own key, in our name.
            above: what is sent after it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        made = datetime.now(UTC) - age - timedelta(minutes=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name_of(common_name, organization))
            .issuer_name(name_of(common_name, organization) if self_signed else name_of(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(made)
            .not_valid_after(made + days * DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(key if self_signed else self.key, hashes.SHA256())
        path = self.directory / f"client-{certificate.serial_number:x}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in (certificate, *above))
        path.write_bytes(private + chain)
        return Credentials(certificate, key, path)

    def revoke(
        self,
        *revoked: Credentials | ClientAuthority,
        age: timedelta = timedelta(minutes=1),
        days: float | None = 5,
    ) -> x509.CertificateRevocationList:
        """A revocation list, made `age` ago and good for `days` from then."""
        made = datetime.now(UTC) - age
        builder = x509.CertificateRevocationListBuilder().issuer_name(name_of(self.name)).last_update(made)
        assert days is not None
        builder = builder.next_update(made + days * DAY)
        for one in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(one.certificate.serial_number)
                .revocation_date(made)
                .build()
            )
        return builder.sign(self.key, hashes.SHA256())


def write_revocations(path: Path, *lists: x509.CertificateRevocationList, encoding: Encoding = Encoding.PEM) -> Path:
    """The lists in the file `path`, put in place at once."""
    scratch = path.with_suffix(".new")
    scratch.write_bytes(b"".join(one.public_bytes(encoding) for one in lists))
    return scratch.rename(path)
