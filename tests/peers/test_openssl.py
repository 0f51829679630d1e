"""openssl s_client: which versions, suites and protocols are spoken, what is refused and how, sessions over workers."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed (Debian: openssl)"),
]

TIMEOUT_SECONDS = 30
REQUEST = b"GET /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
BODY = b"0123456789" * 60


class SClient:
    """openssl s_client against one server."""

    def __init__(self, port: int, ca: Path) -> None:
        self.command = ["openssl", "s_client", "-connect", f"localhost:{port}", "-CAfile", str(ca)]
        self.command += ["-servername", "localhost", "-verify_hostname", "localhost"]

    def handshake(self, *options: str | Path) -> subprocess.CompletedProcess[str]:
        """Connect, and leave; everything that s_client has to say in `stdout`."""
        return subprocess.run(
            [*self.command, *map(str, options)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False, encoding="latin-1", timeout=TIMEOUT_SECONDS,
        )  # fmt: skip

    def get(self, *options: str | Path) -> str:
        """One request, on HTTP/1.1, until the server ends the connection."""
        done = subprocess.run(
            [*self.command, "-ign_eof", *map(str, options)],
            input=REQUEST, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        assert b"HTTP/1.1 200 OK" in done.stdout, done.stdout
        assert BODY in done.stdout
        return done.stdout.decode("latin-1")

    def open(self, *options: str) -> subprocess.Popen[bytes]:
        """A connection to type into."""
        return subprocess.Popen(
            [*self.command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )


@pytest.fixture(scope="module")
def s_client(server: ServerProcess, certificates: TestCertificates) -> SClient:
    """On each engine."""
    return SClient(server.port, certificates.ca)


def read_until(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """What `process` prints up to `text`, waited for."""
    assert process.stdout is not None
    seen = b""
    while text not in seen:
        readable, _, _ = select.select([process.stdout], [], [], TIMEOUT_SECONDS)
        piece = os.read(process.stdout.fileno(), 65_536) if readable else b""
        if not piece:
            process.kill()
            raise AssertionError(f"no {text!r} in {seen[-2_000:]!r}")
        seen += piece
    return seen


def type_in(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


# What is spoken


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_chain_is_verified(s_client: SClient, version: str) -> None:
    text = s_client.handshake(f"-tls{version.replace('.', '_')}", "-verify_return_error").stdout
    assert f"New, TLSv{version}" in text
    assert "Verify return code: 0 (ok)" in text
    assert "Verified peername: localhost" in text or "Verification: OK" in text
    assert "Compression: NONE" in text
    assert "No client certificate CA names sent" in text


def test_another_name_or_authority_is_not_verified(s_client: SClient, stranger: TestCertificates) -> None:
    for options in (("-verify_hostname", "another.test"), ("-CAfile", stranger.ca)):
        done = s_client.handshake(*options, "-verify_return_error")
        assert done.returncode == 1
        assert "certificate verify failed" in done.stdout


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused_with_the_right_alert(s_client: SClient, option: str) -> None:
    done = s_client.handshake(option, "-cipher", "ALL:@SECLEVEL=0")
    assert done.returncode == 1
    assert "alert protocol version" in done.stdout


@pytest.mark.parametrize(
    "suite",
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ],
)
def test_every_good_suite_of_tls_1_2(s_client: SClient, suite: str) -> None:
    text = s_client.get("-tls1_2", "-cipher", suite)
    assert f"New, TLSv1.2, Cipher is {suite}" in text
    assert "Verify return code: 0 (ok)" in text


@pytest.mark.parametrize(
    "suite",
    ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "DHE-RSA-AES128-GCM-SHA256",
     "AES256-SHA", "ECDHE-RSA-NULL-SHA", "AECDH-AES128-SHA"],
)  # fmt: skip
def test_every_other_suite_is_refused(s_client: SClient, suite: str) -> None:
    """No forward secrecy, no authenticated encryption, no certificate, no encryption."""
    done = s_client.handshake("-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0")
    assert done.returncode == 1
    assert "alert handshake failure" in done.stdout


def test_old_clients_get_the_rsa_certificate_and_all_others_ecdsa(s_client: SClient) -> None:
    assert "Peer signature type: ECDSA" in s_client.handshake().stdout
    assert "Peer signature type: RSA-PSS" in s_client.handshake("-sigalgs", "RSA-PSS+SHA256").stdout


def test_weak_signatures_and_curves_are_refused(s_client: SClient) -> None:
    assert s_client.handshake("-tls1_2", "-sigalgs", "RSA+SHA1", "-cipher", "ALL:@SECLEVEL=0").returncode == 1
    assert s_client.handshake("-tls1_3", "-groups", "P-384").returncode == 0
    assert s_client.handshake("-tls1_2", "-groups", "secp192k1", "-cipher", "ALL:@SECLEVEL=0").returncode == 1


def test_the_server_chooses_the_suite_unless_the_client_wants_chacha(s_client: SClient) -> None:
    first, second = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"
    assert f"Cipher is {second}" in s_client.handshake("-tls1_2", "-cipher", f"{first}:{second}").stdout
    chacha = "ECDHE-ECDSA-CHACHA20-POLY1305"
    assert f"Cipher is {chacha}" in s_client.handshake("-tls1_2", "-cipher", f"{chacha}:{second}").stdout


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("h2,http/1.1", "h2"), ("http/1.1,h2", "h2"), ("http/1.1", "http/1.1"), ("spdy/3,http/1.0", "http/1.0")],
)
def test_alpn(s_client: SClient, offered: str, chosen: str) -> None:
    for version in ("-tls1_2", "-tls1_3"):
        assert f"ALPN protocol: {chosen}\n" in s_client.handshake(version, "-alpn", offered).stdout


def test_alpn_that_does_not_fit_is_refused(s_client: SClient) -> None:
    """ALPACA: nobody who wants to speak to a mail server is answered by this one."""
    for version in ("-tls1_2", "-tls1_3"):
        done = s_client.handshake(version, "-alpn", "imap,smtp")
        assert done.returncode == 1
        assert "alert no application protocol" in done.stdout
    assert "No ALPN negotiated" in s_client.handshake().stdout


def test_no_ocsp_response_is_sent(s_client: SClient) -> None:
    """Python's ssl module cannot staple one."""
    assert "OCSP response: no response sent" in s_client.handshake("-status").stdout


def test_no_early_data(s_client: SClient, tmp_path: Path) -> None:
    session = tmp_path / "session"
    assert "Max Early Data: 0" in s_client.get("-tls1_3", "-sess_out", session)
    assert "Early data was not sent" in s_client.handshake("-tls1_3", "-sess_in", session).stdout


# Within a connection


def test_renegotiation_is_refused_at_once(s_client: SClient) -> None:
    with s_client.open("-tls1_2") as process:
        read_until(process, b"Extended master secret")
        type_in(process, b"R\n")
        assert b"no renegotiation" in read_until(process, b"no renegotiation")
        process.kill()


def test_a_key_update_goes_unnoticed(s_client: SClient) -> None:
    with s_client.open("-tls1_3") as process:
        read_until(process, b"Verify return code: 0 (ok)")
        type_in(process, b"K\n")
        read_until(process, b"KEYUPDATE")
        type_in(process, REQUEST)
        assert b"200 OK" in read_until(process, BODY)
        process.kill()


def test_a_connection_is_ended_with_close_notify(s_client: SClient) -> None:
    """Without it, a cut connection and the end of a body would look the same."""
    text = s_client.get("-msg")
    assert re.search(r"<<< .*Alert .*, warning close_notify", text)


def test_an_unknown_name_gets_the_first_certificate(s_client: SClient) -> None:
    text = s_client.handshake("-servername", "unknown.invalid").stdout
    assert "subject=CN = localhost" in text


# Sessions


def test_sessions_are_resumed(s_client: SClient, tmp_path: Path) -> None:
    for version in ("-tls1_2", "-tls1_3"):
        session = tmp_path / f"session{version}"
        assert "New, TLS" in s_client.get(version, "-sess_out", session)
        assert "Reused, TLS" in s_client.get(version, "-sess_in", session)
    text = s_client.handshake("-tls1_2", "-reconnect").stdout
    assert text.count("Reused, TLSv1.2") == 5


@pytest.fixture(scope="module")
def two_workers(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates, site: Path
) -> Iterator[ServerProcess]:
    """Two processes behind one port."""
    directory = tmp_path_factory.mktemp(f"workers-{engine}")
    write_config(directory, certificates, f'root = "{site}"', engine=engine, workers=2)
    with serving(directory) as running:
        yield running


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Process `pid` is stopped meanwhile: whoever connects is served by the other one."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_of_one_worker_is_resumed_by_the_other(
    two_workers: ServerProcess, certificates: TestCertificates, tmp_path: Path, version: str
) -> None:
    client = SClient(two_workers.port, certificates.ca)
    session = tmp_path / "session"
    first, second = two_workers.workers()
    with held(second):
        assert "New, TLS" in client.get(version, "-sess_out", session)
    with held(first):
        assert "Reused, TLS" in client.get(version, "-sess_in", session)


def test_a_session_of_another_server_is_of_no_use(
    two_workers: ServerProcess, server: ServerProcess, certificates: TestCertificates, tmp_path: Path
) -> None:
    session = tmp_path / "session"
    for version in ("-tls1_2", "-tls1_3"):
        SClient(two_workers.port, certificates.ca).get(version, "-sess_out", session)
        assert "New, TLS" in SClient(server.port, certificates.ca).get(version, "-sess_in", session)
