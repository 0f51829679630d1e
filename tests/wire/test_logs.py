"""The access log and the event log, as a site's operator reads them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.wire.clients import Http2
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client, Http2
    from tests.wire.conftest import Dial

COMBINED = re.compile(
    r'(?P<address>\S+) - (?P<user>\S+) \[(?P<time>\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] '
    r'"(?P<line>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)  # fmt: skip
SECRET = "c2VjcmV0OnNlY3JldA"
CREDENTIALS = {
    "authorization": f"Basic {SECRET}",
    "proxy-authorization": f"Basic {SECRET}",
    "cookie": f"session={SECRET}",
}


@pytest.fixture(scope="module", params=["combined", "json"])
def log_format(request: pytest.FixtureRequest) -> str:
    """The format of the module's server. Each is tried with one engine: neither knows of the other."""
    return str(request.param)


@pytest.fixture(scope="module")
def engine(log_format: str) -> str:
    return "auto" if log_format == "combined" else "pure"


@pytest.fixture(scope="module")
def server(
    engine: str, log_format: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server of two files, for each format."""
    directory = tmp_path_factory.mktemp(f"logs-{engine}-{log_format}")
    (directory / "site").mkdir()
    (directory / "site" / "index.html").write_text("hello\n")
    with (directory / "site" / "long").open("wb") as file:
        file.truncate(256 << 20)
    write_config(directory, certificates, 'root = "site"', engine=engine, log_format=log_format)
    with serving(directory) as process:
        yield process


def test_fields_of_a_line(client: Client, server: ServerProcess, log_format: str) -> None:
    target = f"/?fields-{client.protocol.replace('/', '')}=1"
    client.request("GET", target, {"user-agent": "agent/1 (x; y)", "referer": "https://other.test/page?a=b"})
    line = server.wait_for_access(target)
    version = "2" if client.protocol == "h2" else "1.1"
    if log_format == "combined":
        match = COMBINED.fullmatch(line)
        assert match is not None, line
        assert match["address"] == "127.0.0.1"
        assert match["user"] == "-"
        assert match["line"] == f"GET {target} HTTP/{version}"
        assert (match["status"], match["bytes"]) == ("200", "6")
        assert match["referer"] == "https://other.test/page?a=b"
        assert match["agent"] == "agent/1 (x; y)"
        return
    values = json.loads(line)
    assert values.pop("duration_ms") >= 0
    assert COMBINED.fullmatch(f'x - - [{values.pop("time")}] "x" 200 0 "-" "-"')
    assert re.fullmatch(r"TLS_\w+", values.pop("cipher"))
    assert values.pop("user") in ("", None)
    assert values == {
        "client": "127.0.0.1", "method": "GET", "scheme": "https", "host": client.host, "target": target,
        "protocol": f"HTTP/{version}", "status": 200, "bytes": 6, "stream": 1, "tls_version": "TLSv1.3",
        "sni": "localhost", "resumed": False, "referer": "https://other.test/page?a=b", "user_agent": "agent/1 (x; y)",
    }  # fmt: skip


def test_each_request_has_one_line(client: Client, server: ServerProcess) -> None:
    mark = f"one-{client.protocol.replace('/', '')}"
    wanted = [("GET", "", 200), ("HEAD", "", 200), ("POST", "", 405), ("GET", "nowhere", 404), ("BREW", "", 501)]
    for number, (method, path, _) in enumerate(wanted):
        client.request(method, f"/{path}?{mark}-{number}")
    for number, (method, path, status) in enumerate(wanted):
        server.wait_for_access(f"{mark}-{number}")
        lines = [line for line in server.access_lines() if f"{mark}-{number}" in line]
        assert len(lines) == 1, lines
        assert method in lines[0]
        assert str(status) in lines[0]
        assert f"/{path}?" in lines[0]


def test_secrets_are_never_logged(client: Client, server: ServerProcess) -> None:
    mark = f"secrets-{client.protocol.replace('/', '')}"
    client.request("GET", f"/?{mark}", CREDENTIALS)
    server.wait_for_access(mark)
    answer = client.request("GET", f"/nowhere?{mark}-2", CREDENTIALS)
    assert SECRET.encode() not in answer.body
    client.request("BREW", f"/?{mark}-3", CREDENTIALS)
    server.wait_for_access(f"{mark}-3")
    logs = server.access_path.read_text() + server.events_path.read_text()
    assert SECRET not in logs


def test_malformed_credentials_are_not_logged_either(dial: Dial, server: ServerProcess) -> None:
    bad = server.count_events(event="bad request")
    for line in (f"Authorization: Basic {SECRET}\x00", f"Cookie : {SECRET}", f"Authorization {SECRET}"):
        client = dial.h1()
        client.send(f"GET / HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
        assert client.answer().status == 400
    server.wait_for_count(bad + 3, event="bad request")
    assert SECRET not in server.access_path.read_text() + server.events_path.read_text()


def test_what_a_client_sends_stays_on_its_line(dial: Dial, server: ServerProcess, log_format: str) -> None:
    """Terminal escapes, quotes, and bytes that are no text."""
    client = dial.h1()
    hostile = b'\xff\xfe "quoted" \\back\x9b31m \xe2\x80\xa8 \t end'
    client.send(
        b"GET /?hostile HTTP/1.1\r\nHost: x\r\nUser-Agent: " + hostile + b"\r\nReferer: " + hostile + b"\r\n\r\n"
    )
    assert client.answer().status == 200
    line = server.wait_for_access("/?hostile")
    assert sum("hostile" in line for line in server.access_lines()) == 1
    assert not any(line.startswith((" ", "\t", "end")) for line in server.access_lines())
    assert line.isascii()
    assert line.isprintable()
    if log_format == "combined":
        assert COMBINED.fullmatch(line), "quotes inside would end the value early"
    else:
        assert "quoted" in json.loads(line)["user_agent"]


def test_refused_request_is_logged_with_its_status(dial: Dial, server: ServerProcess) -> None:
    client = dial.h1()
    client.send(b"GET /refused-\x07 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer().status == 400
    line = server.wait_for_access("400")
    assert line.isprintable()


def test_client_that_vanishes_is_logged_without_an_error(client: Client, server: ServerProcess) -> None:
    mark = f"vanishing-{client.protocol.replace('/', '')}"
    if isinstance(client, Http2):
        stream_id = client.open("GET", f"/long?{mark}")
        while not client.pending(stream_id).pieces:
            assert client.step()
    else:
        client.send(f"GET /long?{mark} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.read_head().status == 200
    client.close()
    line = server.wait_for_access(mark)
    match = re.search(r'" 200 (\d+) |"bytes":(\d+)', line)
    assert match is not None
    sent = int(match[1] or match[2])
    assert 0 <= sent < 256 << 20, "what was sent, not what was announced"
    assert server.count_events(level="error") == 0
    assert server.count_events(level="warning") == server.count_events(event="workers run as root")


def test_reset_stream_is_logged_once(dial: Dial, server: ServerProcess) -> None:
    client: Http2 = dial.h2()
    stream_id = client.open("GET", "/long?reset-stream")
    while not client.pending(stream_id).pieces:
        assert client.step()
    client.h2.reset_stream(stream_id, 8)
    client.flush()
    server.wait_for_access("reset-stream")
    assert client.request("GET", "/?after-reset").status == 200
    server.wait_for_access("after-reset")
    assert sum("reset-stream" in line for line in server.access_lines()) == 1
