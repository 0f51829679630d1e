"""Python's own clients: ssl's default context, http.client and urllib, which is what most scripts use."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import socket
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.peers.conftest import LARGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates
    from tests.wire.server_process import ServerProcess

pytestmark = pytest.mark.peer

TIMEOUT_SECONDS = 30


@pytest.fixture(scope="module")
def context(certificates: TestCertificates) -> ssl.SSLContext:
    """What `ssl` recommends, with our authority for the system's."""
    return ssl.create_default_context(cafile=str(certificates.ca))


@pytest.fixture
def connection(server: ServerProcess, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
    """One connection that is kept."""
    made = http.client.HTTPSConnection("localhost", server.port, timeout=TIMEOUT_SECONDS, context=context)
    yield made
    made.close()


def new_opener(context: ssl.SSLContext) -> urllib.request.OpenerDirector:
    """urllib without the proxies of the environment."""
    no_proxy = urllib.request.ProxyHandler({})
    return urllib.request.build_opener(no_proxy, urllib.request.HTTPSHandler(context=context))


@pytest.fixture
def opener(context: ssl.SSLContext) -> urllib.request.OpenerDirector:
    """urllib that trusts our authority."""
    return new_opener(context)


def test_a_connection_is_kept_for_many_requests(connection: http.client.HTTPSConnection, site: Path) -> None:
    sockets = set()
    for number in range(20):
        connection.request("GET", f"/many/{number}.txt")
        answer = connection.getresponse()
        assert (answer.status, answer.version) == (200, 11)
        assert answer.read() == (site / "many" / f"{number}.txt").read_bytes()
        sockets.add(connection.sock)
    assert len(sockets) == 1


def test_head_and_errors_leave_the_connection_usable(connection: http.client.HTTPSConnection) -> None:
    for method, path, status in (("HEAD", "/medium.bin", 200), ("GET", "/nothing", 404), ("DELETE", "/small.txt", 405)):
        connection.request(method, path)
        answer = connection.getresponse()
        assert answer.status == status
        answer.read()
    connection.request("GET", "/small.txt")
    assert connection.getresponse().read() == b"0123456789" * 60


def test_an_upload_in_chunks(connection: http.client.HTTPSConnection, site: Path) -> None:
    """An iterable has no length: http.client sends it chunked."""
    content = (site / "medium.bin").read_bytes()
    pieces = (content[start : start + 10_007] for start in range(0, len(content), 10_007))
    connection.request("POST", "/app/digest", body=pieces, encode_chunked=True)
    expected = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert json.loads(connection.getresponse().read()) == expected


def test_an_upload_of_a_file(connection: http.client.HTTPSConnection, site: Path) -> None:
    with (site / "large.bin").open("rb") as file:
        connection.request("POST", "/app/digest", body=file, headers={"Content-Length": str(LARGE_BYTES)})
    with (site / "large.bin").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert json.loads(connection.getresponse().read()) == {"size": LARGE_BYTES, "sha256": digest}


def test_a_body_of_unknown_length_is_read_piece_by_piece(connection: http.client.HTTPSConnection) -> None:
    connection.request("GET", "/app/stream")
    answer = connection.getresponse()
    assert answer.getheader("transfer-encoding") == "chunked"
    assert [int(line) for line in io.TextIOWrapper(answer, "ascii")] == list(range(100))


def test_urllib_follows_redirects(base: str, opener: urllib.request.OpenerDirector) -> None:
    with opener.open(f"{base}/folder", timeout=TIMEOUT_SECONDS) as answer:
        assert answer.status == 200
        assert answer.url == f"{base}/folder/"
        assert b"<title>Index</title>" in answer.read()


def test_urllib_is_led_from_plain_http_to_https(base: str, opener: urllib.request.OpenerDirector) -> None:
    with opener.open(base.replace("https:", "http:") + "/small.txt", timeout=TIMEOUT_SECONDS) as answer:
        assert answer.url == f"{base}/small.txt"
        assert answer.read() == b"0123456789" * 60


def test_urllib_sees_errors_with_their_pages(base: str, opener: urllib.request.OpenerDirector) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(f"{base}/nothing", timeout=TIMEOUT_SECONDS)
    assert caught.value.code == 404
    assert b"404" in caught.value.read()


def test_urllib_does_not_trust_strangers(base: str, stranger: TestCertificates) -> None:
    context = ssl.create_default_context(cafile=str(stranger.ca))
    opener = new_opener(context)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        opener.open(f"{base}/small.txt", timeout=TIMEOUT_SECONDS)


def test_our_certificates_stand_strict_verification(base: str, certificates: TestCertificates) -> None:
    """Python 3.13 asks for it by default: key identifiers, key usage, critical basic constraints (RFC 5280)."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    opener = new_opener(context)
    with opener.open(f"{base}/small.txt", timeout=TIMEOUT_SECONDS) as answer:
        assert answer.status == 200


def test_a_session_is_resumed(server: ServerProcess, context: ssl.SSLContext) -> None:
    session = None
    for resumed in (False, True):
        raw = socket.create_connection(("localhost", server.port), TIMEOUT_SECONDS)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as sock:
            sock.sendall(b"GET /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while sock.recv(65_536):
                pass
            assert sock.session_reused is resumed
            session = sock.session
