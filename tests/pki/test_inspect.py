from __future__ import annotations

import base64
import contextlib
import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.errors import CertificateError
from securelight.pki.inspect import describe_chain
from tests.certificates import TestCertificates, make_test_certificates


def test_a_leaf_is_described(certificates: TestCertificates) -> None:
    report = describe_chain(certificates.chain.read_bytes())
    assert report.names == ("localhost", "127.0.0.1", "::1", "example.test", "*.example.test")
    assert report.subject == "CN=localhost"
    assert report.issuer.startswith("CN=securelight local CA ")
    assert report.key_type == "ECDSA P-256"
    assert not report.is_ca
    assert not report.self_signed
    assert report.not_before < datetime.now(UTC) < report.not_after
    assert 89 < report.days_left() < 91
    assert report.days_left(report.not_after + timedelta(days=2)) == -2
    assert (report.chain_length, report.chain_in_order) == (1, True)


def test_an_authority_is_described(certificates: TestCertificates) -> None:
    report = describe_chain(certificates.ca.read_bytes())
    assert report.is_ca
    assert report.self_signed
    assert report.subject == report.issuer
    assert report.names == ()
    assert not report.covers("localhost")


def test_it_tells_which_hosts_are_covered(certificates: TestCertificates) -> None:
    report = describe_chain(certificates.chain.read_bytes())
    for host in ("localhost", "EXAMPLE.test", "www.example.test", "[::1]", "127.0.0.1"):
        assert report.covers(host), host
    for host in ("other.test", "a.b.example.test", "127.0.0.2", ""):
        assert not report.covers(host), host


def test_rsa_keys_have_a_size(tmp_path: Path) -> None:
    made = make_test_certificates(tmp_path / "certs", key_type="rsa")
    assert describe_chain(made.chain.read_bytes()).key_type == "RSA 2048"


def test_the_order_of_a_chain_is_told(certificates: TestCertificates, tmp_path: Path) -> None:
    leaf, root = certificates.chain.read_bytes(), certificates.ca.read_bytes()
    stranger = make_test_certificates(tmp_path / "certs").ca.read_bytes()
    whole = describe_chain(leaf + root)
    assert (whole.chain_length, whole.chain_in_order, whole.subject) == (2, True, "CN=localhost")
    assert not describe_chain(root + leaf).chain_in_order
    assert not describe_chain(leaf + stranger).chain_in_order


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")
def test_the_fingerprint_is_that_of_openssl(certificates: TestCertificates) -> None:
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(certificates.chain)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().partition("=")[2]
    assert describe_chain(certificates.chain.read_bytes()).sha256 == shown


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"rubbish",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----",
    ],
)
def test_what_is_no_certificate_is_named(pem: bytes) -> None:
    with pytest.raises(CertificateError) as caught:
        describe_chain(pem, "site.pem")
    assert caught.value.where == "site.pem"


def test_a_key_in_the_place_of_the_chain_is_refused(certificates: TestCertificates) -> None:
    with pytest.raises(CertificateError):
        describe_chain(certificates.key.read_bytes())


@pytest.mark.filterwarnings("ignore::UserWarning")  # cryptography warns of what it reads under protest
@settings(max_examples=400, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_certificate_is_described_or_refused(
    changes: list[tuple[int, int]], certificates: TestCertificates
) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(certificates.chain.read_text()))
    for at, value in changes:
        der[at % len(der)] = value
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(der)) + b"-----END CERTIFICATE-----\n"
    # Anything but a CertificateError is a failure of this test.
    with contextlib.suppress(CertificateError):
        describe_chain(pem).covers("localhost")
