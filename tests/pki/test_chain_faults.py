"""The report of `certs inspect`, held against what OpenSSL says of the same chains where it has a say."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings, strategies as st

from securelight.model.errors import CertificateError
from securelight.pki import Authority, Issued
from securelight.pki.chain_facts import facts_of, load_chain
from securelight.pki.chain_faults import chain_faults
from securelight.pki.identities import UNREADABLE
from securelight.pki.issue import Wish, issue
from securelight.pki.signer import Signer, authority_name, sign_authority
from tests.tls.handshakes import handshake

NOW = datetime.now(UTC)


class StolenAuthority(Authority):
    """In the hands of somebody who does not keep to our rules."""

    __slots__ = ()

    def permits(self, name: str) -> bool:
        return True


def said(issued: Issued, authority: Authority | None, host: str | None = "a.test") -> str:
    """All faults in one text, each with who minds."""
    chain = [issued.certificate, *issued.above]
    roots = [authority.certificate] if authority is not None else []
    return "\n".join(f"{fault.clients} {fault.what}" for fault in chain_faults(chain, host, NOW, roots))


def openssl_accepts(issued: Issued, authority: Authority | None, host: str = "a.test") -> bool:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    issued.configure(server)
    if authority is not None:
        authority.trust(client)
    try:
        handshake(server, client, host)
    except ssl.SSLError:
        return False
    return True


def test_a_good_chain_has_no_faults(authority: Authority) -> None:
    issued = authority.issue("a.test", "10.0.0.1")
    assert said(issued, authority) == ""
    assert openssl_accepts(issued, authority)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": ("b.test",)}, "it is not for a.test; it is for b.test"),
        ({"not_after": NOW - timedelta(days=1)}, "a.test expired on"),
        ({"not_before": NOW + timedelta(days=1)}, "is not valid before"),
        ({"client": True}, "is not for servers"),
    ],
)
def test_what_all_clients_refuse(change: dict[str, Any], words: str, authority: Authority) -> None:
    issued = issue(authority, replace(Wish(("a.test",)), **change))
    assert f"('browsers', 'curl', 'Python') {words}" in said(issued, authority) or words in said(issued, authority)
    assert not openssl_accepts(issued, authority)


def test_an_authority_that_nobody_knows_or_that_is_missing(authority: Authority) -> None:
    issued = authority.issue("a.test")
    assert "is neither in the chain nor trusted here: securelight local CA" in said(issued, None)
    alone = replace(issued, above=())
    assert "is neither in the chain nor trusted here: securelight local intermediate" in said(alone, authority)
    whole = replace(issued, above=(*issued.above, authority.certificate))
    assert "its root is not one that this machine trusts" in said(whole, None)
    for one, knows in ((issued, None), (alone, authority), (whole, None)):
        assert not openssl_accepts(one, knows)


def test_a_chain_of_another_authority(authority: Authority) -> None:
    """The intermediate has the name that the leaf asks for, and another key."""
    assert authority.intermediate is not None
    issued, other = authority.issue("a.test"), Authority()
    name = authority.intermediate.certificate.subject
    key = other.issuer.signing_key()
    life = (NOW, timedelta(days=9))
    forged = sign_authority(key, name, other.root, None, life, path_length=0)
    chain = replace(issued, above=(forged,))
    assert "is not by the key of securelight local intermediate" in said(chain, other)
    assert not openssl_accepts(chain, other)


def test_names_outside_of_the_constraints(authority: Authority) -> None:
    stolen = StolenAuthority.of(authority.root, authority.intermediate, None, created=False)
    issued = issue(stolen, Wish(("www.example.com",)))
    assert "www.example.com is outside of what securelight local intermediate" in said(
        issued, authority, "www.example.com"
    )
    assert not openssl_accepts(issued, authority, "www.example.com")


def test_a_leaf_cannot_sign(authority: Authority) -> None:
    leaf = authority.issue("b.test")
    false = Signer(leaf.certificate, leaf.key)
    issued = issue(StolenAuthority.of(authority.root, false, None, created=False), Wish(("a.test",)))
    issued = replace(issued, above=(leaf.certificate, *leaf.above))
    text = said(issued, authority)
    assert "b.test is not an authority's (basicConstraints)" in text
    assert "b.test may not sign certificates" in text
    assert not openssl_accepts(issued, authority)


def test_a_path_that_is_too_long(authority: Authority) -> None:
    key = authority.issuer.signing_key()
    name = authority_name(key, "one too many", NOW)
    extra = sign_authority(key, name, authority.issuer, None, (NOW, timedelta(days=9)), path_length=0)
    issued = issue(StolenAuthority.of(authority.root, Signer(extra, key), None, created=False), Wish(("a.test",)))
    issued = replace(issued, above=(extra, authority.issuer.certificate))
    assert "allows 0 authorities below it; there are 1" in said(issued, authority)
    assert not openssl_accepts(issued, authority)


def test_a_disorderly_chain_is_noted_and_nobody_minds(authority: Authority) -> None:
    issued = authority.issue("a.test")
    stray = Authority().certificate
    assert "() 1 of the certificates are not part of the chain" in said(
        replace(issued, above=(*issued.above, stray)), authority
    )
    assert "() the certificates are not in order" in said(replace(issued, above=(stray, *issued.above)), authority)


def test_what_only_some_mind(authority: Authority) -> None:
    assert "('browsers',) a.test has an Edwards-curve key" in said(
        authority.issue("a.test", key_type="ed25519"), authority
    )
    assert "Apple accepts 825" in said(authority.issue("a.test", days=900), authority)


def test_facts_name_everything(authority: Authority) -> None:
    issued = authority.issue("a.test", "spiffe://a.test/x", "10.0.0.1", "alice@a.test")
    leaf, above = facts_of(issued.certificate, "x"), facts_of(issued.above[0], "x")
    assert leaf.names == ("a.test", "spiffe://a.test/x", "10.0.0.1", "alice@a.test")
    assert (leaf.key_type, leaf.is_ca, leaf.extended_key_usage) == ("ECDSA P-256", False, ("serverAuth",))
    assert (above.is_ca, above.path_length) == (True, 0)
    assert above.permitted is not None
    assert "home.arpa" in above.permitted


def test_log_proofs_are_read() -> None:
    """A list of one SCT (RFC 6962, section 3.3), as public authorities put it into certificates."""
    key = ec.generate_private_key(ec.SECP256R1())
    sct = b"\0" + bytes(range(32)) + (1_700_000_000_000).to_bytes(8) + b"\0\0" + b"\x04\x03\0\x04abcd"
    tls_list = (len(sct) + 2).to_bytes(2) + len(sct).to_bytes(2) + sct
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "public")])
    extension = x509.UnrecognizedExtension(
        x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), b"\x04" + bytes([len(tls_list)]) + tls_list
    )
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        .not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1)).add_extension(extension, critical=False)
        .sign(key, SHA256())
    )  # fmt: skip
    [proof] = facts_of(certificate, "x").log_proofs
    assert proof.log == bytes(range(32)).hex()
    assert int(proof.at.replace(tzinfo=UTC).timestamp()) == 1_700_000_000


@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x03\x02\x01\x01"])
def test_what_is_no_certificate_is_one_error(content: bytes) -> None:
    with pytest.raises(CertificateError, match=r"file\.pem"):
        load_chain(content, "file.pem")


def test_a_chain_of_too_many_is_refused(authority: Authority) -> None:
    with pytest.raises(CertificateError, match="101 certificates"):
        load_chain(authority.certificate_pem * 101, "file.pem")


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_chain_is_reported_or_refused(changes: list[tuple[int, int]]) -> None:
    der = bytearray(DAMAGED_DER)
    for at, value in changes:
        der[at % len(der)] = value
    # Anything but these is a failure of this test.
    with contextlib.suppress(CertificateError, *UNREADABLE):
        certificate = load_chain(bytes(der), "x")[0]
        facts_of(certificate, "x")
        chain_faults([certificate, *DAMAGED.above], "a.test", NOW, [])


DAMAGED = Authority().issue("a.test")
DAMAGED_DER = ssl.PEM_cert_to_DER_cert(DAMAGED.certificate_pem.decode())
