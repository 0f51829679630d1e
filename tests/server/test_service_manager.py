from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from securelight.server.service_manager import ServiceManager
from tests.certificates import TestCertificates
from tests.server.processes import fetch, securelight, wait_until
from tests.wire.server_process import running, write_config


class Manager:
    """The socket of a service manager, and what came to it.

    It listens in a thread of its own: the kernel keeps ten messages, and signs of life fill that while a command runs.
    """

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.heard: list[dict[str, str]] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while text := self.sock.recv(4096).decode():
            self.heard.append(dict(line.split("=", 1) for line in text.splitlines()))

    def close(self) -> None:
        """Stop listening."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self.sock.getsockname())
        self._thread.join()
        self.sock.close()

    def hear(self) -> list[dict[str, str]]:
        """All messages so far."""
        return list(self.heard)

    def states(self) -> list[str]:
        """Their first words, without those of the watchdog."""
        return [next(iter(one)) for one in self.hear() if "WATCHDOG" not in one]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(str(tmp_path / "notify"))
    with closing(found):
        yield found


def test_a_life_as_the_manager_hears_it(tmp_path: Path, certificates: TestCertificates, manager: Manager) -> None:
    config = write_config(tmp_path, certificates, 'respond = { body = "x" }')
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with running(tmp_path, environment) as server:
        wait_until(lambda: manager.states() == ["READY"])
        assert securelight("reload", "-c", config).returncode == 0
        wait_until(lambda: manager.states() == ["READY", "RELOADING", "READY"])
        [reloading] = [one for one in manager.heard if "RELOADING" in one]
        assert 0 < int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

        good = config.read_text()
        config.write_text(good + "\n[[site]]\n")
        assert securelight("reload", "-c", config).returncode == 1
        wait_until(lambda: len(manager.states()) == 5)
        assert manager.states()[3:] == ["RELOADING", "READY"]
        failed = [one for one in manager.heard if "the last reload failed: " in one.get("STATUS", "")]
        assert len(failed) == 1
        pings = sum("WATCHDOG" in one for one in manager.hear())
        wait_until(lambda: sum("WATCHDOG" in one for one in manager.hear()) > pings)
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: manager.states()[-1] == "STOPPING", 20)


def test_workers_do_not_know_the_manager(tmp_path: Path, certificates: TestCertificates, manager: Manager) -> None:
    (tmp_path / "speaker.py").write_text(
        "import os\n"
        "async def app(scope, receive, send):\n"
        "    body = repr(sorted(name for name in os.environ if name.startswith(('NOTIFY', 'WATCHDOG'))))\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': body.encode()})\n"
    )
    write_config(tmp_path, certificates, 'app = "speaker:app"')
    with running(tmp_path, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}) as server:
        assert fetch(server, certificates).body == b"[]"


def test_an_abstract_address() -> None:
    name = f"securelight-test-{os.getpid()}"
    listening = Manager("\0" + name)
    with closing(listening):
        environment = {"NOTIFY_SOCKET": "@" + name, "HOME": "/"}
        ServiceManager(environment).ready("serving")
        wait_until(lambda: listening.hear() == [{"READY": "1", "STATUS": "serving"}])
        assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "x"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_nobody_is_told_where_nobody_listens(environment: dict[str, str]) -> None:
    manager = ServiceManager(environment)
    manager.ready("serving")
    manager.stopping()
    assert manager.next_ping == float("inf")
