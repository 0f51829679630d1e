"""An authorizer: one that is real (php-fpm), and those that are silent, broken or lie."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import pytest

from securelight.stages.authorizer import FEATURE, AuthorizerConfig
from tests.handlers.accepting import Accepting
from tests.peers.php import running_fpm
from tests.wire.clients import Client, Http1, Http2
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates

END = b"\x01\x03\x00\x01\x00\x08\x00\x00" + bytes(8)
BEGIN, STDIN = 1, 5
ANSWERS = {
    b"/allowed": b"Status: 200 OK\r\nVariable-REMOTE_USER: tide\r\nVariable-GROUP: sailors\r\n\r\n",
    b"/forged": b"Status: 200\r\nVariable-SCRIPT_FILENAME: /bin/sh\r\nVariable-HTTP_PROXY: http://evil\r\n"
    b"Variable-CONTENT_LENGTH: 5\r\nVariable-GOOD: yes\r\n\r\n",
    b"/login": b"Status: 302 Found\r\nLocation: /login-page\r\nSet-Cookie: a=b\r\n\r\n",
    b"/refused": b"Status: 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nnot you",
    b"/junk": b"no head",
    b"/short": b"Status: 403\r\nContent-Length: 90\r\n\r\nhalf",
    b"/huge": b"Status: 403\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 100_000,
    b"/empty": b"",
}
PHP = """<?php
if (($_SERVER['HTTP_AUTHORIZATION'] ?? '') === 'Bearer high-water') {
    header('Variable-REMOTE_USER: tide');
} else {
    header('WWW-Authenticate: Bearer');
    http_response_code(401);
    echo 'who are you?';
}
"""


def record(data: bytes) -> bytes:
    return struct.pack("!BBHHBx", 1, 6, 1, len(data), 0) + data


class FakeAuthorizer:
    """Answers as ANSWERS says for the path; says nothing for /silent, ends the connection for /gone."""

    def __init__(self, path: Path) -> None:
        self.seen: list[bytes] = []
        self.roles: set[int] = set()
        self.accepting = Accepting(path, self._serve)

    def _serve(self, sock: socket.socket) -> None:
        with sock.makefile("rb") as file:
            while self._answer_one(sock, file):
                pass

    def _answer_one(self, sock: socket.socket, file: BinaryIO) -> bool:
        seen = b""
        while True:
            header = file.read(8)
            if len(header) < 8:
                return False
            _version, kind, _identity, length, padding, _ = struct.unpack("!BBHHBB", header)
            content = file.read(length + padding)
            if kind == BEGIN:
                self.roles.add(int.from_bytes(content[:2]))
            seen += content
            if kind == STDIN and not length:
                break
        self.seen.append(seen)
        if b"REQUEST_URI/silent" in seen:
            return bool(file.read(1))  # until the server has had enough
        if b"REQUEST_URI/gone" in seen:
            return False
        answer = next(answer for path, answer in ANSWERS.items() if b"REQUEST_URI" + path in seen)
        pieces = [answer[start : start + 50_000] for start in range(0, len(answer), 50_000)]
        sock.sendall(b"".join(map(record, pieces)) + END)
        return True


@pytest.fixture(scope="module")
def authorizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAuthorizer]:
    made = FakeAuthorizer(tmp_path_factory.getbasetemp() / "authorizer.sock")
    yield made
    made.accepting.close()


@pytest.fixture(scope="module")
def server(
    authorizer: FakeAuthorizer, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server whose routes ask the authorizer: a program that tells its environment, and a plain answer."""
    assert authorizer is not None
    directory = tmp_path_factory.mktemp("authorizer")
    program = directory / "environment"
    program.write_text('#!/bin/sh\nprintf "Content-Type: text/plain\\n\\n"\nenv\nwc -c\n')
    program.chmod(0o755)
    socket = tmp_path_factory.getbasetemp() / "authorizer.sock"
    site = f"""
authorizer = {{ upstream = "unix:{socket}", seconds = 3, connections = 1 }}
cgi = {{ program = "{program}", run_as_root = true }}
"""
    write_config(directory, certificates, site)
    with running(directory) as process:
        yield process


@pytest.fixture(params=[Http1, Http2])
def client(request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates) -> Iterator[Client]:
    made: Client = request.param(server.port, certificates.ca)
    yield made
    made.close()


def test_what_is_allowed_is_answered_with_what_was_found_out(client: Client, authorizer: FakeAuthorizer) -> None:
    found = client.request("POST", "/allowed", {"content-length": "6"}, b"secret")
    lines = found.body.decode().splitlines()
    values = dict(line.split("=", 1) for line in lines[:-1])
    assert (found.status, lines[-1].strip()) == (200, "6")
    assert (values["REMOTE_USER"], values["GROUP"]) == ("tide", "sailors")
    assert authorizer.roles == {2}
    assert b"secret" not in authorizer.seen[-1]
    for name in (b"CONTENT_LENGTH", b"PATH_INFO", b"SCRIPT_NAME"):
        assert name not in authorizer.seen[-1]


def test_variables_that_would_change_the_request_are_dropped(client: Client) -> None:
    found = client.request("GET", "/forged")
    values = dict(line.split("=", 1) for line in found.body.decode().splitlines()[:-1])
    assert values["GOOD"] == "yes"
    assert values["SCRIPT_FILENAME"].endswith("/environment")
    assert "HTTP_PROXY" not in values
    assert "CONTENT_LENGTH" not in values


def test_everything_else_that_it_says_is_for_the_client(client: Client) -> None:
    found = client.request("GET", "/login")
    assert (found.status, found.headers["location"], found.headers["set-cookie"]) == (302, "/login-page", "a=b")
    found = client.request("GET", "/refused")
    assert (found.status, found.body) == (403, b"not you")
    assert client.request("HEAD", "/refused").body == b""


@pytest.mark.parametrize(
    ("path", "status"),
    [("/junk", 502), ("/short", 502), ("/huge", 502), ("/empty", 502), ("/gone", 502), ("/silent", 504)],
)
def test_nothing_passes_because_something_broke(client: Client, path: str, status: int) -> None:
    assert client.request("GET", path).status == status
    assert client.request("GET", "/refused").status == 403


def test_an_authorizer_in_php_guards_files(tmp_path: Path, certificates: TestCertificates) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/tide.txt").write_text("high water")
    (tmp_path / "guard.php").write_text(PHP)
    with running_fpm(tmp_path) as socket:
        site = f"""
static_file.root = "{tmp_path}/site"
[site.authorizer]
upstream = "unix:{socket}"
variables = {{ SCRIPT_FILENAME = "{tmp_path}/guard.php" }}
"""
        write_config(tmp_path, certificates, site)
        with running(tmp_path) as server:
            for kind in (Http1, Http2):
                client = kind(server.port, certificates.ca)
                try:
                    for _ in range(2):
                        found = client.request("GET", "/tide.txt")
                        assert (found.status, found.body) == (401, b"who are you?")
                        assert found.headers["www-authenticate"] == "Bearer"
                        found = client.request("GET", "/tide.txt", {"authorization": "Bearer high-water"})
                        assert (found.status, found.body) == (200, b"high water")
                finally:
                    client.close()


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"upstream": "http://a/"}, "is not the address of an application"),
        ({"variables": {"REQUEST_METHOD": "GET"}}, "REQUEST_METHOD is what the client sent"),
    ],
)
def test_faults_of_the_settings(tmp_path: Path, keys: dict[str, Any], part: str) -> None:
    (found,) = FEATURE.check(msgspec.convert({"upstream": "127.0.0.1:9000", **keys}, AuthorizerConfig), tmp_path)
    assert part in found
