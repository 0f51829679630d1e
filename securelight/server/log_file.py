"""The outputs of access logs that are written to a descriptor, opened by the supervisor, which may have rights that the
workers have given up."""

from __future__ import annotations

import contextlib
import errno
import os

from securelight.config.log_settings import STANDARD
from securelight.config.logs import Log, Output, logs_of
from securelight.config.schema import Config
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import EventLog
from securelight.server.log_command import LogCommand

STANDARD_OUTPUT = 1


def open_log(path: str, where: str = "server.access_log.file") -> int:
    """A descriptor for the log file `path`: STANDARD_OUTPUT for "-".

    A symbolic link is refused: who may write to the folder of the log could make root append to any file. A pipe that
    nobody reads is refused rather than waited for.

    Errors: ConfigError naming the file, and `where` it is set.
    """
    if path == STANDARD:
        return STANDARD_OUTPUT
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        return os.open(path, flags, 0o640)
    except OSError as error:
        why = {errno.ELOOP: "it is a symbolic link", errno.ENXIO: "it is a pipe that nobody reads"}.get(
            error.errno or 0, error.strerror
        )
        raise ConfigError(where, f"{path} cannot be opened: {why}") from error


def close_log(descriptor: int) -> None:
    """Close what `open_log` gave."""
    if descriptor > STANDARD_OUTPUT:
        os.close(descriptor)


class LogOutputs:
    """What the logs of one configuration are written to; owned by its generation.

    Args:
        config: whose logs are opened, and whose programs are started.

    Attributes:
        logs: by their place; see config.logs.logs_of.
        descriptors: of the outputs that have one, in an order that workers know too.

    Errors: ConfigError naming what cannot be opened or started; nothing is left open then.
    """

    def __init__(self, config: Config) -> None:
        self.logs: dict[str, Log] = logs_of(config)
        self.descriptors: dict[Output, int] = {}
        self._commands: list[LogCommand] = []
        try:
            for log in self.logs.values():
                output = log.output
                if output is not None and output not in self.descriptors:
                    self._open(output, log.where, config)
        except BaseException:
            self.close()
            raise

    def _open(self, output: Output, where: str, config: Config) -> None:
        if output.kind == "file":
            self.descriptors[output] = open_log(output.target[0], f"{where}.file")
        elif output.kind == "command":
            command = LogCommand(output.target, config.server, config.base, f"{where}.command")
            self._commands.append(command)
            self.descriptors[output] = command.write_end

    @property
    def plain(self) -> int | None:
        """The one descriptor (-1 for none), where all there is is one plain log; None where there is more."""
        if len(self.logs) > 1 or not self.logs[""].is_plain:
            return None
        return next(iter(self.descriptors.values()), -1)

    def reopen(self) -> list[tuple[int, int]]:
        """Open the files anew, for logs that were moved away.

        Returns: (number among the descriptors, descriptor) of those that workers are to write to from now on.
        Errors: ConfigError. All stay as they were.
        """
        opened: dict[Output, int] = {}
        try:
            for output, before in self.descriptors.items():
                if output.kind == "file" and before > STANDARD_OUTPUT:
                    opened[output] = open_log(output.target[0])
        except ConfigError:
            for descriptor in opened.values():
                os.close(descriptor)
            raise
        for output, descriptor in opened.items():
            close_log(self.descriptors[output])
            self.descriptors[output] = descriptor
        numbers = {output: number for number, output in enumerate(self.descriptors)}
        return [(numbers[output], descriptor) for output, descriptor in opened.items()]

    def look(self, now: float, events: EventLog) -> None:
        """Start programs again that have ended, and tell of it."""
        for command in self._commands:
            command.look(now, events)

    def next_due(self) -> float:
        """When a program is to be started again; infinite for never."""
        return min((command.start_at for command in self._commands), default=float("inf"))

    def end(self) -> list[LogCommand]:
        """All writers have ended: close everything. Returns the programs, which have their last lines to write."""
        self.close()
        commands, self._commands = self._commands, []
        return commands

    def close(self) -> None:
        """Close what this process has open of it; the programs are left alone. May be called twice."""
        for output, descriptor in self.descriptors.items():
            if output.kind == "file":
                close_log(descriptor)
        self.descriptors.clear()
        for command in self._commands:
            with contextlib.suppress(OSError):
                command.close()
