from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from securelight.server import control
from tests.certificates import TestCertificates
from tests.server.processes import PAGE, fetch, make_site, securelight, static_server, wait_until
from tests.wire.server_process import write_config


def test_the_socket_is_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with control.listen(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_socket_of_a_live_server_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with control.listen(path), pytest.raises(control.ControlError, match="is running with this configuration already"):
        control.listen(path)


def test_the_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    control.listen(path).close()
    assert path.is_socket()
    with control.listen(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_of_many_that_start_at_once_after_a_crash_one_gets_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    control.listen(path).close()
    sockets: list[socket.socket] = []
    refused: list[control.ControlError] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        try:
            sockets.append(control.listen(path))
        except control.ControlError as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(sockets), len(refused)) == (1, 7)
    with sockets[0], socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    path.write_text("precious")
    with pytest.raises(control.ControlError, match="something else has its name"):
        control.listen(path)
    assert path.read_text() == "precious"
    with pytest.raises(control.ControlError, match="is not a control socket"):
        control.ask(path, "stop")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(control.ControlError, match=r"nowhere.*No such file or directory"):
        control.listen(tmp_path / "nowhere" / "c.sock")


def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 120) / ("b" * 120)
    folder.mkdir(parents=True)
    path = folder / "c.sock"
    answers: list[object] = []
    with control.listen(path) as listening:
        thread = threading.Thread(target=lambda: answers.append(control.ask(path, "status")))
        thread.start()
        listening.settimeout(10)
        sock, _ = listening.accept()
        client = control.ControlClient(sock)
        assert wait_until(client.read) == "status"
        client.answer(ok=True, message="running")
        thread.join(10)
    assert answers == [{"ok": True, "message": "running"}]


def test_a_server_that_goes_away_before_it_answers_is_said_to(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    failures: list[control.ControlError] = []

    def ask() -> None:
        with pytest.raises(control.ControlError) as raised:
            control.ask(path, "reload")
        failures.append(raised.value)

    with control.listen(path) as listening:
        thread = threading.Thread(target=ask)
        thread.start()
        listening.settimeout(10)
        listening.accept()[0].close()
        thread.join(10)
    assert len(failures) == 1


# With a real supervisor at the other end.


def test_whatever_is_said_on_the_socket_the_server_goes_on(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        path = tmp_path / "securelight.sock"
        silent = []
        for _ in range(40):  # more than it listens to at a time
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(path))
            silent.append(sock)
        for data in (b"", b"\n", b"\xff\x00\n", b"x" * 5000, b"reload", b"dance\n"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                sock.sendall(data)
        assert fetch(server, certificates).body == PAGE
        for sock in silent:
            sock.close()
        answer = wait_until(lambda: status(path))
        assert answer["process"] == server.process.pid
        assert answer["workers"] == server.workers()
        assert control.ask(path, "dance") == {"ok": False, "message": "unknown command 'dance'"}


def status(path: Path) -> dict[str, object]:
    try:
        return control.ask(path, "status")
    except control.ControlError:
        return {}


def test_who_asks_and_leaves_is_not_waited_for(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "securelight.sock"))
            sock.sendall(b"reload\n")
        server.wait_for_event("reloaded")
        assert fetch(server, certificates).body == PAGE


def test_two_servers_with_one_configuration_are_one_too_many(tmp_path: Path, certificates: TestCertificates) -> None:
    with static_server(tmp_path, certificates) as server:
        done = securelight("run", "-c", server.config_path)
        assert done.returncode == 1
        assert done.stderr == (
            f"{tmp_path}/securelight.sock: a server is running with this configuration already; "
            "see securelight reload, stop\n"
        )
        assert fetch(server, certificates).body == PAGE
        assert securelight("reload", "-c", server.config_path).returncode == 0


def test_a_port_of_another_program_is_named_at_the_start(tmp_path: Path, certificates: TestCertificates) -> None:
    config = write_config(tmp_path, certificates, f'root = "{make_site(tmp_path)}"')
    with socket.create_server(("127.0.0.1", 0)) as sock:
        config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{sock.getsockname()[1]}"))
        done = securelight("run", "-c", config)
    assert done.returncode == 1
    assert done.stderr.startswith("listen 127.0.0.1:")
    assert f"(process {os.getpid()})" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "securelight.sock").exists()


def test_the_event_log_may_lose_its_reader(tmp_path: Path, certificates: TestCertificates) -> None:
    config = write_config(tmp_path, certificates, f'root = "{make_site(tmp_path)}"')
    process = subprocess.Popen(
        [sys.executable, "-m", "securelight", "run", "-c", str(config)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        while json.loads(process.stderr.readline())["event"] != "serving":
            pass  # it warns of running as root, if the tests do
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: control.ask(tmp_path / "securelight.sock", "status")["workers"])
        assert securelight("reload", "-c", config).returncode == 0
        assert securelight("stop", "-c", config).returncode == 0
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
