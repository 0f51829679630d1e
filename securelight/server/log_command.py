"""A program that is given the access log on its standard input.

The supervisor starts it, without a shell, as the user that the workers are, and starts it again if it ends, ever later.
The pipe is the supervisor's: what is in it outlives the program, and no worker notices that another one reads. It ends
by itself when nobody has the pipe open for writing any more, and is helped if it does not.
"""

from __future__ import annotations

import contextlib
import grp
import math
import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from securelight.config.schema import ServerConfig
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import EventLog

if TYPE_CHECKING:
    from securelight.server.log_file import LogOutputs

MOST_PAUSE_SECONDS = 5.0
"""The longest pause before a program that keeps ending is started again."""
STEADY_SECONDS = 10.0
"""One that lived this long did not end of its start."""
_LOOK_SECONDS = 0.02
END_SECONDS = 5.0
"""What it gets to write the last lines, once its input has ended; and again after SIGTERM."""


class LogCommand:
    """One program with its pipe.

    Args:
        argv: program and arguments.
        server: names the user.
        folder: its working directory.
        where: the key that names it.

    Attributes:
        write_end: what lines are written to, non-blocking.
        start_at: when it is to be started again; infinite while it runs.

    Errors: ConfigError if it cannot be started.
    """

    def __init__(self, argv: Sequence[str], server: ServerConfig, folder: Path, where: str) -> None:
        self._argv = tuple(argv)
        self._folder = folder
        self._deaths = 0
        self._started = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self.start_at = math.inf
        self._user = _user(server, where)
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.write_end, False)
        try:
            self._start()
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(where, f"{self._argv[0]} cannot be started: {why}") from error

    def _start(self) -> None:
        self._started = monotonic()
        self.start_at = math.inf
        self._process = subprocess.Popen(  # noqa: S603 - the operator's program, without a shell
            self._argv, stdin=self._read_end, cwd=self._folder, start_new_session=True, **self._user
        )

    def look(self, now: float, events: EventLog) -> None:
        """Notice that it has ended, and tell of it; start it again when it is due."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._process = None
            self._again(now, f"was killed by signal {-code}" if code < 0 else f"ended with code {code}", events)
        elif now >= self.start_at:
            try:
                self._start()
            except (OSError, subprocess.SubprocessError) as error:
                self._again(now, str(error), events)

    def _again(self, now: float, how: str, events: EventLog) -> None:
        self._deaths = 0 if now - self._started > STEADY_SECONDS else self._deaths + 1
        self.start_at = now + min(0.1 * 2**self._deaths, MOST_PAUSE_SECONDS)
        events.error("log command ended, starting it again", program=self._argv[0], how=how)

    def close(self) -> None:
        """Close the pipe in this process. May be called twice."""
        ends, self._read_end, self.write_end = (self._read_end, self.write_end), -1, -1
        for end in ends:
            if end >= 0:
                os.close(end)

    def abandon(self) -> None:
        """End it now: it has never been given a line."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def ended(self, waited_seconds: float) -> bool:
        """Whether it has ended; it is told to, and made to, if its input ended `waited_seconds` ago."""
        process = self._process
        if process is None or process.poll() is not None:
            return True
        if waited_seconds > END_SECONDS:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL if waited_seconds > 2 * END_SECONDS else signal.SIGTERM)
        return False


class EndingCommands:
    """Programs that have the last lines of a log to write: nobody writes to them any more."""

    def __init__(self) -> None:
        self._commands: list[tuple[LogCommand, float]] = []

    @property
    def next_look(self) -> float:
        """When to look again; infinite for never."""
        return monotonic() + END_SECONDS if self._commands else math.inf

    def end(self, logs: LogOutputs) -> None:
        """Close `logs`, and look after its programs from now on."""
        now = monotonic()
        self._commands += [(command, now) for command in logs.end()]

    def look(self, now: float) -> None:
        """Let go of those that have ended, and make those that do not."""
        self._commands = [(command, since) for command, since in self._commands if not command.ended(now - since)]

    def wait(self) -> None:
        """Until all have ended: at most two times END_SECONDS, and a moment."""
        while self._commands:
            self.look(monotonic())
            sleep(_LOOK_SECONDS)


def _user(server: ServerConfig, where: str) -> dict[str, Any]:
    """Whose rights it has: those of the workers."""
    if os.geteuid() != 0 or not (server.user or server.group):
        return {}
    try:
        account = pwd.getpwnam(server.user) if server.user else None
        group = grp.getgrnam(server.group).gr_gid if server.group else account.pw_gid if account else os.getgid()
    except KeyError as error:
        raise ConfigError(where, f"there is no such user or group: {error}") from error
    groups = os.getgrouplist(account.pw_name, group) if account is not None else []
    user = {"user": account.pw_uid} if account is not None else {}
    return {**user, "group": group, "extra_groups": groups}
