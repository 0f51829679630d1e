"""`securelight reload` and `securelight stop`: how they find their server, and what they say."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from securelight.server import control
from tests.certificates import TestCertificates
from tests.server.processes import alive, descriptors, make_site, securelight, static_server, wait_until
from tests.wire.clients import Http1
from tests.wire.server_process import running, write_config


def test_both_find_the_server_of_this_folder(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        done = securelight("reload", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "reloaded\n", "")
        done = securelight("stop", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
        assert not alive(server.process.pid)
        assert server.process.wait(30) == 0


def test_a_broken_configuration_still_says_where_its_server_is(tmp_path: Path, certificates: TestCertificates) -> None:
    (tmp_path / "run").mkdir()
    config = write_config(tmp_path, certificates, f'root = "{make_site(tmp_path)}"')
    config.write_text(config.read_text().replace("[server]", '[server]\nstate_directory = "run"', 1))
    with running(tmp_path) as server:
        assert (tmp_path / "run" / "securelight.sock").is_socket()
        config.write_text(config.read_text().replace("hosts = ", "host = "))
        done = securelight("reload", "-c", config)
        assert done.returncode == 1
        assert "site[0]" in done.stderr
        assert securelight("stop", "-c", config).returncode == 0
        assert server.process.wait(30) == 0


def test_stop_waits_for_the_open_requests(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        (tmp_path / "site" / "big.bin").write_bytes(bytes(16 << 20))
        client = Http1(server.port, certificates.ca)
        client.send(f"GET /big.bin HTTP/1.1\r\nhost: localhost:{server.port}\r\n\r\n".encode())
        assert client.sock.recv(1) == b"H"
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(securelight("stop", cwd=tmp_path).returncode))
        thread.start()
        server.wait_for_event("stopping")
        assert codes == []
        while client.sock.recv(1 << 20):
            pass
        client.close()
        thread.join(20)
        assert codes == [0]


@pytest.mark.parametrize("command", ["reload", "stop"])
def test_where_no_server_runs_that_is_said(tmp_path: Path, command: str) -> None:
    for arguments, told in [
        ([], "no server is running from this folder; name its configuration with -c, or --control SOCKET"),
        (["-c", "nowhere.toml"], "nowhere.toml: there is no such configuration"),
        (["--control", "nowhere.sock"], "nowhere.sock: no running server answers there: No such file or directory"),
    ]:
        done = securelight(command, *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{told}\n")
    path = tmp_path / "dead.sock"
    control.listen(path).close()
    done = securelight(command, "--control", path, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"{path}: no running server answers there: Connection refused\n")


def test_of_several_servers_of_a_folder_one_has_to_be_named(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    with (
        control.listen(tmp_path / "certs" / "serve-8443.sock"),
        control.listen(tmp_path / "certs" / "serve-8444.sock"),
    ):
        done = securelight("stop", cwd=tmp_path)
    assert done.returncode == 1
    assert "--control certs/serve-8443.sock, --control certs/serve-8444.sock" in done.stderr


def test_a_reload_asked_for_while_the_server_stops_is_refused(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        (tmp_path / "site" / "big.bin").write_bytes(bytes(16 << 20))
        client = Http1(server.port, certificates.ca)
        client.send(f"GET /big.bin HTTP/1.1\r\nhost: localhost:{server.port}\r\n\r\n".encode())
        assert client.sock.recv(1) == b"H"
        server.process.terminate()
        server.wait_for_event("stopping")
        done = securelight("reload", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, "the server is stopping\n")
        client.close()
        assert server.process.wait(30) == 0


def test_a_command_leaves_no_connection_behind(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        before = len(descriptors(server.process.pid))
        for _ in range(3):
            assert control.ask(tmp_path / "securelight.sock", "status")["ok"]
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / "securelight.sock"))
        wait_until(lambda: len(descriptors(server.process.pid)) <= before)  # less, if one was open for a moment then
