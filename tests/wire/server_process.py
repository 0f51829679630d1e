"""A real server for tests: `securelight run` as a child process on a free port, its logs in files."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.certificates import TestCertificates

T = TypeVar("T")

START_SECONDS = 30.0
STOP_SECONDS = 20.0


class ServerProcess:
    """One running server.

    Attributes:
        port: the first listener's; 0 if all are unix sockets.
        directory: holds securelight.toml, access.log, events.log.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.events_path = directory / "events.log"
        self.access_path = directory / "access.log"
        self.config_path = directory / "securelight.toml"
        self._events = self.events_path.open("ab")
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "securelight", "run", "-c", str(self.config_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._events,
            env=self._environment,
        )
        try:
            started = self.wait_for_event("serving", START_SECONDS)
        except BaseException:
            self.stop()
            raise
        addresses: list[str] = started["addresses"]
        self.ports = [int(one.rpartition(":")[2]) for one in addresses if not one.startswith("unix:")]
        self.port = self.ports[0] if self.ports else 0

    def events(self) -> list[dict[str, Any]]:
        """Every event so far."""
        lines = self.events_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_for_event(self, name: str, seconds: float = 30.0, *, count: int = 1) -> dict[str, Any]:
        """The `count`th event called `name`, waited for."""
        return self._wait(lambda: [one for one in self.events() if one["event"] == name], name, seconds, count)

    def access_lines(self) -> list[str]:
        """Every line of the access log so far."""
        return self.access_path.read_text().splitlines() if self.access_path.exists() else []

    def wait_for_access(self, text: str, seconds: float = 30.0) -> str:
        """The first line of the access log that holds `text`, waited for."""
        return self._wait(lambda: [one for one in self.access_lines() if text in one], text, seconds, 1)

    def _wait(self, look: Callable[[], list[T]], what: str, seconds: float, count: int) -> T:
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if len(found) >= count:
                return found[count - 1]
            if time.monotonic() > deadline or (self.process.poll() is not None and len(look()) < count):
                log = self.events_path.read_text()
                raise AssertionError(f"no {what!r} within {seconds} s; the log:\n{log[-4000:]}")
            select.select([], [], [], 0.02)

    def count_events(self, **values: Any) -> int:
        """How many events have these values so far."""
        return sum(all(event.get(name) == value for name, value in values.items()) for event in self.events())

    def wait_for_count(self, count: int, **values: Any) -> None:
        """Wait until `count` events have these values."""
        self._wait(lambda: [values] * self.count_events(**values), str(values), 30.0, count)

    def workers(self) -> list[int]:
        """The process ids of the workers, ready or draining."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def send_signal(self, number: signal.Signals) -> None:
        """To the supervisor."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Stop gracefully, at once if that takes too long; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(STOP_SECONDS)
        self._events.close()
        return self.process.returncode


def write_config(
    directory: Path,
    certificates: TestCertificates,
    site: str,
    *,
    engine: str = "auto",
    workers: int = 1,
    limits: str = "",
    log_format: str = "combined",
    hosts: str = '"*"',
    extra: str = "",
) -> Path:
    """A configuration with one site. `site` is TOML inside [[site]]; `extra` stands at the end."""
    path = directory / "securelight.toml"
    path.write_text(f"""
[server]
workers = {workers}
engine = "{engine}"
event_log = "json"

[server.access_log]
format = "{log_format}"
file = "access.log"

[server.limits]
{limits}

[[listen]]
address = "127.0.0.1:0"

[[site]]
hosts = [{hosts}]
{site}

[[site.certificate]]
chain = "{certificates.chain}"
key = "{certificates.key}"

{extra}
""")
    return path


@contextmanager
def running(directory: Path, environment: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """The server of the configuration in `directory`, stopped at the end."""
    server = ServerProcess(directory, environment)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serving(directory: Path, *, errors: int = 0) -> Iterator[ServerProcess]:
    """As `running`; at the end the server must stop by itself, and have logged exactly `errors` events as errors."""
    with running(directory) as server:
        yield server
    assert server.process.returncode == 0
    found = [event for event in server.events() if event.get("level") in ("error", "critical")]
    assert len(found) == errors, found
    text = server.events_path.read_text()
    assert "Traceback" not in text or errors, text[-4000:]
