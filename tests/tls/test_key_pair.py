from __future__ import annotations

import os
import pwd
import ssl
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from securelight.model.errors import CertificateError
from securelight.tls.context import server_context
from securelight.tls.key_pair import MAXIMUM_FILE_BYTES, load_into, prove, read_pem
from securelight.tls.policy import INTERMEDIATE, MODERN
from tests.certificates import TestCertificates, make_test_certificates
from tests.tls.handshakes import certificate_of, client_context, handshake


def openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


needs_openssl = pytest.mark.skipif(
    not any(os.access(Path(folder, "openssl"), os.X_OK) for folder in os.get_exec_path()),
    reason="the openssl program is not installed",
)


def test_the_key_type_is_told(tmp_path: Path) -> None:
    kinds: list[tuple[Literal["ecdsa", "rsa"], str]] = [("ecdsa", "ECDSA"), ("rsa", "RSA")]
    for key_type, name in kinds:
        made = make_test_certificates(tmp_path / "certs", key_type=key_type)
        assert prove(made.chain.read_bytes(), made.key.read_bytes()) == name


@pytest.mark.peer
@needs_openssl
def test_an_ed25519_pair_is_good(tmp_path: Path) -> None:
    key, chain = tmp_path / "key", tmp_path / "chain"
    openssl("req", "-x509", "-newkey", "ed25519", "-noenc", "-subj", "/CN=a", "-keyout", key, "-out", chain)
    assert prove(chain.read_bytes(), key.read_bytes()) == "Ed25519"


@pytest.mark.peer
@needs_openssl
def test_a_short_rsa_key_is_refused(tmp_path: Path) -> None:
    key, chain = tmp_path / "key", tmp_path / "chain"
    openssl("req", "-x509", "-newkey", "rsa:1024", "-noenc", "-subj", "/CN=a", "-keyout", key, "-out", chain)
    with pytest.raises(CertificateError, match="too short to be safe"):
        prove(chain.read_bytes(), key.read_bytes())


@pytest.mark.peer
@needs_openssl
def test_a_key_with_a_password_is_refused_instead_of_asked_for(certificates: TestCertificates) -> None:
    for traditional in ([], ["-traditional"]):
        locked = openssl("pkey", "-in", certificates.key, "-aes256", "-passout", "pass:secret", *traditional)
        with pytest.raises(CertificateError, match="protected with a password"):
            prove(certificates.chain.read_bytes(), locked)


def test_text_around_the_certificate_does_no_harm(certificates: TestCertificates) -> None:
    chain = b"subject=CN = localhost\n\n" + certificates.chain.read_bytes().replace(b"\n", b"\r\n") + b"\n# end\n"
    assert prove(chain, certificates.key.read_bytes()) == "ECDSA"


@pytest.mark.parametrize(
    ("chain", "key", "where", "what"),
    [
        (b"", None, "c.pem", "no certificate"),
        (b"\x30\x82\x01\x00", None, "c.pem", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", None, "c.pem", "cannot be used"),
        (None, b"", "k.pem", "no private key"),
        (
            None,
            b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
            "c.pem",
            "cannot be used with the key k",
        ),
    ],
)
def test_what_is_not_a_pair_is_named(
    chain: bytes | None, key: bytes | None, where: str, what: str, certificates: TestCertificates
) -> None:
    chain = certificates.chain.read_bytes() if chain is None else chain
    key = certificates.key.read_bytes() if key is None else key
    with pytest.raises(CertificateError, match=what) as caught:
        prove(chain, key, chain_name="c.pem", key_name="k.pem")
    assert caught.value.where == where


def test_swapped_files_are_refused(certificates: TestCertificates) -> None:
    with pytest.raises(CertificateError, match="no certificate"):
        prove(certificates.key.read_bytes(), certificates.chain.read_bytes())


def test_messages_never_hold_key_material(certificates: TestCertificates, tmp_path: Path) -> None:
    other = make_test_certificates(tmp_path / "certs")
    key = other.key.read_text()
    with pytest.raises(CertificateError) as caught:
        prove(certificates.chain.read_bytes(), key.encode())
    assert not any(line in str(caught.value) for line in key.splitlines() if line)


def test_a_loaded_pair_replaces_the_old_one_and_sessions_go_on(tmp_path: Path) -> None:
    old = make_test_certificates(tmp_path / "certs", stem="old")
    new = make_test_certificates(tmp_path / "certs", stem="new")
    server, client = server_context(INTERMEDIATE, [old.pair]), client_context(old.ca)
    before = handshake(server, client)
    load_into(server, new.chain.read_bytes(), new.key.read_bytes())
    assert certificate_of(handshake(server, client)) == ssl.PEM_cert_to_DER_cert(new.chain.read_text())
    assert handshake(server, client, session=before.client.session).client.session_reused


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop privileges")
def test_a_pair_is_loaded_by_a_process_that_may_no_longer_read_it(tmp_path: Path) -> None:
    old = make_test_certificates(tmp_path / "certs", stem="old")
    new = make_test_certificates(tmp_path / "certs", stem="new")
    server, client = server_context(MODERN, [old.pair]), client_context(old.ca)
    chain, key, expected = new.chain.read_bytes(), new.key.read_bytes(), ssl.PEM_cert_to_DER_cert(new.chain.read_text())
    nobody = pwd.getpwnam("nobody")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            if not os.access(new.key, os.R_OK):
                load_into(server, chain, key)
                status = 0 if certificate_of(handshake(server, client)) == expected else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_no_descriptor_is_left_open(certificates: TestCertificates) -> None:
    before = len(os.listdir("/proc/self/fd"))
    prove(certificates.chain.read_bytes(), certificates.key.read_bytes())
    with pytest.raises(CertificateError):
        prove(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", certificates.key.read_bytes())
    assert len(os.listdir("/proc/self/fd")) == before


def test_files_that_are_no_certificates_are_refused_without_waiting(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(MAXIMUM_FILE_BYTES + 1)
    with pytest.raises(CertificateError, match="larger than"):
        read_pem(large)
    for path in (pipe, tmp_path):
        with pytest.raises(CertificateError, match="is not a file"):
            read_pem(path)
