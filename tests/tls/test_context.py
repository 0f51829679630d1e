from __future__ import annotations

import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from securelight.model.errors import CertificateError
from securelight.tls.context import server_context
from securelight.tls.policy import INTERMEDIATE, MODERN
from tests.certificates import TestCertificates, make_test_certificates
from tests.tls.handshakes import certificate_of, client_context, handshake


def test_a_client_that_trusts_the_authority_is_content(certificates: TestCertificates) -> None:
    shaken = handshake(server_context(MODERN, [certificates.pair]), client_context(certificates.ca))
    assert shaken.client.version() == "TLSv1.3"


@pytest.mark.parametrize("host", ["example.test", "www.example.test", "127.0.0.1", "::1"])
def test_every_name_of_the_certificate_is_accepted(host: str, certificates: TestCertificates) -> None:
    handshake(server_context(MODERN, [certificates.pair]), client_context(certificates.ca), host)


@pytest.mark.parametrize("host", ["other.test", "a.b.example.test", "127.0.0.2", "localhost.example"])
def test_a_client_that_asked_for_another_host_refuses(host: str, certificates: TestCertificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid for"):
        handshake(server_context(MODERN, [certificates.pair]), client_context(certificates.ca), host)


def test_a_client_that_does_not_know_the_authority_refuses(certificates: TestCertificates, tmp_path: Path) -> None:
    stranger = make_test_certificates(tmp_path / "certs")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(MODERN, [certificates.pair]), client_context(stranger.ca))


def test_an_expired_certificate_is_served_and_refused_by_the_client(tmp_path: Path) -> None:
    """An operator who has no other is told by `check`; the server does not stop for it."""
    from datetime import timedelta

    expired = make_test_certificates(tmp_path / "certs", age=timedelta(days=91))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(server_context(MODERN, [expired.pair]), client_context(expired.ca))


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("h2", "http/1.1"), "h2"),
        (("http/1.1", "h2"), "h2"),
        (("http/1.1",), "http/1.1"),
        (("spdy/3", "http/1.1"), "http/1.1"),
        ((), None),
    ],
)
def test_alpn_is_agreed_in_our_order(
    offered: tuple[str, ...], chosen: str | None, certificates: TestCertificates
) -> None:
    shaken = handshake(server_context(MODERN, [certificates.pair]), client_context(certificates.ca, offered))
    assert shaken.client.selected_alpn_protocol() == chosen


def test_old_clients_get_rsa_and_others_ecdsa(tmp_path: Path) -> None:
    ecdsa = make_test_certificates(tmp_path / "certs", stem="ecdsa")
    rsa = make_test_certificates(tmp_path / "certs", stem="rsa", key_type="rsa")
    server = server_context(INTERMEDIATE, [ecdsa.pair, rsa.pair])
    modern = handshake(server, client_context(ecdsa.ca))
    old_client = client_context(ecdsa.ca)
    old_client.maximum_version = ssl.TLSVersion.TLSv1_2
    old_client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    old = handshake(server, old_client)
    assert certificate_of(modern) == ssl.PEM_cert_to_DER_cert(ecdsa.chain.read_text())
    assert certificate_of(old) == ssl.PEM_cert_to_DER_cert(rsa.chain.read_text())


def test_two_certificates_of_one_key_type_are_refused(tmp_path: Path) -> None:
    """OpenSSL would forget the first without a word."""
    first = make_test_certificates(tmp_path / "certs", ["a.test"], stem="a")
    second = make_test_certificates(tmp_path / "certs", ["b.test"], stem="b")
    with pytest.raises(CertificateError, match=r"second ECDSA certificate") as caught:
        server_context(MODERN, [first.pair, second.pair])
    assert caught.value.where == str(second.chain)


def test_a_key_of_another_certificate_is_named(tmp_path: Path) -> None:
    first = make_test_certificates(tmp_path / "certs", stem="a")
    second = make_test_certificates(tmp_path / "certs", stem="b")
    with pytest.raises(CertificateError, match="does not belong to the first certificate") as caught:
        server_context(MODERN, [(first.chain, second.key)])
    assert caught.value.where == str(first.chain)


def test_a_missing_file_is_named(certificates: TestCertificates, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="No such file") as caught:
        server_context(MODERN, [(certificates.chain, tmp_path / "none.key")])
    assert caught.value.where == str(tmp_path / "none.key")


def serve_one_connection(context: ssl.SSLContext, server_end: socket.socket) -> int:
    """A worker: a process forked after the context was made."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with context.wrap_socket(server_end, server_side=True) as tls:
                tls.sendall(b"hello")
                tls.recv(1)
            status = 0
        finally:
            os._exit(status)
    server_end.close()
    return child


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_of_one_worker_is_resumed_by_another(version: ssl.TLSVersion, certificates: TestCertificates) -> None:
    context = server_context(INTERMEDIATE, [certificates.pair])
    client = client_context(certificates.ca)
    client.maximum_version = version
    session: ssl.SSLSession | None = None
    reused = []
    for _ in range(2):
        client_end, server_end = socket.socketpair()
        client_end.settimeout(10)
        with client_end:
            child = serve_one_connection(context, server_end)
            with client.wrap_socket(client_end, server_hostname="localhost", session=session) as tls:
                assert tls.recv(5) == b"hello"
                session = tls.session
                reused.append(tls.session_reused)
                tls.sendall(b"!")
            assert os.waitpid(child, 0)[1] == 0
    assert reused == [False, True]


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def https_server(context: ssl.SSLContext) -> Iterator[int]:
    """A few requests over real sockets on loopback; the port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that refuse us are the point
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_accepts_the_certificate_with_the_printed_option_alone(certificates: TestCertificates) -> None:
    def curl(*arguments: str | Path) -> int:
        return subprocess.run(
            ["curl", "-sS", "--max-time", "10", *arguments], capture_output=True, check=False
        ).returncode

    with https_server(server_context(MODERN, [certificates.pair], alpn=("http/1.1",))) as port:
        assert curl("--cacert", certificates.ca, f"https://localhost:{port}/") == 0
        assert curl("--cacert", certificates.ca, f"https://127.0.0.1:{port}/") == 0
        for host, expected in (("www.example.test", 0), ("other.test", 60)):
            to_loopback = f"{host}:{port}:127.0.0.1"
            assert curl("--cacert", certificates.ca, "--resolve", to_loopback, f"https://{host}:{port}/") == expected
        assert curl(f"https://localhost:{port}/") == 60
