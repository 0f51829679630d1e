"""One program that we have started, in a session and process group of its own.

Its whole group is killed when it has ended, or is to end: what it started in turn does not outlive it, unless it left
the group on purpose. Never a shell; no descriptor but the three that are given; only the environment that is given.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Child:
    """A running program. Making one starts it, which takes about a millisecond.

    Args:
        command: its path and arguments.
        stdin, stdout, stderr: descriptors, not closed here, or subprocess.DEVNULL.
        environment: all of it.
        directory: where it runs.

    Errors: OSError if it can't be started.

    Attributes:
        status: its exit status, that of a signal negative; None while it runs.
    """

    __slots__ = ("_descriptor", "_process", "status")

    def __init__(
        self,
        command: Sequence[str | bytes],
        stdin: int,
        stdout: int,
        stderr: int,
        environment: Mapping[bytes, bytes],
        directory: str | bytes,
    ) -> None:
        self.status: int | None = None
        self._process = subprocess.Popen(  # noqa: S603 - the operator names the program
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            cwd=directory,
            close_fds=True,
            start_new_session=True,
        )
        try:
            self._descriptor = os.pidfd_open(self._process.pid)
        except OSError:
            self._signal(signal.SIGKILL)
            self._process.wait()
            raise

    @property
    def process_id(self) -> int:
        """Also that of its group."""
        return self._process.pid

    async def exited(self) -> None:
        """Wait until it has ended; `end` is still to be called."""
        await trio.lowlevel.wait_readable(self._descriptor)

    def terminate(self) -> None:
        """Ask it, and all of its group, to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, and all of its group."""
        self._signal(signal.SIGKILL)

    def end(self) -> None:
        """Kill what is left of its group and reap it; waits, if it has not exited, as long as the kernel needs."""
        if self.status is None:
            self._signal(signal.SIGKILL)  # before it is reaped: until then nobody else can have its number
            self.status = self._process.wait()
            trio.lowlevel.notify_closing(self._descriptor)
            os.close(self._descriptor)

    def _signal(self, number: signal.Signals) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


async def read_piece(descriptor: int, most: int) -> bytes:
    """The next piece of a pipe that is not blocking; b"" at its end.

    Errors: OSError.
    """
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        with contextlib.suppress(BlockingIOError):
            return os.read(descriptor, most)
