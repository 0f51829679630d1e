"""What a certificate is to be, and its making: names, validity, key, purpose, signed by an authority.

Refuses names outside of the authority's constraints before it signs, keys that no client would accept, and signing
requests that do not prove the possession of their key. Dates may be any: expired certificates are what one tests with.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securelight.model.errors import CertificateError
from securelight.pki.identities import MAXIMUM_NAMES, UNREADABLE, general_name, identities_of, normal_identity
from securelight.pki.inspect import fingerprint
from securelight.pki.key_files import CERTIFICATE_MODE, KEY_MODE, key_pem, write_files
from securelight.pki.key_types import DEFAULT_KEY_TYPE, KeyType, new_key, signature_hash, weakness
from securelight.pki.signer import BACKDATED, key_usage

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    from securelight.pki.authority import Authority
    from securelight.pki.key_files import SigningKey

    PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey

ISSUE_DAYS = 365
"""Below the 398 days that browsers and the 825 that Apple accept."""

MAXIMUM_DAYS = 36_500

_COMMON_NAME_CHARACTERS = 64  # RFC 5280, ub-common-name


@dataclass(frozen=True, slots=True)
class Wish:
    """What a certificate is to be.

    Args:
        names: host names, wildcards, addresses, URIs, mail addresses.
        client: for a client (TLS client authentication) and not for a server.
        subject: its distinguished name; by default the first host name, if any.
        key_type: of its new key.
        days: how long it is valid.
        not_before: valid from; by default an hour ago.
        not_after: valid until; by default `days` later.
        request: a signing request (CSR, PEM or DER) with a key and names of its own; then no key is made.
    """

    names: tuple[str, ...] = ()
    client: bool = False
    subject: x509.Name | None = None
    key_type: KeyType = DEFAULT_KEY_TYPE
    days: float = ISSUE_DAYS
    not_before: datetime | None = None
    not_after: datetime | None = None
    request: bytes | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate, what is needed to show it, and its key.

    Args:
        certificate: the certificate.
        above: the certificates between it and the root.
        key: None if it was made from a signing request.
    """

    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...]
    key: SigningKey | None

    @property
    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The certificate and those above it, without the root, which clients must have anyway."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8, without a passphrase.

        Errors: CertificateError if it is not ours.
        """
        if self.key is None:
            raise CertificateError("key", "is with whoever made the signing request")
        return key_pem(self.key)

    @property
    def names(self) -> tuple[str, ...]:
        """What it is for."""
        return identities_of(self.certificate)

    @property
    def serial(self) -> str:
        """Its serial number, hex."""
        return f"{self.certificate.serial_number:x}"

    @property
    def sha256(self) -> str:
        """Its fingerprint as people compare it."""
        return fingerprint(self.certificate)

    @property
    def not_before(self) -> datetime:
        """Valid from, UTC."""
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """Valid until, UTC."""
        return self.certificate.not_valid_after_utc

    def configure(self, context: ssl.SSLContext) -> None:
        """Make a context, of a server or a client, show this certificate."""
        # OpenSSL takes keys from files alone; this one is for its owner only, and gone at once.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(self.chain_pem + self.key_pem)
            file.flush()
            context.load_cert_chain(file.name)

    def write(self, directory: Path, stem: str = "server") -> tuple[Path, Path]:
        """Write the chain and the key (mode 0600) as `stem`.pem and `stem`.key; returns their paths.

        Errors: CertificateError.
        """
        chain_path, key_path = directory / f"{stem}.pem", directory / f"{stem}.key"
        write_files([(key_path, self.key_pem, KEY_MODE), (chain_path, self.chain_pem, CERTIFICATE_MODE)])
        return chain_path, key_path

    def pkcs12(self, password: str) -> bytes:
        """Certificate, chain and key in one file, as Windows, Java and phones import them.

        Errors: CertificateError if the key is not ours, or of a kind that does not go into such a file.
        """
        key = self.key
        if key is None:
            raise CertificateError("PKCS #12", "cannot be made from a signing request, whose key is elsewhere")
        name = (self.names or (self.certificate.subject.rfc4514_string(),))[0].encode()
        return pkcs12.serialize_key_and_certificates(
            name, key, self.certificate, self.above, BestAvailableEncryption(password.encode())
        )


class Plan(NamedTuple):
    """A wish that can be granted."""

    names: tuple[str, ...]
    """Normal identities."""
    subject: x509.Name
    not_before: datetime
    not_after: datetime
    request: x509.CertificateSigningRequest | None


def plan(authority: Authority, wish: Wish, now: datetime) -> Plan:
    """See whether a wish can be granted, without the authority's key.

    Errors: CertificateError.
    """
    request = _read_request(wish.request) if wish.request is not None else None
    names = tuple(dict.fromkeys(normal_identity(name) for name in wish.names))
    if request is not None and not names:
        names = tuple(dict.fromkeys(normal_identity(name) for name in identities_of(request)))
    subject = wish.subject or _default_subject(names, request if wish.client else None)
    _refuse_strangers(authority, names, subject, client=wish.client)
    begin, end = _validity(wish, now)
    return Plan(names, subject, begin, end, request)


def issue(authority: Authority, wish: Wish, now: datetime | None = None) -> Issued:
    """A certificate by `authority`, recorded and written nowhere.

    Errors: CertificateError.
    """
    names, subject, begin, end, request = plan(authority, wish, now or datetime.now(UTC))
    signing = authority.issuer.signing_key()
    key = new_key(wish.key_type) if request is None else None
    public_key = cast("PublicKey", key.public_key() if key is not None else request.public_key() if request else None)
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if wish.client else ExtendedKeyUsageOID.SERVER_AUTH
    try:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority.issuer.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(is_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(authority.issuer.key_identifier, critical=False)
        )
        if names:
            entries = [general_name(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=not list(subject))
        certificate = builder.sign(signing, signature_hash(signing))
    except ValueError as error:
        raise CertificateError("certificate", f"cannot be made like this: {error}") from error
    return Issued(certificate, tuple(one.certificate for one in authority.signers[:-1]), key)


def _refuse_strangers(authority: Authority, names: Sequence[str], subject: x509.Name, *, client: bool) -> None:
    """See that the authority may sign for this.

    Errors: CertificateError.
    """
    if not names and not client:
        raise CertificateError("certificate", "has no names; a server's needs one at least")
    if not names and not list(subject):
        raise CertificateError("certificate", "is for nobody; give a name, --user or --subject")
    if len(names) > MAXIMUM_NAMES:
        raise CertificateError("certificate", f"has {len(names)} names; it may have 1 to {MAXIMUM_NAMES}")
    for name in names:
        if not authority.permits(name):
            raise CertificateError(
                name,
                f"is not a local name, and the local authority may sign for these alone: {authority.limits} "
                "(securelight certs ca --permit adds more)",
            )
    if any(isinstance(general_name(name), x509.DNSName) for name in names):
        return
    for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        # Without a DNS name beside it, OpenSSL holds a common name that looks like one against the constraints.
        common_name = str(attribute.value)
        if "." in common_name and _is_host_name(common_name) and not authority.permits(common_name.lower()):
            raise CertificateError(
                common_name,
                "looks like a host name outside of what the authority may sign for, and OpenSSL refuses it as one; "
                "write it without dots, or use a mail address as the name",
            )


def _validity(wish: Wish, now: datetime) -> tuple[datetime, datetime]:
    """From when until when.

    Errors: CertificateError.
    """
    if not 0 < wish.days <= MAXIMUM_DAYS:
        raise CertificateError(
            "certificate", f"is to be valid for {wish.days:g} days; 1 to {MAXIMUM_DAYS} are possible"
        )
    lasting = timedelta(days=wish.days)
    begin, end = wish.not_before, wish.not_after
    try:
        if end is None:
            end = (begin or now) + lasting
        if begin is None:
            begin = now - BACKDATED if end > now else end - lasting
    except OverflowError as error:
        raise CertificateError("certificate", "has a date that no certificate can hold") from error
    begin, end = begin.replace(microsecond=0), end.replace(microsecond=0)
    if begin >= end:
        raise CertificateError(
            "certificate", f"would end ({end:%Y-%m-%d %H:%M}) before it begins ({begin:%Y-%m-%d %H:%M})"
        )
    return begin, end


def user_name(user: str) -> x509.Name:
    """The subject of a client's certificate for a user: his name is the common name.

    Errors: CertificateError.
    """
    if not 0 < len(user) <= _COMMON_NAME_CHARACTERS or not user.isprintable():
        raise CertificateError("--user", f"is to be 1 to {_COMMON_NAME_CHARACTERS} characters that can be printed")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])


def subject_name(text: str) -> x509.Name:
    """A distinguished name as RFC 4514 writes it, such as `CN=alice,O=Shop`.

    Errors: CertificateError.
    """
    try:
        name = x509.Name.from_rfc4514_string(text)
    except (*UNREADABLE, KeyError) as error:
        raise CertificateError("--subject", f"is no distinguished name such as CN=alice,O=Shop: {error}") from error
    if not list(name):
        raise CertificateError("--subject", "is empty; write it as CN=alice,O=Shop")
    return name


def _default_subject(names: Sequence[str], request: x509.CertificateSigningRequest | None) -> x509.Name:
    if request is not None and list(request.subject):
        return request.subject
    # Never an address: without a DNS name beside it, OpenSSL holds it against the constraints on DNS names.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name)
            for name in names
            if isinstance(general_name(name), x509.DNSName) and len(name) <= _COMMON_NAME_CHARACTERS
        ][:1]
    )


def _is_host_name(text: str) -> bool:
    try:
        return isinstance(general_name(normal_identity(text)), x509.DNSName)
    except CertificateError:
        return False


def _read_request(content: bytes) -> x509.CertificateSigningRequest:
    where = "signing request"
    try:
        pem = content.lstrip().startswith(b"-----")
        request = (x509.load_pem_x509_csr if pem else x509.load_der_x509_csr)(content)
        good, fault = request.is_signature_valid, weakness(request.public_key())
        identities_of(request)
    except UNREADABLE as error:
        raise CertificateError(where, "cannot be read, neither as PEM nor as DER (PKCS #10)") from error
    if not good:
        raise CertificateError(where, "is not signed with its own key; it was damaged, or is not by the key's owner")
    if fault:
        raise CertificateError(where, f"has {fault}")
    return request
