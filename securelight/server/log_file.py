"""The file of the access log, opened by the supervisor, which may have rights that the workers have given up."""

from __future__ import annotations

import errno
import os

from securelight.config.schema import Config
from securelight.model.errors import ConfigError

STANDARD_OUTPUT = 1


def open_log(config: Config) -> int:
    """A descriptor for the access log: STANDARD_OUTPUT for "-", -1 for none.

    A symbolic link is refused: who may write to the folder of the log could make root append to any file. A pipe that
    nobody reads is refused rather than waited for.

    Errors: ConfigError naming the file.
    """
    log = config.server.access_log
    if log.format == "off":
        return -1
    if log.file == "-":
        return STANDARD_OUTPUT
    path = config.base / log.file
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        return os.open(path, flags, 0o640)
    except OSError as error:
        why = {errno.ELOOP: "it is a symbolic link", errno.ENXIO: "it is a pipe that nobody reads"}.get(
            error.errno or 0, error.strerror
        )
        raise ConfigError("server.access_log.file", f"{path} cannot be opened: {why}") from error


def close_log(descriptor: int) -> None:
    """Close what `open_log` gave."""
    if descriptor > STANDARD_OUTPUT:
        os.close(descriptor)
