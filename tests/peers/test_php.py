"""A PHP application behind php-fpm, behind php-cgi as a CGI program, and behind processes that the server starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.engine import native_available
from tests.peers.php import running_fpm
from tests.server.processes import alive, wait_until
from tests.wire.clients import Client, Http1, Http2
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates

APPLICATION = Path(__file__).parent / "php_app"
FILE = bytes(range(256)) * 4000
BOUNDARY = "----tide"


def php_cgi() -> str:
    program = shutil.which("php-cgi")
    if program is None:
        pytest.skip("php-cgi is not installed")
    return program


@pytest.fixture(scope="module", params=["fpm-native", "cgi-pure", "spawn-pure"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server with the application at /php."""
    kind, engine = request.param.split("-")
    if engine == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    directory = tmp_path_factory.mktemp(f"php-{request.param}")
    for name in ("sessions", "files"):
        (directory / name).mkdir()
    (directory / "files/tide.pdf").write_bytes(FILE)
    (directory / "files/.hidden").write_text("hidden")
    (directory / "secret").write_text("secret")
    (directory / "files/leads-out").symlink_to(directory / "secret")
    with contextlib.ExitStack() as stack:
        if kind == "fpm":
            keys = f'upstream = "unix:{stack.enter_context(running_fpm(directory))}"\nconnections = {{ idle = 2 }}'
        elif kind == "spawn":
            keys = f'spawn = {{ command = ["{php_cgi()}"], maximum = 3 }}'
        else:
            keys = f'run_as_root = true\ninterpreters = {{ ".php" = "{php_cgi()}" }}'
        site = f"""
[[site.route]]
path = "/php"
[site.route.{"cgi" if kind == "cgi" else "fastcgi"}]
root = "{APPLICATION}"
{keys}
variables = {{ SESSIONS = "{directory}/sessions", FILES = "{directory}/files" }}
sendfile = {{ roots = ["{directory}/files"], locations = {{ "/protected" = "{directory}/files" }} }}
"""
        write_config(directory, certificates, site, engine=engine)
        yield stack.enter_context(running(directory))


@pytest.fixture(params=[Http1, Http2])
def client(request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates) -> Iterator[Client]:
    made: Client = request.param(server.port, certificates.ca)
    yield made
    made.close()


def test_paths_and_variables(client: Client) -> None:
    found = client.request("GET", "/php/index.php/a%20b/c?q=1", {"proxy": "http://evil"})
    assert found.headers["x-script"] == "/php/index.php"
    assert json.loads(found.body) == {
        "PATH_INFO": "/a b/c", "QUERY_STRING": "q=1", "REQUEST_METHOD": "GET", "HTTPS": "on", "HTTP_PROXY": None,
        "REMOTE_ADDR": "127.0.0.1", "SCRIPT_FILENAME": str(APPLICATION / "index.php"),
    }  # fmt: skip
    assert client.request("GET", "/php/none.php").status == 404


def test_an_upload_arrives_whole(client: Client) -> None:
    content = os.urandom(700_000)
    body = (
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhigh water\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="tide.bin"\r\n\r\n'
        ).encode()
        + content
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    fields = {"content-type": f"multipart/form-data; boundary={BOUNDARY}", "content-length": str(len(body))}
    found = client.request("POST", "/php/index.php/upload", fields, body)
    name, size, digest, note = found.body.decode().split(" ", 3)
    assert (name, int(size), digest, note) == (
        "tide.bin", len(content), hashlib.sha256(content).hexdigest(), "high water",
    )  # fmt: skip


def test_a_large_body_and_a_large_answer_pass(client: Client) -> None:
    body = os.urandom(700_000)
    fields = {"content-type": "text/plain", "content-length": str(len(body))}
    digest = client.request("POST", "/php/index.php/body", fields, body).body
    assert digest.decode() == hashlib.sha256(body).hexdigest()
    found = client.request("GET", "/php/index.php/large")
    assert found.body == b"".join(bytes([65 + number % 26]) * 100_000 for number in range(15))


def test_a_session_lives_over_requests(client: Client) -> None:
    found = client.request("GET", "/php/index.php/session")
    assert found.body == b"1"
    cookie = found.headers["set-cookie"].partition(";")[0]
    for count in (b"2", b"3"):
        assert client.request("GET", "/php/index.php/session", {"cookie": cookie}).body == count


def test_a_redirect_of_the_application_is_the_clients(client: Client) -> None:
    found = client.request("GET", "/php/index.php/redirect")
    assert (found.status, found.headers["location"]) == (303, "/php/index.php/plain")


def test_a_file_that_it_names_is_sent_with_ranges_and_validators(client: Client) -> None:
    for path in ("/php/index.php/file", "/php/index.php/accel"):
        found = client.request("GET", path)
        assert (found.status, found.body) == (200, FILE)
        assert found.headers["content-type"] == "application/pdf"
        assert "x-sendfile" not in found.headers
        assert "x-accel-redirect" not in found.headers
        part = client.request("GET", path, {"range": "bytes=100-199"})
        assert (part.status, part.body) == (206, FILE[100:200])
        assert client.request("GET", path, {"if-none-match": found.headers["etag"]}).status == 304
        head = client.request("HEAD", path)
        assert (head.status, head.headers["content-length"]) == (200, str(len(FILE)))
    assert client.request("GET", "/php/index.php/file").headers["content-disposition"].startswith("attachment")


def test_no_other_file_is_sent(client: Client) -> None:
    for name in ("none", "../secret", "leads-out", ".hidden", "..%2fsecret", ""):
        found = client.request("GET", f"/php/index.php/file?name={name}")
        assert found.status == 404, name
        assert b"secret" not in found.body


def test_processes_that_the_server_started_end_with_it(tmp_path: Path, certificates: TestCertificates) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "pid.php").write_text("<?php header('Content-Type: text/plain'); echo getmypid(); ?>")
    site = f'fastcgi = {{ root = "{root}", spawn = {{ command = ["{php_cgi()}"], maximum = 3 }} }}'
    write_config(tmp_path, certificates, site)
    with running(tmp_path) as server:
        client = Http2(server.port, certificates.ca)
        with contextlib.closing(client):
            found = {int(client.request("GET", "/pid.php").body) for _ in range(5)}
        assert all(alive(process) for process in found)
        assert server.stop() == 0
        wait_until(lambda: not any(alive(process) for process in found), 20)
