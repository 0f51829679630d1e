from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from securelight.model.errors import CertificateError
from securelight.pki.authority import Authority, ensure_authority
from securelight.pki.identities import MAXIMUM_NAMES
from securelight.pki.issue import Wish, issue
from securelight.pki.leaf import LEAF_DAYS, Leaf, ensure_leaf
from tests.tls.handshakes import client_context, handshake


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return ensure_authority(tmp_path)


def ensure(authority: Authority, *names: str, now: datetime | None = None) -> Leaf:
    directory = authority.certificate_path.parent
    return ensure_leaf(authority, directory / "leaf.pem", directory / "leaf.key", names, now)


def days(count: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=count)


def test_a_leaf_is_for_servers_and_short_lived(authority: Authority) -> None:
    leaf = ensure(authority, "localhost", "127.0.0.1", "*.a.test").certificate
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(days=397)
    extensions = leaf.extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    issuer = authority.issuer.certificate
    root_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == root_key
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    leaf.verify_directly_issued_by(issuer)


def test_a_leaf_that_will_do_is_kept(authority: Authority) -> None:
    first = ensure(authority, "localhost", "a.test")
    assert stat.S_IMODE(first.key_path.stat().st_mode) == 0o600
    before = first.chain_path.stat(), first.key_path.stat()
    second = ensure(authority, "a.test")
    assert (first.created, second.created) == (True, False)
    assert (second.chain_path.stat(), second.key_path.stat()) == before


@pytest.mark.parametrize(
    ("age", "renewed"),
    [(0, False), (LEAF_DAYS * 0.6, False), (LEAF_DAYS * 0.7, True), (LEAF_DAYS + 1, True), (-2, True)],
)
def test_it_is_renewed_with_a_third_of_its_life_left(age: float, renewed: bool, authority: Authority) -> None:
    ensure(authority, "localhost")
    assert ensure(authority, "localhost", now=days(age)).created is renewed


def test_a_missing_name_makes_a_new_one_that_keeps_the_others(authority: Authority) -> None:
    ensure(authority, "localhost", "a.test")
    assert ensure(authority, "localhost", "b.test").names == ("localhost", "b.test", "a.test")
    assert not ensure(authority, "a.test", "b.test").created


def test_what_is_not_ours_or_does_not_match_is_replaced(authority: Authority, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = ensure(ensure_authority(other), "localhost")
    leaf = ensure(authority, "localhost")
    for spoil in (
        lambda: leaf.chain_path.write_bytes(b"rubbish"),
        lambda: leaf.chain_path.write_bytes(stranger.chain_path.read_bytes()),
        lambda: leaf.key_path.write_bytes(stranger.key_path.read_bytes()),
        leaf.key_path.unlink,
        leaf.chain_path.unlink,
    ):
        spoil()
        assert ensure(authority, "localhost").created
        assert not ensure(authority, "localhost").created


def test_without_the_authoritys_key_a_good_leaf_is_used_and_none_made(authority: Authority) -> None:
    ensure(authority, "localhost")
    authority.key_path.unlink()
    (authority.key_path.parent / "intermediate.key").unlink()
    bare = ensure_authority(authority.key_path.parent)
    assert not ensure(bare, "localhost").created
    with pytest.raises(CertificateError, match="is missing, so nothing can be signed"):
        ensure(bare, "new.test")


@pytest.mark.parametrize("name", ["example.com", "*.com", "8.8.8.8"])
def test_names_on_the_internet_are_refused(name: str, authority: Authority) -> None:
    with pytest.raises(CertificateError, match="is not a local name"):
        ensure(authority, "localhost", name)


def test_the_number_of_names_is_bounded(authority: Authority) -> None:
    many = [f"n{number}.test" for number in range(MAXIMUM_NAMES)]
    assert len(ensure(authority, *many).names) == MAXIMUM_NAMES
    assert len(ensure(authority, "localhost", *many[:-1]).names) == MAXIMUM_NAMES
    with pytest.raises(CertificateError, match="101 names"):
        ensure(authority, "localhost", *many)


def test_long_names_fit(authority: Authority) -> None:
    name = ".".join(["a" * 60] * 3) + ".test"
    assert ensure(authority, name).names == (name,)


class StolenAuthority(Authority):
    """In the hands of somebody who does not keep to our rules."""

    __slots__ = ()

    def permits(self, name: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("www.a.test", True),
        ("192.168.7.7", True),
        ("fd00::7", True),
        ("www.example.com", False),
        ("8.8.8.8", False),
        ("2001:db8::1", False),
    ],
)
def test_what_a_thief_of_the_key_signs_for_the_internet_is_refused_by_clients(
    name: str, accepted: bool, authority: Authority
) -> None:
    stolen = StolenAuthority.of(authority.root, authority.intermediate, None, created=False)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issue(stolen, Wish((name,))).configure(server)
    client = client_context(authority.certificate_path)
    if accepted:
        handshake(server, client, name)
    else:
        with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
            handshake(server, client, name)
