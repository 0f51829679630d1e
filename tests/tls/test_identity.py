from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from securelight.model.errors import CertificateError, ConfigError
from securelight.tls import identity
from securelight.tls.client_hello import ClientHello
from securelight.tls.identity import IdentityTable, TlsSite, alpn_fits, build_identities
from tests.certificates import TestCertificates, make_test_certificates
from tests.tls.handshakes import certificate_of, client_context, handshake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TestCertificates]:
    directory = tmp_path_factory.mktemp("identity") / "certs"
    return {
        stem: make_test_certificates(directory, [f"{stem}.test"], stem=stem) for stem in ("first", "second", "third")
    }


def site(pair: TestCertificates, *hosts: str, policy: str = "intermediate") -> TlsSite:
    return TlsSite(hosts, policy, (pair.pair,), f"site {hosts}")


def who(table: IdentityTable, server_name: str, pairs: dict[str, TestCertificates]) -> str:
    """The stem of the certificate that a client is shown."""
    client = client_context(pairs["first"].ca)
    client.check_hostname = False
    shown = certificate_of(handshake(table.select(server_name), client, server_name or None))
    return next(stem for stem, pair in pairs.items() if ssl.PEM_cert_to_DER_cert(pair.chain.read_text()) == shown)


@pytest.mark.parametrize(
    ("server_name", "shown"),
    [
        ("first.test", "first"),
        ("www.second.test", "second"),
        ("a.b.second.test", "second"),
        ("special.second.test", "third"),
        ("a.special.second.test", "third"),
        ("second.test", "first"),  # a wildcard does not stand for its own suffix
        ("xsecond.test", "first"),
        ("unknown.example", "first"),
        ("", "first"),
        ("192.0.2.7", "third"),
    ],
)
def test_the_closest_name_wins_and_the_first_site_is_the_default(
    server_name: str, shown: str, pairs: dict[str, TestCertificates]
) -> None:
    table = build_identities(
        [
            site(pairs["first"], "first.test"),
            site(pairs["second"], "*.second.test"),
            site(pairs["third"], "special.second.test", "*.special.second.test", "192.0.2.7"),
        ]
    )
    assert who(table, server_name, pairs) == shown


def test_a_star_takes_what_nobody_has(pairs: dict[str, TestCertificates]) -> None:
    table = build_identities([site(pairs["first"], "first.test"), site(pairs["second"], "*")])
    assert who(table, "unknown.example", pairs) == "second"
    assert who(table, "", pairs) == "second"
    assert who(table, "first.test", pairs) == "first"
    assert table.knows("unknown.example")


def test_unknown_names_are_told(pairs: dict[str, TestCertificates]) -> None:
    table = build_identities([site(pairs["first"], "First.test.", "*.sub.test")])
    assert table.knows("first.test")
    assert table.knows("a.sub.test")
    assert table.knows("")
    assert not table.knows("sub.test")
    assert not table.knows("other.test")


def test_patterns_of_the_same_certificates_and_policy_share_a_context(pairs: dict[str, TestCertificates]) -> None:
    table = build_identities(
        [
            site(pairs["first"], "*.a.test"),
            site(pairs["first"], "*.b.test"),
            site(pairs["first"], "*.c.test", policy="modern"),
            site(pairs["second"], "*.d.test"),
        ]
    )
    assert table.select("x.a.test") is table.select("x.b.test") is table.select("")
    assert len({id(table.select(f"x.{name}.test")) for name in "abcd"}) == 3
    assert table.pairs == (pairs["first"].pair, pairs["second"].pair)


def resumes(table: IdentityTable, made_for: str, offered_for: str, version: ssl.TLSVersion) -> bool:
    """Whether a session that was made for one name is resumed for another, or the same."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    session = handshake(table.select(made_for), client, made_for).client.session
    assert session is not None
    return bool(handshake(table.select(offered_for), client, offered_for, session).client.session_reused)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_worth_nothing_for_another_name(
    version: ssl.TLSVersion, pairs: dict[str, TestCertificates]
) -> None:
    """RFC 6066, section 3; CVE-2025-23419."""
    table = build_identities([site(pairs["first"], "a.test", "b.test", "*.c.test"), site(pairs["first"], "d.test")])
    for name in ("a.test", "b.test", "d.test"):
        assert resumes(table, name, name, version)
        for other in {"a.test", "b.test", "d.test", "x.c.test", "unknown.test"} - {name}:
            assert not resumes(table, name, other, version)
            assert not resumes(table, other, name, version)


def test_names_beyond_the_bound_share_a_context(
    pairs: dict[str, TestCertificates], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "CONTEXTS_OF_NAMES", 2)
    table = build_identities([site(pairs["first"], "a.test", "b.test", "c.test", "d.test")])
    assert table.select("c.test") is table.select("d.test") is table.select("unknown.test")
    assert len({id(table.select(f"{name}.test")) for name in "abcd"}) == 3


def test_each_site_has_its_own_policy(pairs: dict[str, TestCertificates]) -> None:
    table = build_identities([site(pairs["first"], "a.test"), site(pairs["first"], "strict.test", policy="modern")])
    client = client_context(pairs["first"].ca)
    client.check_hostname = False
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    handshake(table.select("a.test"), client)
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(table.select("strict.test"), client)


def test_a_new_pair_is_shown_by_every_context_that_had_the_old_one(tmp_path: Path) -> None:
    old = make_test_certificates(tmp_path / "certs", ["a.test"], stem="old")
    new = make_test_certificates(tmp_path / "certs", ["a.test"], stem="new")
    other = make_test_certificates(tmp_path / "certs", ["a.test"], stem="other")
    table = build_identities([site(old, "a.test"), site(old, "b.test", policy="modern"), site(other, "c.test")])
    contexts = [table.select(f"{name}.test") for name in "abc"]
    table.replace(old.pair, new.chain.read_bytes(), new.key.read_bytes())
    now = {"first": old, "new": new, "other": other}
    assert [who(table, f"{name}.test", now) for name in "abc"] == ["new", "new", "other"]
    assert [table.select(f"{name}.test") for name in "abc"] == contexts


def test_a_name_of_two_sites_is_refused(pairs: dict[str, TestCertificates]) -> None:
    with pytest.raises(ConfigError, match="belongs to") as caught:
        build_identities([site(pairs["first"], "a.test"), site(pairs["second"], "b.test", "A.test")])
    assert caught.value.where == "site ('b.test', 'A.test')"


def test_what_cannot_be_served_is_refused(pairs: dict[str, TestCertificates], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no site"):
        build_identities([])
    with pytest.raises(ConfigError, match="modern, intermediate"):
        build_identities([site(pairs["first"], "a.test", policy="ancient")])
    with pytest.raises(CertificateError, match="no certificate"):
        build_identities([TlsSite(("a.test",), "modern", (), "site[0]")])
    with pytest.raises(CertificateError, match="No such file"):
        build_identities([TlsSite(("a.test",), "modern", ((tmp_path / "no.pem", tmp_path / "no.key"),), "site[0]")])


@pytest.mark.parametrize(
    ("offered", "fits"),
    [
        ((), True),
        ((b"h2",), True),
        ((b"http/1.1",), True),
        ((b"\x0a\x0a", b"spdy/3", b"http/1.1"), True),
        ((b"ftp",), False),
        ((b"smtp", b"imap"), False),
        ((b"H2",), False),
        ((b"http/1.0",), True),
        ((b"http/0.9",), False),
        ((b"acme-tls/1",), False),
    ],
)
def test_clients_of_other_protocols_do_not_fit(offered: tuple[bytes, ...], fits: bool) -> None:
    assert alpn_fits(ClientHello("a.test", offered, (0x0304,))) is fits
