"""Listening on a unix socket: with curl, on both protocols and both engines, over reloads, restarts and crashes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.server.processes import wait_until
from tests.wire.server_process import ServerProcess, running, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates

SITE = """
[server]
workers = {workers}
engine = "{engine}"
event_log = "json"

[server.access_log]
format = "{{client_address}} {{method}} {{target}} {{status}}"
file = "access.log"

[[listen]]
address = "unix:{folder}/web.sock"
{listen}

[[site]]
hosts = ["*"]
root = "site"
trusted_proxies = [{trusted}]

[[site.certificate]]
chain = "{chain}"
key = "{key}"

[[site.route]]
path = "/here"
when = {{ client = ["unix:"] }}
respond = {{ body = "by the socket" }}

[[site.route]]
path = "/told"
respond = {{ body = "told" }}
set_headers = {{ rule = [{{ when = {{ method = ["GET"] }}, set = {{ x-client = "{{client_address}}" }} }}] }}

[[site.route]]
path = "/status"
[site.route.status_page]
allow = ["unix:"]

[[site.route]]
path = "/closed"
respond = {{ body = "closed" }}
access = {{ deny = ["unix:"] }}

[[site.route]]
path = "/loopback"
[site.route.status_page]
"""


def write(
    directory: Path,
    certificates: TestCertificates,
    *,
    engine: str = "auto",
    workers: int = 1,
    listen: str = "",
    trusted: str = "",
) -> Path:
    """The configuration; gives the path of the socket."""
    for name in ("run", "site"):
        (directory / name).mkdir(exist_ok=True)
    (directory / "site/index.html").write_text("home")
    (directory / "site/large.bin").write_bytes(bytes(range(256)) * 12_000)
    text = SITE.format(
        workers=workers, engine=engine, folder=directory / "run", listen=listen, trusted=trusted,
        chain=certificates.chain, key=certificates.key,
    )  # fmt: skip
    (directory / "securelight.toml").write_text(text)
    return directory / "run/web.sock"


def curl(path: Path, ca: Path, target: str, protocol: str, *more: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    command = [program, "-s", "-S", "--max-time", "30", protocol, "--cacert", str(ca), "--unix-socket", str(path)]
    return subprocess.run([*command, *more, f"https://localhost{target}"], capture_output=True, check=False, timeout=60)


class Curl:
    """One way to ask."""

    def __init__(self, path: Path, ca: Path, protocol: str) -> None:
        self.path = path
        self._ca = ca
        self._protocol = protocol

    def __call__(self, target: str, *more: str) -> bytes:
        done = curl(self.path, self._ca, target, self._protocol, *more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self, target: str, *more: str) -> int:
        return int(self(target, "-o", "/dev/null", "-w", "%{http_code}", *more))


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("unix")
    write(directory, certificates, engine=engine, workers=2)
    with serving(directory) as process:
        yield process


@pytest.fixture(params=["--http1.1", "--http2"])
def ask(request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates) -> Curl:
    return Curl(server.directory / "run/web.sock", certificates.ca, request.param)


def test_files_and_what_is_known_of_the_client(ask: Curl, server: ServerProcess) -> None:
    assert ask("/") == b"home"
    assert ask("/large.bin") == bytes(range(256)) * 12_000
    assert ask("/here") == b"by the socket"
    head = ask("/told", "-D", "-", "-o", "/dev/null").lower()
    assert b"\r\nx-client: unix:\r\n" in head
    assert ask.status("/closed") == 403
    server.wait_for_access("unix: GET /closed 403")


def test_nobody_is_somebody_else_by_saying_so(ask: Curl) -> None:
    for field in ("X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.7", "X-Forwarded-For: unix:"):
        assert ask("/here", "-H", field) == b"by the socket"
    assert json.loads(ask("/status", "-H", "Accept: application/json"))["workers"]
    assert ask.status("/status", "-H", "X-Forwarded-For: 127.0.0.1") == 403
    assert ask.status("/loopback") == 403


def test_a_proxy_on_the_socket_is_believed_where_that_is_configured(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    path = write(tmp_path, certificates, trusted='"unix:"')
    with serving(tmp_path):
        ask = Curl(path, certificates.ca, "--http2")
        assert ask("/here") == b"by the socket"
        assert ask.status("/here", "-H", "X-Forwarded-For: 192.0.2.7") == 404
        assert b"x-client: 192.0.2.7" in ask("/told", "-D", "-", "-o", "/dev/null", "-H", "X-Forwarded-For: 192.0.2.7")


def test_a_balancer_on_the_socket_tells_by_the_proxy_protocol_who_comes(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    path = write(tmp_path, certificates, listen='proxy_protocol_from = ["unix:"]')
    with serving(tmp_path):
        context = ssl.create_default_context(cafile=str(certificates.ca))
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(15)
            raw.connect(str(path))
            raw.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 1000 443\r\n")
            with context.wrap_socket(raw, server_hostname="localhost") as sock:
                sock.sendall(b"GET /told HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: sock.recv(65_536), b""))
        assert b"\r\nx-client: 192.0.2.7\r\n" in answer


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_file_is_there_from_start_to_end_and_stays_over_a_reload(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    path = write(tmp_path, certificates, workers=2)
    ask = Curl(path, certificates.ca, "--http2")
    with serving(tmp_path) as server:
        before = path.lstat().st_ino
        assert mode_of(path) == 0o660
        write(tmp_path, certificates, workers=2, listen='socket_mode = "0600"')
        (tmp_path / "site/index.html").write_text("another home")
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reloaded")
        assert path.lstat().st_ino == before
        assert mode_of(path) == 0o600
        assert ask("/") == b"another home"
    assert not path.exists()


def test_a_reload_without_it_takes_it_away(tmp_path: Path, certificates: TestCertificates) -> None:
    path = write(tmp_path, certificates)
    with serving(tmp_path) as server:
        config = tmp_path / "securelight.toml"
        config.write_text(config.read_text().replace(f"unix:{path}", "127.0.0.1:0"))
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reloaded")
        wait_until(lambda: not path.exists(), 30)


def test_a_killed_server_leaves_a_file_that_the_next_one_replaces(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    path = write(tmp_path, certificates)
    with running(tmp_path) as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait(20)
    assert path.is_socket()
    wait_until(lambda: refuses(path), 30)  # its workers end with it
    assert workers
    server.events_path.unlink()
    with serving(tmp_path):
        assert Curl(path, certificates.ca, "--http1.1")("/") == b"home"


def refuses(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(15)
        try:
            sock.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False


def start(directory: Path) -> str:
    """What a server that does not start says."""
    with pytest.raises(AssertionError) as failed, running(directory):
        pass
    return str(failed.value)


def test_nothing_but_an_orphaned_socket_is_ever_replaced(tmp_path: Path, certificates: TestCertificates) -> None:
    path = write(tmp_path, certificates)
    path.write_text("letters")
    assert "is there and is not a socket; it is not replaced" in start(tmp_path)
    assert path.read_text() == "letters"
    path.unlink()
    (path.parent / "elsewhere").write_text("letters")
    path.symlink_to("elsewhere")
    assert "is not a socket" in start(tmp_path)
    assert path.is_symlink()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen(8)
        before = path.lstat().st_ino
        assert "another server listens there" in start(tmp_path)
        assert path.lstat().st_ino == before


def test_a_socket_that_has_taken_the_place_of_ours_stays(tmp_path: Path, certificates: TestCertificates) -> None:
    path = write(tmp_path, certificates)
    with socket.socket(socket.AF_UNIX) as theirs, serving(tmp_path):
        theirs.bind(str(path.with_name("other")))
        os.replace(path.with_name("other"), path)
    assert path.is_socket()


def test_a_folder_for_everybody_and_one_that_is_not_there(tmp_path: Path, certificates: TestCertificates) -> None:
    path = write(tmp_path, certificates)
    path.parent.chmod(0o777)
    assert "listen[0].address: everybody can make files in" in start(tmp_path)
    path.parent.chmod(0o755)
    path.parent.rmdir()
    assert "listen[0].address: the folder" in start(tmp_path)


def test_a_group_that_nobody_knows(tmp_path: Path, certificates: TestCertificates) -> None:
    write(tmp_path, certificates, listen='socket_group = "nobody-of-that-name"')
    assert "listen[0].socket_group: there is no group" in start(tmp_path)
