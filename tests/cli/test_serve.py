"""`securelight serve` as a newcomer meets it: real processes, real curl."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server.processes import alive, der_of, make_site, securelight, wait_until

PAGE = b"<!doctype html><title>Served</title>"
APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("not spoken here")
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"from the app"})
"""


class Serving:
    """A running `securelight serve`, its output in a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.output_path = folder / "output"
        self.errors_path = folder / "errors"
        with self.output_path.open("wb") as output, self.errors_path.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "securelight", "serve", *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        wait_until(lambda: "https://" in self.output and self.output.endswith("/\n\n"), 30)

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    @property
    def errors(self) -> str:
        return self.errors_path.read_text()

    @property
    def url(self) -> str:
        """The last line: what people click."""
        return self.output.split()[-1]

    @property
    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def told(self, name: str) -> str:
        """What stands behind `name` in the report."""
        found = re.search(rf"^  {name} +(.+)$", self.output, re.MULTILINE)
        assert found is not None, self.output
        return found[1]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(15)


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Serving]:
    started = Serving(folder, *arguments)
    try:
        yield started
        assert started.stop() == 0
    finally:
        started.process.kill()
        started.process.wait()


def curl(command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a curl command as it was printed."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    words = shlex.split(command)
    assert words[0] == "curl"
    return subprocess.run([*words, "-sS", "--max-time", "10"], cwd=folder, capture_output=True, check=False)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def on_free_port() -> list[str]:
    return ["--listen", f"localhost:{free_port()}", "--access-log", "off"]


def test_the_first_run_makes_an_authority_and_serves_what_curl_can_load_as_printed(tmp_path: Path) -> None:
    make_site(tmp_path, PAGE)
    with serving(tmp_path, "site", *on_free_port()) as server:
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "certs").glob("*.key")}
        assert modes == dict.fromkeys(("ca.key", "intermediate.key", "localhost.key"), 0o600)
        assert server.told("authority") == "certs/ca.pem (made now)"
        fingerprint = server.told("fingerprint").removeprefix("SHA-256 ")
        digest = hashlib.sha256(der_of(tmp_path / "certs/ca.pem")).hexdigest().upper()
        assert fingerprint.replace(":", "") == digest
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \(in \d+ days, .*\)", server.told("expires"))
        assert "localhost" in server.told("names")
        assert "machine" in server.told("trusted by")
        assert "\x1b" not in server.output + server.errors
        done = curl(server.told("try"), tmp_path)
        assert (done.returncode, done.stdout) == (0, PAGE)
        assert curl(f"curl {server.url}", tmp_path).returncode == 60  # not trusted without the authority
        assert (
            curl(f"curl --cacert certs/ca.pem {server.url.replace('localhost', '127.0.0.1')}", tmp_path).stdout == PAGE
        )
        port = server.url.rpartition(":")[2].rstrip("/")
        assert (tmp_path / "certs" / f"serve-{port}.sock").is_socket()
    assert sorted(path.name for path in (tmp_path / "certs").iterdir() if path.suffix) == [
        "ca.key", "ca.pem", "intermediate.key", "intermediate.pem", "issued.json", "localhost.key", "localhost.pem",
    ]  # fmt: skip


def test_the_second_run_changes_nothing(tmp_path: Path) -> None:
    make_site(tmp_path, PAGE)
    with serving(tmp_path, "site", *on_free_port()):
        pass
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "certs").glob("*.*")}
    with serving(tmp_path, "site", *on_free_port()) as server:
        assert server.told("authority") == "certs/ca.pem (as before)"
        after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}
    assert after == before


def test_a_taken_port_is_named_with_its_owner_and_the_next_one_is_taken(tmp_path: Path) -> None:
    make_site(tmp_path, PAGE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(tmp_path, "site", "--listen", f"localhost:{port}") as server:
            assert re.search(rf"^Port {port} is taken by .+ \(process {os.getpid()}\); ", server.errors)
            assert int(server.url.rpartition(":")[2].rstrip("/")) > port
            assert server.told("note") == f"localhost:{port} was taken"
            assert curl(server.told("try"), tmp_path).stdout == PAGE


@pytest.mark.parametrize("engine", ["pure", "auto"])
def test_an_application_of_this_folder_is_served_by_many_workers(tmp_path: Path, engine: str) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with serving(tmp_path, "--app", "shop:app", "--workers", "3", "--engine", engine, *on_free_port()) as server:
        assert len(server.workers) == 3
        assert "3 workers" in server.output
        assert ("pure engine" in server.output) or engine == "auto"
        assert curl(server.told("try"), tmp_path).stdout == b"from the app"
        for process_id in (server.process.pid, *server.workers):
            assert "cryptography" not in Path(f"/proc/{process_id}/maps").read_text()


def test_a_closed_terminal_stops_it(tmp_path: Path) -> None:
    make_site(tmp_path, PAGE)
    process_id, terminal = pty.fork()
    if process_id == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "securelight", "serve", "site", *on_free_port()])
    output = b""
    while b"https://localhost" not in output.rpartition(b"stop ")[2]:
        assert select.select([terminal], [], [], 30)[0]
        output += os.read(terminal, 65_536)
    assert b"\x1b[1m" in output  # on a terminal it has some colour
    os.close(terminal)
    wait_until(lambda: not alive(process_id))
    os.waitpid(process_id, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere"], 2, "nowhere is not a folder. Name the folder to serve: securelight serve FOLDER"),
        (["page.html"], 2, "page.html is not a folder."),
        (["site", "--listen", "8443"], 2, "--listen: '8443' is not host:port, [v6]:port or *:port"),
        (["site", "--listen", "localhost:70000"], 2, "--listen: 'localhost:70000' is not host:port"),
        (["site", "--workers", "0"], 2, "--workers"),
        (["site", "--engine", "steam"], 2, "'steam' is not one of 'auto', 'native', 'pure'"),
        (["--app", "nonsense"], 1, "--app: app 'nonsense' is not of the form \"module:attribute\""),
        (["--app", "nonsense:app", *on_free_port()], 1, "--app: app: there is no module 'nonsense'"),
        (["site", "--certs", "page.html"], 1, "page.html: cannot be used for certificates"),
        (["site", "--certs", "/proc/nowhere"], 1, "/proc/nowhere: "),
        (["site", "--access-log", "nowhere/access.log"], 1, "nowhere/access.log cannot be opened"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    make_site(tmp_path, PAGE)
    (tmp_path / "page.html").write_bytes(PAGE)
    done = securelight("serve", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == (4 if code == 2 else 1), lines  # wrong usage says how it is used


def test_a_certificate_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    make_site(tmp_path, PAGE)
    (tmp_path / "certs").mkdir(mode=0o500)
    done = securelight("serve", "site", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "certs" in done.stderr
