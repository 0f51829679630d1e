"""uwsgi: the program uWSGI behind a real server, and applications that break the protocol."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from securelight.handlers.uwsgi import FEATURE, PACKET_BYTES, UwsgiConfig, request_head
from securelight.model.errors import Refusal
from tests.handlers.accepting import Accepting
from tests.server.processes import wait_until
from tests.wire.clients import Client, Http1, Http2
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.certificates import TestCertificates

APPLICATION = """
import hashlib, json

def application(environ, start_response):
    if environ["PATH_INFO"] == "/upload":
        digest, size = hashlib.sha256(), 0
        while piece := environ["wsgi.input"].read(65536):
            digest.update(piece)
            size += len(piece)
        start_response("201 Created", [("Content-Type", "text/plain")])
        return [f"{size} {digest.hexdigest()}".encode()]
    if environ["PATH_INFO"] == "/large":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"x" * 65536 for _ in range(160))
    start_response("200 OK", [("Content-Type", "application/json"), ("X-Seen", environ["REQUEST_METHOD"])])
    names = ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "HTTPS", "HTTP_X_A", "HTTP_PROXY", "SERVER_PROTOCOL")
    return [json.dumps({name: environ.get(name) for name in names}).encode()]
"""
ANSWERS = {
    b"/junk": b"junk\r\n\r\n",
    b"/nothing": b"",
    b"/other": b"HTTP/3 200 OK\r\n\r\n",
    b"/endless": b"HTTP/1.1 200 " + b"a" * 2000,
    b"/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"/interim": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"/short": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    b"/long": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhalf",
    b"/bare": b"HTTP/1.0 404 Nothing\r\n\r\n",
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates) -> Iterator[ServerProcess]:
    """A server in front of uWSGI."""
    program = shutil.which("pyuwsgi", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("pyuwsgi is not installed")
    directory = tmp_path_factory.mktemp("uwsgi")
    (directory / "app.py").write_text(APPLICATION)
    path, log = directory / "app.sock", directory / "uwsgi.log"
    command = [program, "--socket", str(path), "--wsgi-file", str(directory / "app.py"), "--need-app", "--die-on-term"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory)
    try:
        wait_until(lambda: path.exists() or process.poll() is not None, 20)
        assert process.poll() is None, log.read_text()
        site = f'[[site.route]]\npath = "/app"\nuwsgi.upstream = "unix:{path}"\n'
        write_config(directory, certificates, site)
        with running(directory) as server:
            yield server
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(params=[Http1, Http2])
def client(request: pytest.FixtureRequest, real: ServerProcess, certificates: TestCertificates) -> Iterator[Client]:
    made: Client = request.param(real.port, certificates.ca)
    yield made
    made.close()


def test_uwsgi_runs_an_application(client: Client) -> None:
    found = client.request("GET", "/app/a%20b?q=1", {"x-a": "b", "proxy": "http://evil"})
    assert found.status == 200
    assert found.headers["x-seen"] == "GET"
    version = "HTTP/2.0" if client.protocol == "h2" else "HTTP/1.1"
    assert json.loads(found.body) == {
        "SCRIPT_NAME": "/app", "PATH_INFO": "/a b", "QUERY_STRING": "q=1", "HTTPS": "on", "HTTP_X_A": "b",
        "HTTP_PROXY": None, "SERVER_PROTOCOL": version,
    }  # fmt: skip
    assert client.request("HEAD", "/app/").status == 200


def test_large_bodies_pass_both_ways(client: Client) -> None:
    body = b"0123456789" * 100_000
    found = client.request("POST", "/app/upload", {"content-length": str(len(body))}, body)
    assert (found.status, found.body.split()[0]) == (201, b"1000000")
    assert len(client.request("GET", "/app/large").body) == 160 * 65_536


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates) -> Iterator[ServerProcess]:
    """A server in front of an application that answers as ANSWERS says."""
    directory = tmp_path_factory.mktemp("uwsgi-broken")

    def serve(sock: socket.socket) -> None:
        with sock.makefile("rb") as file:
            _modifier, size, _ = struct.unpack("<BHB", file.read(4))
            packet = file.read(size)
        path = next(name for name in ANSWERS if b"PATH_INFO" + struct.pack("<H", len(name)) + name in packet)
        sock.sendall(ANSWERS[path])

    accepting = Accepting(directory / "app.sock", serve)
    write_config(directory, certificates, f'uwsgi.upstream = "unix:{directory}/app.sock"')
    with running(directory) as server:
        yield server
    accepting.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/junk", 502), ("/nothing", 502), ("/other", 502), ("/endless", 502), ("/chunked", 502), ("/interim", 502),
        ("/bare", 404), ("/short", None), ("/long", None),
    ],
)  # fmt: skip
def test_a_broken_answer_never_looks_whole(
    broken: ServerProcess, certificates: TestCertificates, path: str, status: int | None
) -> None:
    for kind in (Http1, Http2):
        client = kind(broken.port, certificates.ca)
        try:
            found = client.request("GET", path)
            assert found.status == status if status else found.reset is not None
        finally:
            client.close()


@settings(max_examples=100)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.binary(max_size=300)), max_size=30))
def test_a_packet_can_be_taken_apart_again(variables: list[tuple[bytes, bytes]]) -> None:
    packet = request_head(variables, 5)
    modifier1, size, modifier2 = struct.unpack_from("<BHB", packet)
    assert (modifier1, size, modifier2) == (5, len(packet) - 4, 0)
    found, start = [], 4
    while start < len(packet):
        pair = []
        for _ in range(2):
            (length,) = struct.unpack_from("<H", packet, start)
            pair.append(packet[start + 2 : start + 2 + length])
            start += 2 + length
        found.append((pair[0], pair[1]))
    assert found == variables


def test_what_no_packet_holds_is_refused() -> None:
    assert len(request_head([(b"A", b"x" * (PACKET_BYTES - 5))])) == PACKET_BYTES + 4
    with pytest.raises(Refusal) as refused:
        request_head([(b"A", b"x" * (PACKET_BYTES - 4))])
    assert refused.value.status == 431


def test_faults_of_the_settings(tmp_path: Path) -> None:
    def fault(**keys: object) -> str:
        (found,) = FEATURE.check(msgspec.convert(keys, UwsgiConfig), tmp_path)
        return found

    assert "is not the address of an application" in fault(upstream="relative")
    assert "name either upstream" in fault()
    assert "name either upstream" in fault(upstream="127.0.0.1:1", upstreams=["127.0.0.1:2"])
    assert "hash_name must name" in fault(upstreams=["127.0.0.1:1", "127.0.0.1:2"], balance="hash_header")
