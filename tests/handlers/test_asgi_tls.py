"""The TLS extension: numbers against OpenSSL's own, and the certificate of the request, not of the connection."""

from __future__ import annotations

import ssl

from securelight.handlers.asgi_tls import tls_extension
from securelight.model.client_certificate import ClientCertificate
from securelight.model.request import TlsFacts


def test_versions_and_suites_are_the_numbers_of_the_standards() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    known = [one for one in context.get_ciphers() if "ECDHE" in one["name"] or one["protocol"] == "TLSv1.3"]
    assert len(known) >= 9
    for cipher in known:
        tls = tls_extension(TlsFacts(version=cipher["protocol"], cipher=cipher["name"]), None)
        assert tls["cipher_suite"] == cipher["id"] & 0xFFFF
    assert tls_extension(TlsFacts(version="TLSv1.3"), None)["tls_version"] == ssl.TLSVersion.TLSv1_3
    assert tls_extension(TlsFacts(version="TLSv1.2"), None)["tls_version"] == ssl.TLSVersion.TLSv1_2


def test_a_client_without_certificate() -> None:
    assert tls_extension(TlsFacts(version="TLSv1.3", cipher="unheard of"), None) == {
        "server_cert": None,
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": None,
    }


def test_the_certificate_of_the_request_is_given_as_pem_with_its_name() -> None:
    alice = ClientCertificate(b"der of alice" * 20, "CN=alice,O=Example")
    tls = tls_extension(TlsFacts(version="TLSv1.3"), alice)
    assert tls["client_cert_name"] == "CN=alice,O=Example"
    assert [ssl.PEM_cert_to_DER_cert(pem) for pem in tls["client_cert_chain"]] == [alice.der]
    tls["client_cert_chain"].clear()  # an application may do as it likes with its own copy
    assert tls_extension(TlsFacts(version="TLSv1.3"), alice)["client_cert_chain"]


def test_a_certificate_that_was_not_proved_to_this_site_is_not_given() -> None:
    alice = ClientCertificate(b"der", "CN=alice")
    tls = tls_extension(TlsFacts(version="TLSv1.3", client_certificate=alice, asked_by="site[1]"), None)
    assert (tls["client_cert_chain"], tls["client_cert_name"]) == ([], None)
