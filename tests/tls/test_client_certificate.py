"""What a client certificate says, read from DER: subjects against `cryptography`'s, and certificates that lie."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import example, given, settings, strategies as st

from securelight.tls.client_certificate import expired, read_client_certificate

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(*names: x509.RelativeDistinguishedName, alternatives: Sequence[x509.GeneralName] = ()) -> bytes:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(_KEY.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def subject_name(der: bytes) -> str:
    return read_client_certificate(der).subject


def rdn(*attributes: tuple[ObjectIdentifier, str]) -> x509.RelativeDistinguishedName:
    return x509.RelativeDistinguishedName([x509.NameAttribute(oid, value) for oid, value in attributes])


@pytest.mark.parametrize(
    "names",
    [
        [],
        [rdn((NameOID.COUNTRY_NAME, "DE")), rdn((NameOID.STATE_OR_PROVINCE_NAME, "Hessen"))],
        [rdn((NameOID.LOCALITY_NAME, "Köln"), (NameOID.STREET_ADDRESS, "Ring 1"))],
        [rdn((NameOID.DOMAIN_COMPONENT, "test")), rdn((NameOID.USER_ID, "42"))],
        [rdn((NameOID.COMMON_NAME, 'a+b,"c";<d>\\e'))],
        [rdn((NameOID.COMMON_NAME, "#begin"))],
        [rdn((NameOID.COMMON_NAME, " spaces "))],
        [rdn((NameOID.COMMON_NAME, "CN=admin,O=Us"))],
    ],
)
def test_subjects_are_written_as_rfc_4514_says(names: Sequence[x509.RelativeDistinguishedName]) -> None:
    assert subject_name(certificate(*names)) == x509.Name(names).rfc4514_string()


def test_an_attribute_without_a_short_name_is_written_in_hexadecimal() -> None:
    der = certificate(rdn((NameOID.EMAIL_ADDRESS, "a@b")), rdn((ObjectIdentifier("2.999.3"), "x")))
    assert subject_name(der) == "2.999.3=#0c0178,1.2.840.113549.1.9.1=#1603614062"


def test_other_string_types_are_decoded() -> None:
    attribute = x509.NameAttribute(NameOID.COMMON_NAME, "é", _ASN1Type.BMPString)
    assert subject_name(certificate(x509.RelativeDistinguishedName([attribute]))) == "CN=é"


def test_every_kind_of_name_is_read() -> None:
    der = certificate(
        rdn((NameOID.ORGANIZATION_NAME, "Example")),
        rdn((NameOID.COMMON_NAME, "alice")),
        rdn((NameOID.COMMON_NAME, "bob")),
        alternatives=[
            x509.RFC822Name("alice@example.org"),
            x509.DNSName("laptop.example.org"),
            x509.RFC822Name("a@example.org"),
            x509.UniformResourceIdentifier("spiffe://example.org/alice"),
            x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "eve")])),
        ],
    )
    read = read_client_certificate(der)
    assert (read.der, read.serial) == (der, "7")
    assert read.subject == "CN=bob,CN=alice,O=Example"
    assert read.common_names == ("alice", "bob")
    assert read.emails == ("alice@example.org", "a@example.org")
    assert read.dns_names == ("laptop.example.org",)
    assert read.uris == ("spiffe://example.org/alice",)
    assert len(read.fingerprint) == 64


def test_the_end_of_a_certificate() -> None:
    der = certificate(rdn((NameOID.COMMON_NAME, "alice")))
    end = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC).timestamp()
    assert not expired(der, end)
    assert expired(der, end + 1)
    assert expired(b"junk", 0.0), "what does not say when it ends is over"


@settings(max_examples=150)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x30\x80")
@example(b"\x30\x84\xff\xff\xff\xff")
@example(b"\x30\x03\x30\x01\x02")
def test_garbage_has_no_name(garbage: bytes) -> None:
    read = read_client_certificate(garbage)
    assert (read.der, read.subject, read.common_names) == (garbage, "", ())


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_certificate_never_raises(data: st.DataObject) -> None:
    der = bytearray(_DAMAGED)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    read = read_client_certificate(bytes(der[: data.draw(st.integers(0, len(der)))]))
    assert isinstance(read.subject, str)
    expired(read.der, 0.0)


_DAMAGED = certificate(
    rdn((NameOID.COMMON_NAME, "damaged"), (NameOID.COUNTRY_NAME, "DE")), alternatives=[x509.DNSName("a.example.org")]
)
