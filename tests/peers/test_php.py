"""A PHP application behind php-fpm, behind php-cgi as a CGI program, and behind processes that the server starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from securelight.protocol.engine import native_available
from tests.peers.php import Fpm, running_pools
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


WAYS = ("unix", "tcp", "both", "cgi", "spawn")
"""php-fpm on a unix socket, on TCP, and on both in turn; php-cgi for each request, and started by the server."""


@pytest.fixture(scope="module", params=["pure", "native"])
def php(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[tuple[ServerProcess, Fpm]]:
    """A server for each engine, with the application at a path for each way."""
    if request.param == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    directory = tmp_path_factory.mktemp(f"php-{request.param}")
    for name in ("sessions", "files"):
        (directory / name).mkdir()
    (directory / "files/tide.pdf").write_bytes(FILE)
    (directory / "files/.hidden").write_text("hidden")
    (directory / "secret").write_text("secret")
    (directory / "files/leads-out").symlink_to(directory / "secret")
    with contextlib.ExitStack() as stack:
        fpm = stack.enter_context(running_pools(directory))
        one = "connections = { idle = 1 }"
        keys = {
            "unix": f'upstream = "{fpm.unix}"\n{one}',
            "tcp": f'upstream = "{fpm.tcp}"\n{one}',
            "both": f'upstreams = ["{fpm.unix}", "{fpm.tcp}", "unix:{directory}/none"]\n{one}\n'
            'health = { path = "/ping", seconds = 0.1, timeout_seconds = 20, downs = 1 }',
            "cgi": f'run_as_root = true\ninterpreters = {{ ".php" = "{php_cgi()}" }}',
            "spawn": f'spawn = {{ command = ["{php_cgi()}"], maximum = 3 }}',
        }
        site = "".join(
            f"""
[[site.route]]
path = "/{way}"
[site.route.{"cgi" if way == "cgi" else "fastcgi"}]
root = "{APPLICATION}"
{keys[way]}
variables = {{ SESSIONS = "{directory}/sessions", FILES = "{directory}/files" }}
sendfile = {{ roots = ["{directory}/files"], locations = {{ "/protected" = "{directory}/files" }} }}
"""
            for way in WAYS
        )
        write_config(directory, certificates, site, engine=request.param)
        yield stack.enter_context(running(directory)), fpm


@pytest.fixture(params=[Http1, Http2])
def client(
    request: pytest.FixtureRequest, php: tuple[ServerProcess, Fpm], certificates: TestCertificates
) -> Iterator[Client]:
    made: Client = request.param(php[0].port, certificates.ca)
    yield made
    made.close()


@pytest.fixture(params=WAYS)
def at(request: pytest.FixtureRequest) -> str:
    """The path of the application."""
    return f"/{request.param}/index.php"


def test_paths_and_variables(client: Client, at: str) -> None:
    found = client.request("GET", f"{at}/a%20b/c?q=1", {"proxy": "http://evil"})
    assert found.headers["x-script"] == at
    assert json.loads(found.body) == {
        "PATH_INFO": "/a b/c", "QUERY_STRING": "q=1", "REQUEST_METHOD": "GET", "HTTPS": "on", "HTTP_PROXY": None,
        "REMOTE_ADDR": "127.0.0.1", "SCRIPT_FILENAME": str(APPLICATION / "index.php"),
    }  # fmt: skip
    assert client.request("GET", at.replace("index", "none")).status == 404


def test_an_upload_arrives_whole(client: Client, at: str) -> None:
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
    found = client.request("POST", f"{at}/upload", fields, body)
    name, size, digest, note = found.body.decode().split(" ", 3)
    assert (name, int(size), digest, note) == (
        "tide.bin", len(content), hashlib.sha256(content).hexdigest(), "high water",
    )  # fmt: skip


def test_a_large_body_and_a_large_answer_pass(client: Client, at: str) -> None:
    body = os.urandom(700_000)
    fields = {"content-type": "text/plain", "content-length": str(len(body))}
    digest = client.request("POST", f"{at}/body", fields, body).body
    assert digest.decode() == hashlib.sha256(body).hexdigest()
    found = client.request("GET", f"{at}/large")
    assert found.body == b"".join(bytes([65 + number % 26]) * 100_000 for number in range(15))


def test_a_session_lives_over_requests(client: Client, at: str) -> None:
    found = client.request("GET", f"{at}/session")
    assert found.body == b"1"
    cookie = found.headers["set-cookie"].partition(";")[0]
    for count in (b"2", b"3"):
        assert client.request("GET", f"{at}/session", {"cookie": cookie}).body == count


def test_a_redirect_of_the_application_is_the_clients(client: Client, at: str) -> None:
    found = client.request("GET", f"{at}/redirect")
    assert (found.status, found.headers["location"]) == (303, f"{at}/plain")


def test_a_file_that_it_names_is_sent_with_ranges_and_validators(client: Client, at: str) -> None:
    for path in (f"{at}/file", f"{at}/accel"):
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
    assert client.request("GET", f"{at}/file").headers["content-disposition"].startswith("attachment")


def test_no_other_file_is_sent(client: Client, at: str) -> None:
    for name in ("none", "../secret", "leads-out", ".hidden", "..%2fsecret", ""):
        found = client.request("GET", f"{at}/file?name={name}")
        assert found.status == 404, name
        assert b"secret" not in found.body


def test_what_it_says_beside_its_answer_is_logged(client: Client, at: str, php: tuple[ServerProcess, Fpm]) -> None:
    words = f"{client.protocol} {at} ran dry"
    assert client.request("GET", f"{at}/stderr?say={quote(words)}").body == b"said"

    def said() -> bool:
        return any(words in event.get("text", "") for event in php[0].events())

    wait_until(said, 20)


def test_php_fpm_is_asked_whether_it_is_well(php: tuple[ServerProcess, Fpm]) -> None:
    """By its ping.path, which names no script; both pools are well, the third address is not."""
    server, fpm = php

    def pings() -> list[list[str]]:
        """The lines of both pools, once each was asked three times."""
        lines = [log.read_text().splitlines() if log.exists() else [] for log in fpm.asked.values()]
        found = [[line for line in pool if line.startswith("/ping")] for pool in lines]
        return found if all(len(pool) >= 3 for pool in found) else []

    assert {line for pool in wait_until(pings, 20) for line in pool} == {"/ping 200"}
    down = [event["upstream"] for event in server.events() if event["event"] == "upstream down"]
    assert down == [f"unix:{server.directory}/none"]


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
