"""Which client certificates are believed: real handshakes, good clients and every kind of bad one, TLS 1.2 and 1.3."""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings, strategies as st

from securelight.model.errors import CertificateError
from securelight.tls.client_trust import ClientTrust, read_authorities, read_revocations, without_list
from securelight.tls.context import server_context
from securelight.tls.policy import INTERMEDIATE
from tests.client_certificates import DAY, ClientAuthority, Credentials, write_revocations
from tests.tls.handshakes import Handshake, client_context, handshake

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import TestCertificates

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def authority(tmp_path: Path) -> ClientAuthority:
    return ClientAuthority(tmp_path)


class Site:
    """A context that asks, and clients for it."""

    def __init__(
        self, certificates: TestCertificates, authorities: Path, revocations: Path | None = None, *,
        required: bool = True, forgiving: bool = False,
    ) -> None:  # fmt: skip
        trust = ClientTrust(required, authorities, revocations, "site[0]")
        self.certificates = certificates
        self.context = server_context(INTERMEDIATE, [certificates.pair], clients=trust, forgiving=forgiving)

    def open(
        self,
        client: Credentials | None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        session: ssl.SSLSession | None = None,
    ) -> Handshake:
        return self.open_with(self.client(client, version), session)

    def client(self, client: Credentials | None, version: ssl.TLSVersion) -> ssl.SSLContext:
        context = client_context(self.certificates.ca)
        context.maximum_version = version
        if client is not None:
            context.load_cert_chain(client.path)
        return context

    def open_with(self, client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Handshake:
        return handshake(self.context, client, session=session)

    def refuses(self, client: Credentials | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
        """Why; what the server says, or the alert that the client got."""
        with pytest.raises(ssl.SSLError) as caught:
            self.open(client, version)
        error = caught.value
        return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason or ""


# Good clients.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("usage", [ExtendedKeyUsageOID.CLIENT_AUTH, None])
def test_a_good_client_is_let_in_and_known(
    certificates: TestCertificates, authority: ClientAuthority, version: ssl.TLSVersion, usage: Any
) -> None:
    alice = authority.issue("alice", usage=usage)
    for required in (True, False):
        site = Site(certificates, authority.path, required=required)
        assert site.open(alice, version).server.getpeercert(binary_form=True) == alice.der


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_certificate(
    certificates: TestCertificates, authority: ClientAuthority, version: ssl.TLSVersion
) -> None:
    """Required: the alert of the version; TLS 1.3 has one of its own (certificate_required)."""
    optional = Site(certificates, authority.path, required=False)
    assert optional.open(None, version).server.getpeercert(binary_form=True) is None
    required = Site(certificates, authority.path)
    assert required.refuses(None, version) == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def test_an_intermediate_can_be_believed_alone(certificates: TestCertificates, authority: ClientAuthority) -> None:
    ours = ClientAuthority(authority.directory, "Ours", authority)
    other = ClientAuthority(authority.directory, "Other", authority)
    site = Site(certificates, ours.path)
    site.open(ours.issue("alice"))
    assert site.refuses(other.issue("mallory", above=[other.certificate, authority.certificate]))
    assert site.refuses(authority.issue("mallory"))


def test_a_chain_may_be_sent_and_a_list_of_each_authority_is_needed(
    certificates: TestCertificates, authority: ClientAuthority
) -> None:
    below = ClientAuthority(authority.directory, "Below", authority)
    alice = below.issue("alice", above=[below.certificate])
    Site(certificates, authority.path).open(alice)
    path = authority.directory / "clients.crl"
    site = Site(certificates, authority.path, write_revocations(path, authority.revoke()))
    assert site.refuses(alice) == "unable to get certificate CRL"
    site = Site(certificates, authority.path, write_revocations(path, authority.revoke(), below.revoke()))
    site.open(alice)
    site = Site(certificates, authority.path, write_revocations(path, authority.revoke(below), below.revoke()))
    assert site.refuses(alice) == "certificate revoked"


# Bad clients: refused whether a certificate is required or not.


def bad_client(kind: str, authority: ClientAuthority) -> Credentials:
    stranger = ClientAuthority(authority.directory, "Stranger")
    impostor = ClientAuthority(authority.directory / "impostor", authority.name)
    old = ClientAuthority(authority.directory, "Old", authority, not_after=datetime.now(UTC) - DAY)
    leaf = authority.issue("leaf")
    makers = {
        "unknown authority": lambda: stranger.issue("alice", above=[stranger.certificate]),
        "authority of the same name": lambda: impostor.issue("alice", above=[impostor.certificate]),
        "self-signed": lambda: authority.issue("alice", self_signed=True),
        "expired": lambda: authority.issue("alice", age=20 * DAY, days=10),
        "not yet valid": lambda: authority.issue("alice", age=-2 * DAY),
        "for servers only": lambda: authority.issue("alice", usage=ExtendedKeyUsageOID.SERVER_AUTH),
        "signed by a leaf": lambda: _signed_by_leaf(authority, leaf),
        "expired intermediate": lambda: old.issue("alice", above=[old.certificate]),
        "revoked": lambda: leaf,
    }
    return makers[kind]()


def _signed_by_leaf(authority: ClientAuthority, leaf: Credentials) -> Credentials:
    """By a certificate that is good, but not that of an authority."""
    below = ClientAuthority(authority.directory, "leaf", authority)
    below.certificate = leaf.certificate
    below.key = leaf.key
    return below.issue("alice", above=[leaf.certificate])


BAD = {
    "unknown authority": "self-signed certificate in certificate chain",
    "authority of the same name": "certificate signature failure",
    "self-signed": "self-signed certificate",
    "expired": "certificate has expired",
    "not yet valid": "certificate is not yet valid",
    "for servers only": "unsuitable certificate purpose",
    "signed by a leaf": "invalid CA certificate",
    "expired intermediate": "certificate has expired",
    "revoked": "certificate revoked",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_client_is_refused(
    certificates: TestCertificates, authority: ClientAuthority, kind: str, version: ssl.TLSVersion
) -> None:
    client = bad_client(kind, authority)
    path = None
    if kind == "revoked":
        path = write_revocations(authority.directory / "clients.crl", authority.revoke(client))
    for required in (True, False):
        site = Site(certificates, authority.path, path, required=required)
        assert site.refuses(client, version) == BAD[kind]


def test_a_chain_of_many_certificates_is_refused(certificates: TestCertificates, authority: ClientAuthority) -> None:
    lowest = authority
    above: list[x509.Certificate] = []
    for number in range(120):
        lowest = ClientAuthority(authority.directory, f"Below {number}", lowest)
        above.insert(0, lowest.certificate)
    client = lowest.issue("alice", above=above)
    assert Site(certificates, authority.path).refuses(client) in (
        "certificate chain too long", "unable to get issuer certificate", "unable to get local issuer certificate",
    )  # fmt: skip


# Lists that are not to be believed: everybody is refused.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("age", "days", "why"),
    [(10 * DAY, 5, "CRL has expired"), (-2 * DAY, 5, "CRL is not yet valid")],
)
def test_a_list_out_of_its_time_lets_nobody_in(
    certificates: TestCertificates,
    authority: ClientAuthority,
    version: ssl.TLSVersion,
    age: timedelta,
    days: int,
    why: str,
) -> None:
    path = write_revocations(authority.directory / "clients.crl", authority.revoke(age=age, days=days))
    alice = authority.issue("alice")
    assert Site(certificates, authority.path, path).refuses(alice, version) == why
    optional = Site(certificates, authority.path, path, required=False)
    assert optional.refuses(alice, version) == why
    optional.open(None, version)


def test_a_list_that_somebody_else_signed_lets_nobody_in(
    certificates: TestCertificates, authority: ClientAuthority
) -> None:
    impostor = ClientAuthority(authority.directory / "impostor", authority.name)
    path = write_revocations(authority.directory / "clients.crl", impostor.revoke())
    assert Site(certificates, authority.path, path).refuses(authority.issue("alice")) == "CRL signature failure"


@pytest.mark.parametrize(
    "content", [None, b"", b"not a list\n", b"\x30\x03\x02\x01\x01", "cut", "certificate", "folder"]
)
def test_a_list_that_cannot_be_read(
    certificates: TestCertificates, authority: ClientAuthority, content: bytes | str | None
) -> None:
    """It is a fault; and if the server has to go on with it, nobody is let in."""
    path = authority.directory / "clients.crl"
    whole = authority.revoke().public_bytes(Encoding.PEM)
    if content == "folder":
        path.mkdir()
    elif content is not None:
        texts = {"cut": whole + whole[:-40], "certificate": authority.pem}
        path.write_bytes(texts[content] if isinstance(content, str) else content)
    with pytest.raises(CertificateError) as caught:
        Site(certificates, authority.path, path)
    assert caught.value.where == str(path)
    alice = authority.issue("alice")
    site = Site(certificates, authority.path, path, forgiving=True)
    assert site.refuses(alice) == "unable to get certificate CRL"
    optional = Site(certificates, authority.path, path, forgiving=True, required=False)
    assert optional.refuses(alice) == "unable to get certificate CRL"
    optional.open(None)


def test_a_list_may_be_der(certificates: TestCertificates, authority: ClientAuthority) -> None:
    alice, bob = authority.issue("alice"), authority.issue("bob")
    path = authority.directory / "clients.crl"
    site = Site(certificates, authority.path, write_revocations(path, authority.revoke(bob), encoding=Encoding.DER))
    site.open(alice)
    assert site.refuses(bob) == "certificate revoked"


@pytest.mark.parametrize("content", [None, b"", b"junk", "list", "cut", "key"])
def test_authorities_that_cannot_be_read_are_a_fault_always(
    certificates: TestCertificates, authority: ClientAuthority, content: bytes | str | None
) -> None:
    path = authority.directory / "authorities.pem"
    texts = {
        "list": authority.revoke().public_bytes(Encoding.PEM),
        "cut": authority.pem + authority.pem[:-40],
        "key": authority.issue("alice").path.read_bytes(),
    }
    if content is not None:
        path.write_bytes(texts[content] if isinstance(content, str) else content)
    for forgiving in (False, True):
        with pytest.raises(CertificateError) as caught:
            Site(certificates, path, forgiving=forgiving)
        assert caught.value.where == str(path)
        assert "PRIVATE" not in str(caught.value)


def test_a_fifo_does_not_hold_us(authority: ClientAuthority) -> None:
    path = authority.directory / "fifo"
    os.mkfifo(path)
    with pytest.raises(CertificateError, match="is not a file"):
        read_revocations(path)


def test_the_authorities_whose_list_is_missing_are_named(authority: ClientAuthority) -> None:
    below = ClientAuthority(authority.directory, "Below", authority)
    bundle = authority.directory / "both.pem"
    bundle.write_bytes(authority.pem + below.pem)
    path = authority.directory / "clients.crl"
    authorities = read_authorities(bundle)
    assert [one.shown for one in authorities.certificates] == ["CN=Clients CA", "CN=Below"]
    lists = read_revocations(write_revocations(path, authority.revoke()))
    assert without_list(authorities, lists) == ["CN=Below"]
    lists = read_revocations(write_revocations(path, authority.revoke(), below.revoke()))
    assert without_list(authorities, lists) == []


def test_a_certificate_among_the_lists_is_not_trusted_for_it(
    certificates: TestCertificates, authority: ClientAuthority
) -> None:
    """OpenSSL loads both kinds from one file; whoever may publish lists must not name authorities."""
    stranger = ClientAuthority(authority.directory, "Stranger")
    path = write_revocations(authority.directory / "clients.crl", authority.revoke(), stranger.revoke())
    path.write_bytes(path.read_bytes() + stranger.pem)
    site = Site(certificates, authority.path, path)
    site.open(authority.issue("alice"))
    assert site.refuses(stranger.issue("mallory")) == "unable to get local issuer certificate"


def test_an_old_list_beside_the_new_one(certificates: TestCertificates, authority: ClientAuthority) -> None:
    alice, bob = authority.issue("alice"), authority.issue("bob")
    old, new = authority.revoke(age=10 * DAY), authority.revoke(bob)
    path = authority.directory / "clients.crl"
    for lists in ((old, new), (new, old)):
        site = Site(certificates, authority.path, write_revocations(path, *lists))
        site.open(alice)
        assert site.refuses(bob) == "certificate revoked"
        [latest] = read_revocations(path).latest()
        assert latest.next_update == new.next_update_utc


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_are_faults_and_nothing_else(data: st.DataObject, damaged: tuple[Path, bytes, bytes]) -> None:
    path, *kinds = damaged
    for kind, label in zip(kinds, (b"CERTIFICATE", b"X509 CRL"), strict=True):
        der = bytearray(kind)
        for _ in range(data.draw(st.integers(1, 3))):
            der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, base64.encodebytes(der), label))
        with contextlib.suppress(CertificateError):
            assert (read_authorities(path) if label == b"CERTIFICATE" else read_revocations(path)).latest()


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    """A file to write to, and the DER of an authority and of a list."""
    directory = tmp_path_factory.mktemp("damaged")
    authority = ClientAuthority(directory)
    revocations = authority.revoke(authority.issue("alice")).public_bytes(Encoding.DER)
    return directory / "damaged.pem", authority.certificate.public_bytes(Encoding.DER), revocations


# Sessions.


def test_tls_1_3_gives_no_tickets(certificates: TestCertificates, authority: ClientAuthority) -> None:
    site = Site(certificates, authority.path)
    client = site.client(authority.issue("alice"), ssl.TLSVersion.TLSv1_3)
    first = site.open_with(client)
    assert first.client.session is None or not first.client.session.has_ticket
    assert not site.open_with(client, first.client.session).server.session_reused


def test_a_resumed_session_has_the_certificate_that_it_was_opened_with(
    certificates: TestCertificates, authority: ClientAuthority
) -> None:
    alice = authority.issue("alice")
    for required in (True, False):
        site = Site(certificates, authority.path, required=required)
        client = site.client(alice, ssl.TLSVersion.TLSv1_2)
        first = site.open_with(client)
        again = site.open_with(client, first.client.session)
        assert again.server.session_reused
        assert again.server.getpeercert(binary_form=True) == alice.der
    anonymous = site.client(None, ssl.TLSVersion.TLSv1_2)
    session = site.open_with(anonymous).client.session
    resumed = site.open_with(anonymous, session)
    assert resumed.server.session_reused
    assert resumed.server.getpeercert(binary_form=True) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_another_site_is_worth_nothing(
    certificates: TestCertificates, authority: ClientAuthority, version: ssl.TLSVersion
) -> None:
    """CVE-2025-23419: begun where nobody asks, or where others vouch, and resumed where a certificate is required."""
    stranger = ClientAuthority(authority.directory, "Stranger")
    required = Site(certificates, authority.path)
    optional = Site(certificates, authority.path, required=False)
    strange = Site(certificates, stranger.path)
    for other, credentials in ((optional, None), (strange, stranger.issue("alice"))):
        client = other.client(credentials, version)
        session = other.open_with(client).client.session
        with pytest.raises(ssl.SSLError):
            required.open_with(client, session)
    nobody = client_context(certificates.ca)
    nobody.maximum_version = version
    session = handshake(server_context(INTERMEDIATE, [certificates.pair]), nobody).client.session
    assert session is not None
    with pytest.raises(ssl.SSLError):
        required.open_with(nobody, session)


def test_a_session_does_not_outlive_a_new_list(certificates: TestCertificates, authority: ClientAuthority) -> None:
    """New contexts are made when the list changes; tickets of the old ones are worth nothing there."""
    alice = authority.issue("alice")
    path = write_revocations(authority.directory / "clients.crl", authority.revoke())
    before = Site(certificates, authority.path, path)
    client = before.client(alice, ssl.TLSVersion.TLSv1_2)
    session = before.open_with(client).client.session
    write_revocations(path, authority.revoke(alice))
    with pytest.raises(ssl.SSLError):
        Site(certificates, authority.path, path).open_with(client, session)
