"""Processes that a worker starts: as many as are needed, started again when they end, gone when the worker is."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from securelight.upstream import spawner as module
from securelight.upstream.faults import ConnectFailed
from securelight.upstream.spawner import Spawner, SpawnRules
from tests.server.processes import alive, fetch, wait_until
from tests.wire.server_process import running, write_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.certificates import TestCertificates

ANSWERING = """
import os, signal, socket
signal.signal(signal.SIGTERM, signal.{term})
listener = socket.socket(fileno=0)
while True:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"Content-Type: text/plain\\r\\n\\r\\n%d" % os.getpid())
"""


class Watched:
    """A Spawner with what it has logged.

    Attributes:
        in_use: what it is told.
        retired: how often idle connections were to be closed.
    """

    def __init__(self, source: str, **rules: Any) -> None:
        self.in_use = 0
        self.retired = 0
        self.events: list[str] = []
        command = (sys.executable, "-S", "-E", "-c", source)
        self.spawner = Spawner(SpawnRules(command, **rules), self._log, lambda: self.in_use, self._retire)

    def _log(self, event: str, **_values: object) -> None:
        self.events.append(event)

    def _retire(self) -> None:
        self.retired += 1

    async def ask(self) -> int:
        """The process that answers."""
        stream = await self.spawner.connect(20, 1000)
        try:
            with trio.fail_after(20):
                await stream.send(b"?")
                answer = b""
                while data := await stream.receive():
                    answer += data
                return int(answer.split()[-1])
        finally:
            stream.close()

    async def until(self, count: int) -> set[int]:
        """Ask until so many processes have answered."""
        found: set[int] = set()
        with trio.fail_after(20):
            while len(found) < count:
                found.add(await self.ask())
        return found


@asynccontextmanager
async def spawned(source: str = ANSWERING.format(term="SIG_DFL"), **rules: Any) -> AsyncIterator[Watched]:
    watched = Watched(source, **rules)
    async with trio.open_nursery() as nursery:
        ready = trio.Event()
        nursery.start_soon(watched.spawner.run, ready.set)
        await ready.wait()
        yield watched
        nursery.cancel_scope.cancel()


async def until(look: Any, seconds: float = 20) -> None:
    with trio.fail_after(seconds):
        while not look():  # noqa: ASYNC110 - what is looked at are processes
            await trio.sleep(0.02)


async def test_processes_answer_and_end_with_the_service() -> None:
    async with spawned(minimum=2, maximum=2) as watched:
        found = await watched.until(2)
        path = Path(watched.spawner._path)
        assert path.is_socket()  # noqa: ASYNC240 - no work for a thread
        assert path.parent.stat().st_mode & 0o077 == 0
    assert not any(alive(one) for one in found)
    assert not path.parent.exists()
    assert watched.events == []


async def test_one_that_ends_is_replaced_and_requests_wait_for_the_next() -> None:
    async with spawned() as watched:
        first = await watched.ask()
        os.kill(first, signal.SIGKILL)
        await until(lambda: not alive(first))
        second = await watched.ask()
        assert second != first
        assert watched.events == ["application process ended"]


async def test_there_are_more_when_there_is_more_to_do_and_fewer_when_there_is_nothing() -> None:
    async with spawned(maximum=3, idle_seconds=0.2) as watched:
        watched.in_use = 5
        found = await watched.until(3)
        for _ in range(10):
            found.add(await watched.ask())
        assert len(found) == 3
        assert watched.retired == 0
        watched.in_use = 0
        await until(lambda: sum(map(alive, found)) == 1)
        assert watched.retired
        assert await watched.ask() in found
        assert watched.events == []


async def test_one_that_never_stays_is_not_asked_for_ever() -> None:
    async with spawned("raise SystemExit(3)") as watched:
        await until(lambda: watched.events.count("application process ended") >= module.FAILURES)

        async def refused() -> bool:
            try:
                (await watched.spawner.connect(5, 1000)).close()
            except ConnectFailed as fault:
                return "ends as soon as it is started" in str(fault)
            return False

        with trio.fail_after(20):
            while not await refused():  # noqa: ASYNC110 - as above
                await trio.sleep(0.02)


async def test_one_that_does_not_listen_to_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    async with spawned(ANSWERING.format(term="SIG_IGN")) as watched:
        found = await watched.ask()
    assert not alive(found)


async def test_what_it_says_is_logged_and_what_cannot_start_too(tmp_path: Path) -> None:
    async with spawned("import os, time; os.write(2, b'the tide is out'); time.sleep(600)") as watched:
        await until(lambda: "application error output" in watched.events)
    not_a_program = tmp_path / "text"
    not_a_program.write_text("")
    events: list[str] = []
    broken = Spawner(SpawnRules((str(not_a_program),)), lambda event, **_: events.append(event), int, lambda: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broken.run, lambda: None)
        await until(lambda: {"application can't be started", "application process ended"} & set(events))
        nursery.cancel_scope.cancel()


def test_a_worker_that_is_killed_leaves_no_process(tmp_path: Path, certificates: TestCertificates) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    script = tmp_path / "application.py"
    script.write_text(ANSWERING.format(term="SIG_DFL"))
    write_config(tmp_path, certificates, f'scgi.spawn.command = ["{sys.executable}", "-S", "-E", "{script}"]')
    with running(tmp_path) as server:
        first = int(fetch(server, certificates).body)
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not alive(first), 20)
        wait_until(lambda: server.workers() not in ([], [worker]), 20)
        second = int(fetch(server, certificates).body)
        assert second != first
        assert server.stop() == 0
        wait_until(lambda: not alive(second), 20)
