"""Logs of sites, to everything that takes them: files, syslog, the journal, a program."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from tests.wire.clients import Http1
from tests.wire.server_process import ServerProcess, running, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client, Http2
    from tests.wire.conftest import Dial

SITE = """
root = "site"

[site.log]
format = '{{method}} {{path}} {{status}} {{bytes}} {{duration_ms}} {{client_address}} "{{request_header:User-Agent}}"'
file = "own.log"

[[site.route]]
path = "/sys"
root = "site"
log = {{ syslog = "{folder}/dev-log", syslog_facility = "local7", format = "common" }}

[[site.route]]
path = "/journal"
root = "site"
log = {{ journal = "{folder}/journal", format = "json" }}

[[site.route]]
path = "/program"
root = "site"
log = {{ command = ["{python}", "{folder}/program.py", "$(id)"], format = "{{path}} {{status}}" }}

[[site.route]]
path = "/silent"
root = "site"
log = {{ format = "off" }}

[[site.route]]
path = "/inherited"
root = "site"
log = {{ format = "INHERITED {{target}}", query = "hidden" }}
"""
PROGRAM = """
import sys
out = open("program.log", "ab", 0)
out.write((" ".join(sys.argv[1:]) + "\\n").encode())
for line in sys.stdin.buffer:
    out.write(line)
    if b"die" in line:
        sys.exit(3)
out.write(b"the end\\n")
"""


class Logs:
    """What receives the logs.

    Attributes:
        folder: of the server.
        syslog, journal: sockets in which they come.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.syslog = self._bound("dev-log")
        self.journal = self._bound("journal")

    def _bound(self, name: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.settimeout(30)
        sock.bind(str(self.folder / name))
        return sock

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, server: ServerProcess, name: str, text: str) -> str:
        return server._wait(lambda: [line for line in self.lines(name) if text in line], f"{text} in {name}", 30, 1)


@pytest.fixture(scope="module")
def logs(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    folder = tmp_path_factory.mktemp(f"outputs-{engine}")
    made = Logs(folder)
    yield made
    made.syslog.close()
    made.journal.close()


@pytest.fixture(scope="module")
def server(engine: str, logs: Logs, certificates: TestCertificates) -> Iterator[ServerProcess]:
    """A site with a log of its own, and routes with others."""
    folder = logs.folder
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("hello\n")
    (folder / "program.py").write_text(PROGRAM)
    site = SITE.format(folder=folder, python=sys.executable)
    write_config(folder, certificates, site, engine=engine, workers=2)
    with serving(folder, errors=1) as process:
        yield process
    assert (folder / "program.log").read_text().endswith("the end\n"), "it has read all there was, and ended by itself"


def mark(client: Client, text: str) -> str:
    return f"{text}-{client.protocol.replace('/', '')}"


def test_a_site_has_its_own_file_and_format(client: Client, server: ServerProcess, logs: Logs) -> None:
    path = "/" + mark(client, "own")
    client.request("GET", path, {"user-agent": 'x" 200 1 \\ y'})
    line = logs.wait_for(server, "own.log", path)
    assert re.fullmatch(rf'GET {path} 404 \d+ [0-9.]+ 127\.0\.0\.1 "x\\x22 200 1 \\x5c y"', line), line
    assert not any(path in line for line in server.access_lines())


def test_answers_that_are_given_again_have_their_lines_too(client: Client, server: ServerProcess, logs: Logs) -> None:
    before = sum(line.startswith("INHERITED /inherited/") for line in server.access_lines())
    for _ in range(5):
        assert client.request("GET", "/inherited/?secret").status == client.request("GET", "/inherited/?secret").status
    server._wait(
        lambda: [line for line in server.access_lines() if line == "INHERITED /inherited/"],
        "ten lines",
        30,
        before + 10,
    )
    assert not any("secret" in line for line in server.access_lines())


def test_syslog(client: Client, server: ServerProcess, logs: Logs) -> None:
    client.request("GET", "/sys/" + mark(client, "a"))
    message = logs.syslog.recv(65_536).decode()
    match = re.fullmatch(r"<190>1 \S+ \S+ securelight \d+ access - (.*)", message)
    assert match is not None, message
    assert f'"GET /sys/{mark(client, "a")} HTTP/' in match[1]


def test_the_journal(client: Client, server: ServerProcess, logs: Logs) -> None:
    client.request("GET", "/journal/" + mark(client, "a"))
    fields = dict(line.split("=", 1) for line in logs.journal.recv(65_536).decode().splitlines())
    assert fields["SYSLOG_IDENTIFIER"] == "securelight"
    assert json.loads(fields["MESSAGE"])["target"] == "/journal/" + mark(client, "a")


def test_a_program_without_a_shell(client: Client, server: ServerProcess, logs: Logs) -> None:
    path = "/program/" + mark(client, "a")
    client.request("GET", path)
    logs.wait_for(server, "program.log", path)
    assert logs.lines("program.log")[0] == "$(id)"


def test_a_program_that_dies_is_started_again_and_nothing_is_lost(
    dial: Dial, server: ServerProcess, logs: Logs
) -> None:
    client: Http1 = dial.h1()
    client.request("GET", "/program/before")
    logs.wait_for(server, "program.log", "/program/before")
    before = logs.lines("program.log").count("$(id)")
    client.request("GET", "/program/die")
    event = server.wait_for_event("log command ended, starting it again")
    assert event["how"] == "ended with code 3"
    client.request("GET", "/program/after")
    logs.wait_for(server, "program.log", "/program/after")
    assert logs.lines("program.log").count("$(id)") == before + 1


def test_a_reload_starts_it_anew_and_lets_the_old_one_end(dial: Dial, server: ServerProcess, logs: Logs) -> None:
    dial.h1().request("GET", "/program/before-reload")
    logs.wait_for(server, "program.log", "/program/before-reload")
    before = logs.lines("program.log").count("$(id)")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reloaded")
    dial.h1().request("GET", "/program/after-reload")
    logs.wait_for(server, "program.log", "/program/after-reload")
    logs.wait_for(server, "program.log", "the end")
    lines = logs.lines("program.log")
    assert (lines.count("$(id)"), lines.count("/program/before-reload 404")) == (before + 1, 1)


def test_silence(client: Client, server: ServerProcess, logs: Logs) -> None:
    client.request("GET", "/silent/" + mark(client, "a"))
    path = "/" + mark(client, "after-silence")
    client.request("GET", path)
    logs.wait_for(server, "own.log", path)
    assert not any("/silent" in line for line in server.access_lines() + logs.lines("own.log"))


def test_every_file_is_reopened(dial: Dial, server: ServerProcess, logs: Logs) -> None:
    client: Http2 = dial.h2()
    client.request("GET", "/before-rotation")
    logs.wait_for(server, "own.log", "/before-rotation")
    for name in ("own.log", "access.log"):
        (logs.folder / name).rename(logs.folder / f"{name}.1")
    server.send_signal(signal.SIGUSR1)
    server.wait_for_event("logs reopened")
    for number in range(20):
        client.request("GET", f"/after-{number}")
        client.request("GET", f"/inherited/{number}")
    logs.wait_for(server, "own.log", "/after-19")
    server.wait_for_access("INHERITED /inherited/19")
    assert any("/before-rotation" in line for line in logs.lines("own.log.1"))


def test_a_program_that_does_not_read_holds_nobody_up(tmp_path: Path, certificates: TestCertificates) -> None:
    (tmp_path / "index.html").write_text("hello\n")
    write_config(tmp_path, certificates, 'root = "."')
    config = tmp_path / "securelight.toml"
    command = f'command = ["{sys.executable}", "-c", "import time; time.sleep(600)"]\none_in = 1\n'
    config.write_text(config.read_text().replace('file = "access.log"\n', command))
    with running(tmp_path) as process:
        client = Http1(process.port, certificates.ca)
        try:
            for _ in range(60):
                burst = b"".join(b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"x" * 3000) for _ in range(10))
                client.send(burst)
                for _ in range(10):
                    assert client.answer().status == 404
        finally:
            client.close()
        [child] = [
            int(name)
            for name in os.listdir("/proc")
            if name.isdigit() and _is_child(int(name), process.process.pid) and _sleeps(int(name))
        ]
    assert process.process.returncode == 0
    assert not os.path.exists(f"/proc/{child}"), "it is ended with us, though it does not care for its input"


def _is_child(process: int, parent: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1]) == parent
    except OSError:
        return False


def _sleeps(process: int) -> bool:
    with open(f"/proc/{process}/cmdline", "rb") as file:
        return b"time.sleep(600)" in file.read()
