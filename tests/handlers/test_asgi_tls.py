"""The TLS extension: numbers against OpenSSL's own, subjects against `cryptography`'s."""

from __future__ import annotations

import datetime
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import example, given, settings, strategies as st

from securelight.handlers.asgi_tls import subject_name, tls_extension
from securelight.model.request import TlsFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(*names: x509.RelativeDistinguishedName) -> bytes:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(_KEY.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(_KEY, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def rdn(*attributes: tuple[ObjectIdentifier, str]) -> x509.RelativeDistinguishedName:
    return x509.RelativeDistinguishedName([x509.NameAttribute(oid, value) for oid, value in attributes])


def test_versions_and_suites_are_the_numbers_of_the_standards() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    known = [one for one in context.get_ciphers() if "ECDHE" in one["name"] or one["protocol"] == "TLSv1.3"]
    assert len(known) >= 9
    for cipher in known:
        tls = tls_extension(TlsFacts(version=cipher["protocol"], cipher=cipher["name"]))
        assert tls["cipher_suite"] == cipher["id"] & 0xFFFF
    assert tls_extension(TlsFacts(version="TLSv1.3"))["tls_version"] == ssl.TLSVersion.TLSv1_3
    assert tls_extension(TlsFacts(version="TLSv1.2"))["tls_version"] == ssl.TLSVersion.TLSv1_2


def test_a_client_without_certificate() -> None:
    assert tls_extension(TlsFacts(version="TLSv1.3", cipher="unheard of")) == {
        "server_cert": None,
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": None,
    }


def test_a_client_certificate_is_given_as_pem_with_its_name() -> None:
    der = certificate(rdn((NameOID.ORGANIZATION_NAME, "Example")), rdn((NameOID.COMMON_NAME, "alice")))
    tls = tls_extension(TlsFacts(version="TLSv1.3", client_certificate=der))
    assert tls["client_cert_name"] == "CN=alice,O=Example"
    assert [ssl.PEM_cert_to_DER_cert(pem) for pem in tls["client_cert_chain"]] == [der]
    tls["client_cert_chain"].clear()  # an application may do as it likes with its own copy
    assert tls_extension(TlsFacts(version="TLSv1.3", client_certificate=der))["client_cert_chain"]


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


@settings(max_examples=150)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x30\x80")
@example(b"\x30\x84\xff\xff\xff\xff")
def test_garbage_has_no_name_and_is_not_passed_on(garbage: bytes) -> None:
    tls = tls_extension(TlsFacts(version="TLSv1.3", client_certificate=garbage))
    assert (tls["client_cert_name"] is None) == (not tls["client_cert_chain"])


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_certificate_never_raises(data: st.DataObject) -> None:
    der = bytearray(_DAMAGED)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    name = subject_name(bytes(der[: data.draw(st.integers(0, len(der)))]))
    assert name is None or isinstance(name, str)


_DAMAGED = certificate(rdn((NameOID.COMMON_NAME, "damaged"), (NameOID.COUNTRY_NAME, "DE")))
