"""Every certificate that the lab shows has the fault that its case says, as it came over the wire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from securelight.lab.catalogue import OFFERED
from tests.lab.running import BY_ID, RunningLab, Served, dialogue, permissive, s_client, served_chain

FAMILIES = ("good", "dates", "names", "chains", "signatures")
RARE_CURVES = {"signatures/p-224": "P-224", "signatures/secp256k1": "secp256k1",
               "signatures/brainpool": "brainpoolP256r1"}  # fmt: skip
NOT_BY_CHAIN = {"signatures/key-mismatch", *RARE_CURVES}

UTC_NOW = datetime.now(UTC)
DAY = timedelta(days=1)
Look = Callable[[Served], bool]


def extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    return certificate.extensions.get_extension_for_class(kind)


def has(certificate: x509.Certificate, kind: type[Any]) -> bool:
    try:
        extension(certificate, kind)
    except x509.ExtensionNotFound:
        return False
    return True


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError):
        return False
    return True


def usages(certificate: x509.Certificate) -> set[Any]:
    return set(extension(certificate, x509.ExtendedKeyUsage).value)


def hash_name(certificate: x509.Certificate) -> str:
    found = certificate.signature_hash_algorithm
    return found.name if found is not None else ""


def rsa_key(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def curve(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.curve.name


def days(served: Served) -> float:
    return (served.leaf.not_valid_after_utc - served.leaf.not_valid_before_utc) / DAY


def right(served: Served) -> bool:
    """What is not the fault is right: dates, and the signature by what follows."""
    leaf = served.leaf
    return leaf.not_valid_before_utc < UTC_NOW < leaf.not_valid_after_utc and (
        len(served.certificates) == 1 or signed_by(leaf, served.issuer)
    )


def named(*names: str) -> Look:
    return lambda served: right(served) and served.names == list(names)


def no_san(served: Served) -> bool:
    return not has(served.leaf, x509.SubjectAlternativeName)


def count(number: int) -> Look:
    return lambda served: len(served.names) == number and served.names[-1] == served.case.host_name


LOOKS: dict[str, Look] = {
    "good/ecdsa": lambda s: right(s) and curve(s.leaf) == "secp256r1",
    "good/rsa": lambda s: right(s) and rsa_key(s.leaf).key_size == 2048,
    "good/wildcard": named("*.good-wildcard.localhost"),
    "good/ip-address": named("127.0.0.1"),
    "good/direct": lambda s: right(s) and len(s.certificates) == 1,
    "good/no-common-name": lambda s: right(s) and not list(s.leaf.subject),
    "good/idn": named("xn--mnchen-3ya.localhost"),
    "good/sha384": lambda s: right(s) and hash_name(s.leaf) == "sha384",
    "good/sha512-rsa": lambda s: right(s) and hash_name(s.leaf) == "sha512",
    "dates/expired": lambda s: timedelta(0) < UTC_NOW - s.leaf.not_valid_after_utc < 2 * DAY,
    "dates/just-expired": lambda s: s.leaf.not_valid_after_utc < datetime.now(UTC),
    "dates/expired-long-ago": lambda s: s.leaf.not_valid_after_utc.year == 1999,
    "dates/not-yet-valid": lambda s: s.leaf.not_valid_before_utc > UTC_NOW + 300 * DAY,
    "dates/begins-tomorrow": lambda s: timedelta(0) < s.leaf.not_valid_before_utc - UTC_NOW < 2 * DAY,
    "dates/reversed": lambda s: days(s) < 0,
    "dates/too-long": lambda s: right(s) and days(s) > 3000,
    "dates/over-398-days": lambda s: right(s) and 398 < days(s) < 600,
    "dates/no-expiry": lambda s: b"99991231235959Z" in s.leaf_der,
    "dates/wrong-encoding": lambda s: right(s) and s.leaf_der.count(b"\x18\x0f20") == 2,
    "dates/not-a-date": lambda s: b"20991332000000Z" in s.leaf_der,
    "dates/expired-intermediate": lambda s: right(s) and s.issuer.not_valid_after_utc < UTC_NOW,
    "dates/future-intermediate": lambda s: right(s) and s.issuer.not_valid_before_utc > UTC_NOW,
    "dates/leaf-outlives-intermediate":
        lambda s: right(s) and s.leaf.not_valid_after_utc > s.issuer.not_valid_after_utc > UTC_NOW,
    "names/wrong-host": named("someone-else.localhost"),
    "names/parent-domain": named("parent-domain.localhost"),
    "names/child-domain": named("www.child-domain.localhost"),
    "names/suffix-only": named("suffix.localhost"),
    "names/common-name-only": lambda s: right(s) and no_san(s) and s.common_name == s.case.host_name,
    "names/common-name-ignored":
        lambda s: right(s) and s.common_name == s.case.host_name and s.names == ["someone-else.localhost"],
    "names/no-name": lambda s: right(s) and no_san(s) and not list(s.leaf.subject),
    "names/empty-san": lambda s: b"\x06\x03\x55\x1d\x11\x04\x02\x30\x00" in s.leaf_der,
    "names/other-common-name":
        lambda s: right(s) and s.common_name == "someone-else.localhost" and s.names == [s.case.host_name],
    "names/upper-case": named("UPPER-CASE.LOCALHOST"),
    "names/trailing-dot": named("trailing-dot.localhost."),
    "names/leading-dot": named(".leading-dot.localhost"),
    "names/space": named("space.localhost "),
    "names/wildcard-partial": named("wild*partial.localhost"),
    "names/wildcard-two-labels": named("*.two-labels.localhost"),
    "names/wildcard-no-label": named("*.no-label.localhost"),
    "names/wildcard-second-label": named("www.*.second-label.localhost"),
    "names/wildcard-double": named("*.*.double.localhost"),
    "names/wildcard-bare": named("*"),
    "names/wildcard-top-level": named("*.localhost"),
    "names/wildcard-in-idn": named("xn--*-3ya.idn-wild.localhost"),
    "names/nul-byte": named("nul-byte.localhost\0.evil.localhost"),
    "names/nul-byte-common-name":
        lambda s: right(s) and no_san(s) and s.common_name == "nul-byte-common-name.localhost\0.evil.localhost",
    "names/idn-utf8": lambda s: "köln.idn-utf8.localhost".encode() in s.leaf_der,
    "names/homograph": named("xn--pple-43d.homograph.localhost"),
    "names/uri-only": named("https://uri-only.localhost/"),
    "names/email-only": named("admin@email-only.localhost"),
    "names/ip-mismatch": named("127.0.0.2"),
    "names/ip-as-dns-name": lambda s: right(s) and isinstance(
        next(iter(extension(s.leaf, x509.SubjectAlternativeName).value)), x509.DNSName) and s.names == ["127.0.0.1"],
    "names/ip-wildcard": named("*.0.0.1"),
    "names/ip-in-common-name": lambda s: right(s) and no_san(s) and s.common_name == "127.0.0.1",
    "names/dns-name-as-ip": lambda s: b"\x87\x05\x7f\x00\x00\x01\x00" in s.leaf_der,
    "names/san-100": count(100),
    "names/san-1000": count(1000),
    "names/san-10000": count(10_000),
    "chains/self-signed": lambda s: len(s.chain) == 1 and s.leaf.issuer == s.leaf.subject and signed_by(s.leaf, s.leaf),
    "chains/unknown-root": lambda s: right(s) and s.issuer.issuer == s.issuer.subject,
    "chains/unknown-root-sent": lambda s: right(s) and len(s.chain) == 3 and s.chain[1] == s.chain[2],
    "chains/impostor-root": lambda s: right(s) and signed_by(s.issuer, s.issuer),
    "chains/incomplete": lambda s: len(s.chain) == 1 and s.leaf.issuer != s.leaf.subject,
    "chains/wrong-order":
        lambda s: signed_by(s.leaf, s.chain[2]) and signed_by(s.chain[2], s.chain[1]) and not right(s),
    "chains/with-root": lambda s: right(s) and signed_by(s.chain[2], s.chain[2]),
    "chains/unrelated-extra": lambda s: right(s) and not signed_by(s.chain[1], s.chain[2]) and len(s.chain) == 3,
    "chains/intermediate-twice": lambda s: right(s) and s.certificates[1] == s.certificates[2],
    "chains/garbage-extra": lambda s: right(s) and s.certificates[-1] == b"this is not a certificate",
    "chains/alternative-path":
        lambda s: right(s) and s.chain[1].not_valid_after_utc < UTC_NOW < s.chain[2].not_valid_after_utc
        and signed_by(s.leaf, s.chain[2]),
    "chains/path-length": lambda s: right(s) and signed_by(s.chain[1], s.chain[2])
        and extension(s.chain[2], x509.BasicConstraints).value.path_length == 0,
    "chains/no-basic-constraints": lambda s: right(s) and not has(s.issuer, x509.BasicConstraints),
    "chains/basic-constraints-false": lambda s: right(s) and not extension(s.issuer, x509.BasicConstraints).value.ca,
    "chains/basic-constraints-not-critical":
        lambda s: right(s) and not extension(s.issuer, x509.BasicConstraints).critical,
    "chains/version-1-intermediate": lambda s: right(s) and s.issuer.version is x509.Version.v1,
    "chains/leaf-as-authority": lambda s: right(s) and not extension(s.issuer, x509.BasicConstraints).value.ca
        and signed_by(s.chain[1], s.chain[2]),
    "chains/authority-as-leaf": lambda s: right(s) and extension(s.leaf, x509.BasicConstraints).value.ca,
    "chains/no-cert-sign": lambda s: right(s) and not extension(s.issuer, x509.KeyUsage).value.key_cert_sign,
    "chains/key-usage-leaf": lambda s: right(s) and not extension(s.leaf, x509.KeyUsage).value.digital_signature
        and extension(s.leaf, x509.KeyUsage).value.key_cert_sign,
    "chains/key-usage-agreement": lambda s: right(s) and not extension(s.leaf, x509.KeyUsage).value.digital_signature
        and extension(s.leaf, x509.KeyUsage).value.key_agreement,
    "chains/client-usage": lambda s: right(s) and usages(s.leaf) == {Usage.CLIENT_AUTH},
    "chains/email-usage": lambda s: right(s) and usages(s.leaf) == {Usage.EMAIL_PROTECTION},
    "chains/any-usage": lambda s: right(s) and usages(s.leaf) == {Usage.ANY_EXTENDED_KEY_USAGE},
    "chains/no-usage": lambda s: right(s) and not has(s.leaf, x509.ExtendedKeyUsage),
    "chains/intermediate-usage": lambda s: right(s) and usages(s.issuer) == {Usage.CLIENT_AUTH},
    "chains/excluded-name": lambda s: right(s) and [
        one.value for one in extension(s.issuer, x509.NameConstraints).value.excluded_subtrees] == s.names,
    "chains/not-permitted-name": lambda s: right(s) and [
        one.value for one in extension(s.issuer, x509.NameConstraints).value.permitted_subtrees] != s.names,
    "chains/permitted-name": lambda s: right(s) and [
        one.value for one in extension(s.issuer, x509.NameConstraints).value.permitted_subtrees] == s.names,
    "chains/not-permitted-address": lambda s: right(s) and s.names == ["127.0.0.1"] and [
        str(one.value) for one in extension(s.issuer, x509.NameConstraints).value.permitted_subtrees
    ] == ["127.1.0.0/16"],
    "chains/outside-root-constraints": lambda s: right(s) and "www.example.com" in s.names,
    "chains/critical-unknown": lambda s: right(s) and any(
        one.critical and isinstance(one.value, x509.UnrecognizedExtension) for one in s.leaf.extensions),
    "chains/critical-unknown-intermediate": lambda s: right(s) and any(
        one.critical and isinstance(one.value, x509.UnrecognizedExtension) for one in s.issuer.extensions),
    "chains/unknown-extension": lambda s: right(s) and any(
        not one.critical and isinstance(one.value, x509.UnrecognizedExtension) for one in s.leaf.extensions),
    "chains/extension-twice": lambda s: s.leaf_der.count(bytes.fromhex("0603551d25")) == 2,
    "chains/version-1": lambda s: b"\xa0\x03\x02\x01" not in s.leaf_der[:16] and b"\x06\x03\x55\x1d" in s.leaf_der,
    "chains/unknown-version": lambda s: b"\xa0\x03\x02\x01\x03" in s.leaf_der[:16],
    "chains/serial-negative": lambda s: b"\x02\x02\xcf\xc7" in s.leaf_der[:24],
    "chains/serial-zero": lambda s: b"\x02\x01\x00" in s.leaf_der[:24],
    "chains/serial-long": lambda s: b"\x02\x28\x40" in s.leaf_der[:24],
    "chains/wrong-key-identifier": lambda s: right(s)
        and extension(s.leaf, x509.AuthorityKeyIdentifier).value.key_identifier
        != extension(s.issuer, x509.SubjectKeyIdentifier).value.digest,
    "chains/wrong-issuer-name": lambda s: s.leaf.issuer != s.issuer.subject,
    "chains/wrong-signer": lambda s: s.leaf.issuer == s.issuer.subject and not signed_by(s.leaf, s.issuer),
    "chains/loop": lambda s: right(s) and signed_by(s.chain[1], s.chain[2]) and signed_by(s.chain[2], s.chain[1]),
    "chains/five-intermediates": lambda s: right(s) and len(s.chain) == 6,
    "chains/long": lambda s: right(s) and len(s.chain) == 21,
    "chains/very-long": lambda s: right(s) and len(s.certificates) == 121,
    "signatures/sha1": lambda s: hash_name(s.leaf) == "sha1" and rsa_key(s.issuer).key_size == 2048,
    "signatures/sha1-ecdsa": lambda s: hash_name(s.leaf) == "sha1" and curve(s.issuer) == "secp256r1",
    "signatures/sha1-intermediate": lambda s: right(s) and hash_name(s.issuer) == "sha1",
    "signatures/md5": lambda s: hash_name(s.leaf) == "md5",
    "signatures/md5-intermediate": lambda s: right(s) and hash_name(s.issuer) == "md5",
    "signatures/corrupt": lambda s: s.leaf.issuer == s.issuer.subject and not signed_by(s.leaf, s.issuer),
    "signatures/two-algorithms": lambda s: s.leaf_der.count(bytes.fromhex("06082a8648ce3d040302")) == 1
        and s.leaf_der.count(bytes.fromhex("06082a8648ce3d040303")) == 1,
    "signatures/pss": lambda s: right(s) and s.leaf.signature_algorithm_oid.dotted_string == "1.2.840.113549.1.1.10",
    "signatures/rsa-1024": lambda s: right(s) and rsa_key(s.leaf).key_size == 1024,
    "signatures/rsa-1024-intermediate": lambda s: right(s) and rsa_key(s.issuer).key_size == 1024,
    "signatures/rsa-3072": lambda s: right(s) and rsa_key(s.leaf).key_size == 3072,
    "signatures/rsa-4096": lambda s: right(s) and rsa_key(s.leaf).key_size == 4096,
    "signatures/rsa-8192": lambda s: right(s) and rsa_key(s.leaf).key_size == 8192,
    "signatures/rsa-exponent-3": lambda s: right(s) and rsa_key(s.leaf).public_numbers().e == 3,
    "signatures/p-384": lambda s: right(s) and curve(s.leaf) == "secp384r1",
    "signatures/p-521": lambda s: right(s) and curve(s.leaf) == "secp521r1",
    "signatures/ed25519": lambda s: right(s) and isinstance(s.leaf.public_key(), ed25519.Ed25519PublicKey),
    "signatures/ed448": lambda s: right(s) and isinstance(s.leaf.public_key(), ed448.Ed448PublicKey),
}  # fmt: skip


@pytest.mark.parametrize("case_id", LOOKS)
def test_the_fault_is_in_what_is_served(running: RunningLab, case_id: str) -> None:
    assert LOOKS[case_id](served_chain(running, BY_ID[case_id]))


def test_no_case_is_left_out() -> None:
    offered = {case.id for case in OFFERED if case.family in FAMILIES}
    assert offered == set(LOOKS) | NOT_BY_CHAIN


@pytest.mark.parametrize(("case_id", "curve"), RARE_CURVES.items())
def test_keys_on_rare_curves_are_served_to_who_offers_them(running: RunningLab, case_id: str, curve: str) -> None:
    told = s_client(running, BY_ID[case_id], "-curves", f"{curve}:P-256", "-tls1_2")
    certificate = x509.load_pem_x509_certificate(told[told.index("-----BEGIN") :].encode())
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name.lower() in {curve.lower(), "secp224r1"}
    assert "Cipher is ECDHE-ECDSA" in told


def test_the_key_is_not_that_of_the_certificate(running: RunningLab) -> None:
    with dialogue(running, BY_ID["signatures/key-mismatch"], permissive()) as talk:
        assert "signature" in str(talk.error).lower()
