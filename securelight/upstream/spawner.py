"""A back end that we start ourselves: its listening socket, and as many of its processes as are needed.

Each worker has its own: it binds a unix socket in a directory that nobody else can enter, and starts processes with
that socket as their standard input (descriptor 0), as FastCGI (specification, section 2.2) and its kin expect it. The
socket outlives them: while one is started again, requests wait in its queue. A process that ends is replaced, at once
if it had worked for a while, else after a pause that doubles. All are asked to end with the worker, then killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from securelight.model.errors import ConfigError
from securelight.upstream.child import Child, read_piece
from securelight.upstream.error_output import ErrorOutput
from securelight.upstream.faults import ConnectFailed
from securelight.upstream.stream import PlainStream, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BACKLOG = 128
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 30.0
"""Before a process that ended soon is started again."""
WORKED_SECONDS = 5.0
"""A process that lived so long has worked; the next one is started at once."""
FAILURES = 3
"""Processes in a row that ended soon: then requests are refused instead of left to wait."""
STOP_SECONDS = 5.0
"""For processes to end when they are asked to."""
ERROR_PIECE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SpawnRules:
    """What is started.

    Attributes:
        command: the program's path and arguments.
        minimum: processes that are always there.
        maximum: processes when there is much to do.
        idle_seconds: without a request, after which there are `minimum` again.
        environment: all of it.
        directory: where they run.
    """

    command: tuple[str, ...]
    minimum: int = 1
    maximum: int = 1
    idle_seconds: float = 30.0
    environment: Mapping[bytes, bytes] = field(default_factory=dict)
    directory: str = "/"


class Spawner:
    """The processes of one back end in one worker (a pipeline.compile.Service).

    Args:
        rules: what is started.
        log: is told what happens, as an event with values.
        in_use: how many requests are with the back end now; for more than there are processes, one is added.
        retire: called before processes are ended because nobody needs them.
    """

    def __init__(
        self, rules: SpawnRules, log: Callable[..., None], in_use: Callable[[], int], retire: Callable[[], None]
    ) -> None:
        self._rules = rules
        self._log = log
        self._in_use = in_use
        self._retire = retire
        self._nursery: trio.Nursery | None = None
        self._listener: socket.socket | None = None
        self._path = ""
        self._slots = 0
        self._failures = 0
        self._used_at = 0.0
        self._children: set[Child] = set()
        self._retiring: set[Child] = set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until cancelled; then no process is left.

        Errors: ConfigError if there is nowhere to put the socket.
        """
        try:
            directory = tempfile.mkdtemp(prefix="securelight-")
        except OSError as error:
            why = f"no folder for temporary files that workers may write to: {error.strerror}"
            raise ConfigError(f"spawn of {self._rules.command[0]}", why) from error
        self._path = os.path.join(directory, "socket")
        listener = self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(self._path)
            listener.listen(BACKLOG)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for _ in range(self._rules.minimum):
                    self._add()
                ready()
                await self._shrink_when_idle()
        finally:
            self._nursery = None
            listener.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
                os.rmdir(directory)

    async def connect(self, seconds: float, receive_bytes: int) -> PlainStream:
        """A connection to one of the processes.

        Errors: ConnectFailed.
        """
        if self._failures >= FAILURES and not self._children:
            raise ConnectFailed(f"{self._rules.command[0]} ends as soon as it is started")
        self._used_at = trio.current_time()
        if self._in_use() > self._slots and self._slots < self._rules.maximum and self._nursery is not None:
            self._add()
        return await connect([(socket.AF_UNIX, self._path)], seconds, receive_bytes)

    async def _shrink_when_idle(self) -> None:
        idle_seconds = self._rules.idle_seconds
        while True:
            await trio.sleep(idle_seconds / 2)
            surplus = self._slots - self._rules.minimum
            if surplus > 0 and not self._in_use() and trio.current_time() - self._used_at >= idle_seconds:
                self._retire()
                for child in list(self._children - self._retiring)[:surplus]:
                    self._retiring.add(child)
                    child.terminate()

    def _add(self) -> None:
        assert self._nursery is not None
        self._slots += 1
        self._nursery.start_soon(self._keep)

    async def _keep(self) -> None:
        """Keep one process running."""
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                started = trio.current_time()
                child = await self._run_one()
                if child is not None and child in self._retiring:
                    self._retiring.discard(child)
                    return
                lived = trio.current_time() - started
                if lived >= WORKED_SECONDS:
                    self._failures = 0
                    pause = FIRST_PAUSE_SECONDS
                    continue
                self._failures += 1
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        finally:
            self._slots -= 1

    async def _run_one(self) -> Child | None:
        """Start a process and see it to its end; None if it can't be started."""
        rules, program = self._rules, self._rules.command[0]
        assert self._listener is not None
        errors, theirs = os.pipe()
        os.set_blocking(errors, False)
        try:
            command = _with_parent(rules.command)
            child = Child(
                command, self._listener.fileno(), subprocess.DEVNULL, theirs, rules.environment, rules.directory
            )
        except OSError as error:
            os.close(errors)
            self._log("application can't be started", program=program, why=error.strerror)
            return None
        finally:
            os.close(theirs)
        self._children.add(child)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_errors, errors)
                await child.exited()
                nursery.cancel_scope.cancel()
            if child not in self._retiring:
                child.end()
                self._log("application process ended", program=program, status=child.status)
            return child
        finally:
            await _stop(child)
            os.close(errors)
            self._children.discard(child)

    async def _read_errors(self, descriptor: int) -> None:
        program = self._rules.command[0]
        log = ErrorOutput(lambda text: self._log("application error output", upstream=program, text=text))
        second = trio.current_time()
        with contextlib.suppress(OSError):
            while data := await read_piece(descriptor, ERROR_PIECE_BYTES):
                if trio.current_time() - second > 1:
                    second = trio.current_time()
                    log.begin()
                log.add(data)


async def _stop(child: Child) -> None:
    """End a process: first it is asked."""
    if child.status is None:
        child.terminate()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_SECONDS):
            await child.exited()
        child.end()


def _with_parent(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command so that it ends with this process, even where that is killed."""
    setpriv = shutil.which("setpriv")
    return command if setpriv is None else (setpriv, "--pdeathsig", "TERM", "--", *command)
