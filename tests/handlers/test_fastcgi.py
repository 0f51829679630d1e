"""FastCGI: php-cgi behind a real server, and applications that break every rule."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import pytest

from securelight.handlers.fastcgi import FEATURE, FastcgiConfig
from tests.handlers.accepting import Accepting
from tests.server.processes import wait_until
from tests.wire.clients import Http1, Http2
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates

STDOUT, STDERR, END = 6, 7, 3
HEAD = b"Content-Type: text/plain\r\n\r\n"
PHP = """<?php
header('X-Script: ' . $_SERVER['SCRIPT_NAME']);
if (($_GET['say'] ?? '') === 'error') { error_log('the tide is out'); }
if ($_SERVER['REQUEST_METHOD'] === 'POST') { echo strlen(file_get_contents('php://input')); exit; }
foreach (['PATH_INFO', 'HTTPS', 'HTTP_PROXY', 'HTTP_X_A', 'SCRIPT_FILENAME', 'SSL_CLIENT_VERIFY'] as $name) {
    echo $name, '=', $_SERVER[$name] ?? 'unset', "\\n";
}
"""


def record(kind: int, data: bytes) -> bytes:
    return struct.pack("!BBHHBx", 1, kind, 1, len(data), 0) + data


END_RECORD = record(END, bytes(8))


class RawApplication:
    """Answers requests with `answer`, then closes unless that ends well."""

    def __init__(self, path: Path) -> None:
        self.answer = b""
        self.requests: list[bytes] = []
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
            seen += file.read(length + padding)
            if kind == 5 and not length:
                break
        self.requests.append(seen)
        sock.sendall(self.answer)
        return self.answer.endswith(END_RECORD)


@pytest.fixture(scope="module")
def front(
    tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[tuple[ServerProcess, RawApplication]]:
    """A server, and the application that it stands in front of."""
    directory = tmp_path_factory.mktemp("fastcgi")
    application = RawApplication(directory / "app.sock")
    write_config(directory, certificates, f'fastcgi.upstream = "unix:{directory}/app.sock"')
    with running(directory) as server:
        yield server, application
    application.accepting.close()


@pytest.fixture
def answering(front: tuple[ServerProcess, RawApplication]) -> Any:
    """The same; the application answers with these bytes from now on."""

    def start(answer: bytes) -> tuple[ServerProcess, RawApplication]:
        server, application = front
        application.answer = answer
        application.requests.clear()
        application.accepting.connections = 0
        return server, application

    return start


def test_a_connection_is_kept_and_what_is_said_on_the_way_is_logged(
    answering: Any, certificates: TestCertificates
) -> None:
    server, application = answering(record(STDERR, b"a warning") + record(STDOUT, HEAD + b"tide") + END_RECORD)
    client = Http1(server.port, certificates.ca)
    try:
        assert [client.request("GET", "/a").body for _ in range(3)] == [b"tide"] * 3
    finally:
        client.close()
    assert application.accepting.connections <= 1
    assert server.wait_for_event("application error output")["text"] == "a warning"


def test_a_header_can_pass_for_no_other(answering: Any, certificates: TestCertificates) -> None:
    server, application = answering(record(STDOUT, HEAD) + END_RECORD)
    client = Http1(server.port, certificates.ca)
    try:
        client.request("GET", "/", {"proxy": "http://evil", "x_real_name": "eve", "x-forwarded-for": "1.2.3.4"})
    finally:
        client.close()
    (seen,) = application.requests
    assert b"REQUEST_METHODGET" in seen
    assert b"evil" not in seen
    assert b"eve" not in seen
    assert b"1.2.3.4" not in seen


@pytest.mark.parametrize(
    "answer",
    [
        b"junk that is no record",
        record(STDOUT, b"no head") + END_RECORD,
        record(STDOUT, b"Status: 99\r\n\r\n") + END_RECORD,
        record(STDOUT, b"Content-Type: a\rX: b\r\n\r\n") + END_RECORD,
        record(STDOUT, b"Status: 200\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n") + END_RECORD,
        record(STDOUT, b"Status: 200\r\nX: " + b"a" * 40_000 + b"\r\n\r\n") + END_RECORD,
        record(STDOUT, b"Content-Type: text/plain\r\n"),
    ],
)
def test_what_is_no_answer_is_502(answering: Any, certificates: TestCertificates, answer: bytes) -> None:
    server, _application = answering(answer)
    client = Http2(server.port, certificates.ca)
    try:
        assert client.request("GET", "/").status == 502
    finally:
        client.close()


@pytest.mark.parametrize(
    "answer",
    [
        record(STDOUT, HEAD + b"half"),
        record(STDOUT, b"Status: 200\r\nContent-Length: 9\r\n\r\nhalf") + END_RECORD,
        record(STDOUT, b"Status: 200\r\nContent-Length: 2\r\n\r\nhalf") + END_RECORD,
        record(STDOUT, HEAD + b"half") + record(END, b"\0\0\0\0\2\0\0\0"),
    ],
)
def test_a_broken_answer_never_looks_whole(answering: Any, certificates: TestCertificates, answer: bytes) -> None:
    server, _application = answering(answer)
    client = Http2(server.port, certificates.ca)
    try:
        found = client.request("GET", "/")
        assert found.reset is not None or found.status == 502
    finally:
        client.close()


@pytest.fixture
def php(tmp_path: Path, certificates: TestCertificates) -> Iterator[ServerProcess]:
    """A server in front of php-cgi, with a root that has scripts, an upload and symbolic links."""
    program = shutil.which("php-cgi")
    if program is None:
        pytest.skip("php-cgi is not installed")
    root = tmp_path / "root"
    root.mkdir()
    (root / "index.php").write_text(PHP)
    (root / "upload.jpg").write_text("<?php echo 'run'; ?>")
    (root / "image.php").symlink_to("upload.jpg")
    (tmp_path / "outside.php").write_text("<?php echo 'run'; ?>")
    (root / "leads-out.php").symlink_to(tmp_path / "outside.php")
    path = tmp_path / "php.sock"
    log = tmp_path / "php.log"
    (tmp_path / "spool").mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-d", "log_errors=1", "-b", str(path)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_until(path.exists, 15)
        keys = f'upstream = "unix:{path}"\nroot = "{root}"\nconnections.idle = 0'
        site = f"""
[[site.route]]
path = "/"
[site.route.fastcgi]
{keys}
[[site.route]]
path = "/spool"
[site.route.fastcgi]
{keys}
spool = {{ when = "unknown_length", directory = "{tmp_path}/spool" }}
"""
        write_config(tmp_path, certificates, site)
        with running(tmp_path) as server:
            yield server
    finally:
        process.terminate()
        process.wait(15)


def test_php_answers_over_both_protocols(php: ServerProcess, certificates: TestCertificates, tmp_path: Path) -> None:
    for kind in (Http1, Http2):
        client = kind(php.port, certificates.ca)
        try:
            for path, info in (("/index.php/a/b", "/a/b"), ("/index.php", ""), ("/", "")):
                found = client.request("GET", path, {"proxy": "http://evil", "x-a": "b"})
                assert found.status == 200
                values = dict(line.split("=", 1) for line in found.body.decode().splitlines())
                assert values["PATH_INFO"] in ((info,) if info else ("", "unset"))
                assert values["HTTPS"] == "on"
                assert values["HTTP_PROXY"] == "unset"
                assert values["HTTP_X_A"] == "b"
                assert values["SCRIPT_FILENAME"] == str(tmp_path / "root" / "index.php")
                assert values["SSL_CLIENT_VERIFY"] == "NONE"
            fields = {"content-type": "text/plain", "content-length": "300000"}
            assert client.request("POST", "/index.php", fields, b"x" * 300_000).body == b"300000"
            for path in ("/upload.jpg/x.php", "/upload.jpg", "/image.php", "/leads-out.php", "/none.php", "/.php"):
                found = client.request("GET", path)
                assert found.status == 404, path
        finally:
            client.close()


def test_a_body_of_unknown_length_is_gathered_if_it_is_short_and_spooled_if_that_is_wanted(
    php: ServerProcess, certificates: TestCertificates
) -> None:
    client = Http2(php.port, certificates.ca)
    try:
        fields = {"content-type": "text/plain"}
        assert client.request("POST", "/index.php", fields, b"x" * 30_000).body == b"30000"
        assert client.request("POST", "/index.php", fields, b"x" * 300_000).status == 411
        assert client.request("POST", "/spool/index.php", fields, b"x" * 300_000).body == b"300000"
    finally:
        client.close()


def test_what_php_logs_is_in_the_event_log(php: ServerProcess, certificates: TestCertificates) -> None:
    client = Http1(php.port, certificates.ca)
    try:
        assert client.request("GET", "/index.php?say=error").status == 200
    finally:
        client.close()
    assert "the tide is out" in php.wait_for_event("application error output")["text"]


def several(*upstreams: str, **keys: Any) -> dict[str, Any]:
    """Settings with these addresses."""
    return {"upstream": "", "upstreams": list(upstreams), **keys}


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"upstream": "http://a/"}, "is not the address of an application"),
        ({"root": "missing"}, "is not a directory"),
        ({"split": ["php"]}, "must be a dot and a name"),
        ({"variables": {"A=B": "c"}}, "is not the name of a variable"),
        ({"variables": {"HTTP_PROXY": "c"}}, "HTTP_PROXY would send"),
        ({"variables": {"CONTENT_LENGTH": "1"}}, "CONTENT_LENGTH is what the client sent"),
        ({"spawn": {"command": ["/bin/true"]}}, "name either upstream"),
        ({"upstream": ""}, "name either upstream"),
        ({"upstream": "", "spawn": {"command": ["php-cgi"]}}, "is not the path of an executable file"),
        ({"upstream": "", "spawn": {"command": ["/bin/true"], "minimum": 2}}, "minimum is more than"),
        ({"fallback": "/index.php"}, "with root only"),
        ({"upstreams": ["127.0.0.1:9001"]}, "name either upstream"),
        (several("127.0.0.1:9001", "127.0.0.1:9001"), "twice; give it a weight"),
        (several("127.0.0.1:9001", "unix:relative"), "upstreams: 'unix:relative' is not the address"),
        (several("127.0.0.1:9001", weights={"127.0.0.1:9000": 2}), "is none of the upstreams"),
        (several("127.0.0.1:9001", balance="hash_cookie"), "hash_name must name the field or cookie"),
        (several("127.0.0.1:9001", hash_name="user"), "hash_name is for balance"),
        (several("127.0.0.1:9001", sticky_cookie="at"), "sticky_secret_file must name a file"),
        (several("127.0.0.1:9001", sticky_cookie="at", sticky_secret_file="none"), "No such file"),
        (several("127.0.0.1:9001", health={"path": "ping"}), "must begin with a slash"),
        (several("127.0.0.1:9001", health={"path": "/%zz"}), "can't be asked for"),
        (several("127.0.0.1:9001", health={"path": "/ping", "connect": True}), "of no use with health.path"),
        (several("127.0.0.1:9001", health={"statuses": [300, 200]}), "the first is greater"),
        ({"upstream": "", "spawn": {"command": ["/bin/true"]}, "balance": "two_choices"}, "balance is of use with"),
        ({"upstream": "", "spawn": {"command": ["/bin/true"]}, "health": {"failures": 1}}, "health is of use with"),
        ({"upstream": "", "spawn": {"command": ["/bin/true"]}, "weights": {"/bin/true": 2}}, "weights is of use with"),
    ],
)
def test_faults_of_the_settings(tmp_path: Path, keys: dict[str, Any], part: str) -> None:
    found = FEATURE.check(msgspec.convert({"upstream": "127.0.0.1:9000", **keys}, FastcgiConfig), tmp_path)
    assert len(found) == 1
    assert part in found[0]
