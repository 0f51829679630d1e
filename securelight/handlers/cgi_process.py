"""CGI programs as they run: started for one request, streamed both ways over pipes, ended with it.

A program's end tells how its answer ended: one that a signal ended broke off. Its group is killed when the client goes,
when a time has passed, when it has said more than it may, and when the worker stops.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from securelight.upstream.cgi_response import StatusLine
from securelight.upstream.child import Child, read_piece
from securelight.upstream.error_output import ErrorOutput
from securelight.upstream.faults import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.pipeline.compile import EventLog, InThread
    from securelight.upstream.cgi_variables import Variable

EXIT_SECONDS = 2.0
"""For a program to exit once it has closed its output; then it is killed."""
ERROR_PIECE_BYTES = 4096
_LEFT_OUT_IF_EMPTY = frozenset({b"CONTENT_LENGTH", b"CONTENT_TYPE", b"PATH_INFO"})


@dataclass(frozen=True, slots=True)
class CgiRules:
    """What all programs of one route share.

    Attributes:
        interpreters: programs that run scripts, by what the names of those end in.
        path: the search path that programs get.
        prefix: of each command; sets limits.
        output_bytes: the most that a program may say; 0 for no bound.
        receive_bytes: the most of one read.
        events: where to report.
        in_thread: starts programs.
    """

    interpreters: dict[str, str]
    path: str
    prefix: tuple[str, ...]
    output_bytes: int
    receive_bytes: int
    events: EventLog
    in_thread: InThread


class CgiPrograms:
    """Watches the programs of one route (a pipeline.compile.Service)."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until cancelled; then no program is left."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            ready()
            await trio.sleep_forever()

    def watch(self, process: CgiProcess) -> None:
        """See `process` to its end."""
        assert self._nursery is not None, "requests come while services run"
        self._nursery.start_soon(process.watch)


class CgiProcess:
    """One program, for one request. Implements handlers.cgi_call.CgiConnection.

    Args:
        rules: of its route.
        programs: watches it.
    """

    reusable = False

    def __init__(self, rules: CgiRules, programs: CgiPrograms) -> None:
        self._rules = rules
        self._programs = programs
        self._child: Child | None = None
        self._input = self._output = self._errors = -1
        self._over = trio.Event()
        self._status_line: StatusLine | None = None
        self._left_bytes = rules.output_bytes
        self._name = ""

    async def begin(self, variables: Sequence[Variable]) -> None:
        """Start the program."""
        values = {name: value for name, value in variables if value or name not in _LEFT_OUT_IF_EMPTY}
        values.setdefault(b"PATH", os.fsencode(self._rules.path))
        script = values[b"SCRIPT_FILENAME"]
        self._name = os.fsdecode(script)
        if os.path.basename(script).startswith(b"nph-"):
            self._status_line = StatusLine()
        await self._rules.in_thread(lambda: self._start(script, values))
        self._programs.watch(self)

    def _start(self, script: bytes, environment: dict[bytes, bytes]) -> None:
        command: list[str | bytes] = [*self._rules.prefix]
        for suffix, interpreter in self._rules.interpreters.items():
            if self._name.endswith(suffix):
                command.append(interpreter)
                break
        command.append(script)
        ends: list[int] = []
        try:
            for _ in range(3):
                ends += os.pipe()
            self._child = Child(command, ends[0], ends[3], ends[5], environment, os.path.dirname(script))
        except OSError as error:
            for descriptor in ends:
                os.close(descriptor)
            raise UpstreamBroken(f"{self._name}: {error.strerror}") from error
        theirs, ours = (ends[0], ends[3], ends[5]), (ends[1], ends[2], ends[4])
        for descriptor in theirs:
            os.close(descriptor)
        for descriptor in ours:
            os.set_blocking(descriptor, False)
        self._input, self._output, self._errors = ours

    async def send(self, data: bytes) -> None:
        """Write more of the body to its input."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._input, view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._input)
            except OSError as error:
                raise UpstreamBroken(f"{self._name} takes no more of the body: {error.strerror}") from error

    async def finish(self) -> None:
        """Close its input."""
        self._input = _close(self._input)

    async def receive(self) -> bytes:
        """More of its output; b"" once it has ended as it should."""
        while True:
            data = await read_piece(self._output, self._rules.receive_bytes)
            if not data:
                await self._see_how_it_ended()
                return b""
            if self._rules.output_bytes:
                self._left_bytes -= len(data)
                if self._left_bytes < 0:
                    raise UpstreamBroken(f"{self._name} said more than output_bytes")
            if self._status_line is not None:
                try:
                    data = self._status_line.feed(data)
                except ValueError as error:
                    raise UpstreamBroken(f"{self._name}: {error}") from error
                if not data:
                    continue
            return data

    async def _see_how_it_ended(self) -> None:
        child = self._child
        assert child is not None
        with trio.move_on_after(EXIT_SECONDS) as waiting:
            await self._over.wait()
        if waiting.cancelled_caught:
            child.kill()
            return
        if child.status is not None and child.status < 0:
            raise UpstreamBroken(f"{self._name} was ended by signal {-child.status}")
        if child.status:
            self._rules.events.warning("program exited with a status", program=self._name, status=child.status)

    async def watch(self) -> None:
        """Log what it says on its standard error, and reap it. The task's main function."""
        child = self._child
        assert child is not None
        log = ErrorOutput(
            lambda text: self._rules.events.warning("application error output", upstream=self._name, text=text)
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_errors, log)
                await child.exited()
                nursery.cancel_scope.cancel()
        finally:
            child.end()
            with contextlib.suppress(OSError):  # what it said last; BlockingIOError if somebody else holds the pipe
                log.add(os.read(self._errors, ERROR_PIECE_BYTES))
            self._errors = _close(self._errors)
            self._over.set()

    async def _read_errors(self, log: ErrorOutput) -> None:
        with contextlib.suppress(OSError):
            while data := await read_piece(self._errors, ERROR_PIECE_BYTES):
                log.add(data)

    def is_quiet(self) -> bool:
        """Never kept, so never asked."""
        return False

    def close(self) -> None:
        """Close its pipes, and kill it if it runs."""
        self._input = _close(self._input)
        self._output = _close(self._output)
        if self._child is not None:
            self._child.kill()


def _close(descriptor: int) -> int:
    if descriptor >= 0:
        trio.lowlevel.notify_closing(descriptor)
        os.close(descriptor)
    return -1
