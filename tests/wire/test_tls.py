"""What TLS refuses and offers, plain HTTP on the wrong port, and garbage, on real sockets."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.wire.clients import TIMEOUT_SECONDS
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.conftest import Dial

LIMITS = """
client_hello_bytes = 4000
closing_seconds = 1
"""
SITE = 'respond = { body = "hello\\n" }'
PLAIN = """
[[listen]]
address = "127.0.0.2:0"
plain_http = "redirect"
redirect_port = 4443
"""
PLAIN_HOST = "127.0.0.2"


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server with a TLS port and a plain one."""
    directory = tmp_path_factory.mktemp(f"tls-{engine}")
    write_config(directory, certificates, SITE, engine=engine, limits=LIMITS, hosts='"localhost"', extra=PLAIN)
    with serving(directory) as process:
        yield process


def handshake(server: ServerProcess, certificates: TestCertificates, **changes: object) -> ssl.SSLSocket:
    """A connection with a context of its own."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    name = changes.pop("name", "localhost")
    alpn = changes.pop("alpn", None)
    for key, value in changes.items():
        setattr(context, key, value)
    if isinstance(alpn, list):
        context.set_alpn_protocols(alpn)
    sock = socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS)
    try:
        return context.wrap_socket(sock, server_hostname=str(name) if name else None)
    except BaseException:
        sock.close()
        raise


def talk(port: int, data: bytes, host: str = "127.0.0.1") -> bytes:
    """All that the server answers to `data`, sent in the clear."""
    answer = b""
    with socket.create_connection((host, port), TIMEOUT_SECONDS) as sock:
        sock.sendall(data)
        try:
            while piece := sock.recv(65_536):
                answer += piece
        except ConnectionResetError:
            pass
    return answer


def test_modern_handshake(server: ServerProcess, certificates: TestCertificates) -> None:
    with handshake(server, certificates, alpn=["h2", "http/1.1"]) as sock:
        assert sock.version() == "TLSv1.3"
        assert sock.selected_alpn_protocol() == "h2"
        assert sock.compression() is None


def test_tls12_has_forward_secrecy_and_aead(server: ServerProcess, certificates: TestCertificates) -> None:
    with handshake(server, certificates, maximum_version=ssl.TLSVersion.TLSv1_2, alpn=["h2"]) as sock:
        cipher, _, _ = sock.cipher() or ("", "", 0)
        assert sock.version() == "TLSv1.2"
        assert cipher.startswith("ECDHE-")
        assert "GCM" in cipher or "CHACHA20" in cipher
        assert sock.selected_alpn_protocol() == "h2"


def test_tls11_is_refused(server: ServerProcess) -> None:
    """A ClientHello as old clients send it, by hand, because OpenSSL does not make one any more."""
    body = b"\x03\x02" + bytes(32) + b"\0" + b"\x00\x04\xc0\x14\x00\x35" + b"\x01\x00"
    hello = b"\x01" + len(body).to_bytes(3, "big") + body
    answer = talk(server.port, b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
    assert answer[:1] == b"\x15"
    assert answer[5:7] == b"\x02\x46", "fatal protocol_version (RFC 8446, section 6.2)"


def test_client_without_alpn_speaks_http1(server: ServerProcess, certificates: TestCertificates) -> None:
    with handshake(server, certificates) as sock:
        assert sock.selected_alpn_protocol() is None
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_no_protocol_in_common_gets_the_alert(server: ServerProcess, certificates: TestCertificates) -> None:
    """ALPACA: a client of another protocol must not be talked to (RFC 7301, section 3.2)."""
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        handshake(server, certificates, alpn=["ftp", "smtp"])
    assert server.wait_for_event("tls refused")["level"] == "info"


def test_client_that_prefers_http1_gets_h2_only_if_it_offers_it(
    server: ServerProcess, certificates: TestCertificates
) -> None:
    with handshake(server, certificates, alpn=["http/1.1"]) as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"


def test_unknown_name_gets_the_first_certificate(server: ServerProcess, certificates: TestCertificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(server, certificates, name="other.test")
    with handshake(server, certificates, name="other.test", check_hostname=False) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 421 ")


def test_client_without_sni_is_served(server: ServerProcess, certificates: TestCertificates) -> None:
    with handshake(server, certificates, name="", check_hostname=False) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_session_is_resumed(server: ServerProcess, certificates: TestCertificates) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    session = None
    for resumed in (False, True):
        raw = socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as sock:
            assert sock.session_reused is resumed
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")
            session = sock.session


def test_client_hello_in_pieces(server: ServerProcess, certificates: TestCertificates) -> None:
    """One byte a segment."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(certificates.ca))
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT_SECONDS) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.sendall(bytes([byte]))
                incoming.write(sock.recv(65_536))
        assert tls.version() == "TLSv1.3"


def test_client_hello_too_large(server: ServerProcess) -> None:
    hello = b"\x01" + (60_000).to_bytes(3, "big") + b"\x03\x03" + bytes(5000)
    data = b"".join(
        b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece
        for piece in (hello[at : at + 1000] for at in range(0, len(hello), 1000))
    )
    refused = server.count_events(event="tls refused")
    answer = talk(server.port, data)
    assert answer[:1] in (b"", b"\x15"), "an alert, or nothing"
    server.wait_for_count(refused + 1, event="tls refused")


GARBAGE = [
    b"\0" * 500, b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01\x03\x01" + bytes(41),
    b"\xff" * 20_000, b"\x15\x03\x01\x00\x02\x02\x28", b"\x17\x03\x03\x00\x05hello", b"\x16\x03\x01\x00\x00" * 50,
    b"{}\n", b"EHLO mail.test\r\n",
]  # fmt: skip


@pytest.mark.parametrize("data", GARBAGE, ids=[repr(data[:12]) for data in GARBAGE])
def test_garbage_is_closed_and_counted(server: ServerProcess, data: bytes) -> None:
    refused = server.count_events(event="tls refused")
    answer = talk(server.port, data)
    assert len(answer) <= 7, "at most an alert"
    server.wait_for_count(refused + 1, event="tls refused")


def test_failed_handshake_is_counted_with_its_reason(server: ServerProcess, certificates: TestCertificates) -> None:
    failed = server.count_events(event="tls handshake failed")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, certificates, name="wrong.test")
    server.wait_for_count(failed + 1, event="tls handshake failed")
    event = server.wait_for_event("tls handshake failed")
    assert (event["level"], event["peer"]) == ("info", "127.0.0.1")
    assert event["why"]


def plain(request: bytes, port: int, host: str = "127.0.0.1") -> tuple[int, str]:
    """(status, location) of a plain HTTP answer."""
    head, _, _ = talk(port, request, host).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith("HTTP/1.1 "), head
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert "strict-transport-security" not in fields
    return int(lines[0].split()[1]), fields.get("location", "")


def test_plain_http_on_the_tls_port_is_redirected(server: ServerProcess) -> None:
    request = b"GET /a%20b?c=d HTTP/1.1\r\nHost: Localhost:80\r\nConnection: close\r\n\r\n"
    assert plain(request, server.port) == (308, f"https://localhost:{server.port}/a%20b?c=d")
    assert plain(request.replace(b"GET", b"POST"), server.port)[0] == 308


def test_plain_port_redirects_to_the_configured_port(server: ServerProcess) -> None:
    request = b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert plain(request, server.ports[1], PLAIN_HOST) == (308, "https://localhost:4443/x")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /\r\nSet-Cookie:a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_plain_http_that_cannot_be_redirected(server: ServerProcess, request_bytes: bytes) -> None:
    assert plain(request_bytes, server.port) == (400, "")
    assert plain(request_bytes, server.ports[1], PLAIN_HOST) == (400, "")


def test_plain_port_does_not_speak_tls(server: ServerProcess, certificates: TestCertificates) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    address = (PLAIN_HOST, server.ports[1])
    with socket.create_connection(address, TIMEOUT_SECONDS) as sock, pytest.raises(ssl.SSLError):
        context.wrap_socket(sock, server_hostname="localhost")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
def test_key_update_flood_ends_the_connection(
    server: ServerProcess, certificates: TestCertificates, dial: Dial, tmp_path: Path
) -> None:
    """`K` makes the client of OpenSSL send a KeyUpdate and ask for one; a few are fine, endless ones are not."""
    other = dial.h2()
    command = [
        "openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "localhost", "-tls1_3",
        "-CAfile", str(certificates.ca),
    ]  # fmt: skip
    flooded = server.count_events(event="tls broken", why="flood: ciphertext without content")
    sent = 0
    with (tmp_path / "errors").open("wb") as errors:
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, bufsize=0)
    said = (tmp_path / "errors").read_bytes
    with contextlib.suppress(BrokenPipeError), client:
        assert client.stdin is not None
        while b"depth=0" not in said():
            assert client.poll() is None
        while sent < 5000 and client.poll() is None:
            client.stdin.write(b"K\n")
            sent += 1
            while said().count(b"KEYUPDATE") < sent and client.poll() is None:
                pass
        client.kill()
    assert 500 < sent < 5000
    server.wait_for_count(flooded + 1, event="tls broken", why="flood: ciphertext without content")
    assert other.request("GET", "/").status == 200
