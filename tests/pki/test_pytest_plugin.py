"""The fixtures, as somebody who has only installed the package meets them, and what an Authority in memory can do."""

from __future__ import annotations

import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from securelight.pki import Authority, CertificateError, Issued
from tests.tls.handshakes import handshake

FOREIGN_TEST = """
import ssl

def test_they_fit(authority, server_certificate, client_certificate):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_certificate.configure(server)
    authority.trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context()
    authority.trust(client)
    client_certificate.configure(client)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server, server_hostname="localhost"),
             server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    assert (("commonName", "client"),) in sides[1].getpeercert()["subject"]
"""


def contexts(authority: Authority, certificate: Issued) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    certificate.configure(server)
    authority.trust(client)
    return server, client


def test_pytest_finds_the_fixtures_by_itself(tmp_path: Path) -> None:
    (tmp_path / "test_foreign.py").write_text(FOREIGN_TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "-W",
        "error",
    ]
    done = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_package_is_cheap_to_import() -> None:
    code = """
import sys, securelight.pki, securelight.pki.pytest_plugin
assert not {"cryptography", "ssl", "msgspec"} & set(sys.modules), sorted(sys.modules)
from securelight.pki import Authority
assert Authority.__module__ == "securelight.pki.authority"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import securelight.pki

    with pytest.raises(AttributeError, match="Authrity"):
        securelight.pki.Authrity  # noqa: B018 - asking for it is the point


def test_a_client_that_trusts_the_authority_accepts_the_server(
    authority: Authority, server_certificate: Issued
) -> None:
    server, client = contexts(authority, server_certificate)
    for name in ("localhost", "127.0.0.1", "::1"):
        handshake(server, client, name)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(server, client, "other.test")


def test_a_client_of_another_authority_refuses(server_certificate: Issued) -> None:
    server, client = contexts(Authority(), server_certificate)
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get"):
        handshake(server, client)


@pytest.mark.parametrize(
    ("days", "fault"), [(-1, "certificate has expired"), (2, "certificate is not yet valid")], ids=["past", "future"]
)
def test_times_can_be_wrong_on_purpose(days: int, fault: str, authority: Authority) -> None:
    moment = datetime.now(UTC) + timedelta(days=days)
    bad = authority.issue("localhost", not_before=moment - timedelta(hours=1), not_after=moment)
    with pytest.raises(ssl.SSLCertVerificationError, match=fault):
        handshake(*contexts(authority, bad))


def test_other_names_take_a_permit_or_no_constraints() -> None:
    with pytest.raises(CertificateError, match="is not a local name"):
        Authority().issue("www.example.com")
    for authority in (Authority(permit=["example.com"]), Authority(unconstrained=True)):
        handshake(*contexts(authority, authority.issue("www.example.com")), "www.example.com")


def test_a_revoked_client_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    good, bad = (authority.issue(client=True, user=user) for user in ("good", "bad"))
    authority.revoke(bad, "keyCompromise")
    server, client = contexts(authority, authority.issue("localhost"))
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    authority.trust(server)
    (tmp_path / "crl.pem").write_bytes(authority.revocation_list_pem())
    server.load_verify_locations(tmp_path / "crl.pem")
    good.configure(client)
    handshake(server, client)
    bad.configure(client)
    with pytest.raises(ssl.SSLError, match="revoked"):
        handshake(server, client)
    with pytest.raises(CertificateError, match="is not the serial number"):
        Authority().revoke(bad)


def test_an_authority_in_a_folder_is_there_again(tmp_path: Path) -> None:
    first = Authority(tmp_path / "certs", passphrase="sesame")
    issued = first.issue("localhost")
    second = Authority(str(tmp_path / "certs"), passphrase="sesame")
    assert second.certificate_pem == first.certificate_pem
    second.revoke(issued)
    revoked = x509.load_pem_x509_crl(second.revocation_list_pem())
    assert revoked.get_revoked_certificate_by_serial_number(issued.certificate.serial_number) is not None
    with pytest.raises(CertificateError, match="wrong"):
        Authority(tmp_path / "certs", passphrase="other").issue("localhost")


def test_a_certificate_can_be_written(authority: Authority, tmp_path: Path) -> None:
    chain, key = authority.issue("localhost").write(tmp_path, "shop")
    assert key.stat().st_mode & 0o777 == 0o600
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
