"""A file of users that is read again when it changes, looked at once a second at most.

One that cannot be read any more leaves the last good one in force: to forget all users would be an outage, and to let
everybody in something worse. One that everybody on the machine may open is refused.
"""

from __future__ import annotations

import os
import stat
from time import monotonic
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

MAXIMUM_BYTES: Final = 1 << 20
MAXIMUM_USER_CHARACTERS: Final = 256
LOOK_SECONDS: Final = 1.0


class UserFileError(Exception):
    """A file that cannot be used; the text is for the operator."""


def read_private(path: Path, parse: Callable[[str], T]) -> T:
    """What `parse` makes of the text of the file; its ValueError names what is wrong.

    Errors: UserFileError for a file that cannot be read, that others may open, or with a line that is no good.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UserFileError(f"{str(path)!r} is not a regular file")
            data = file.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise UserFileError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    if status.st_mode & 0o007:
        raise UserFileError(f"{str(path)!r} is open to everybody on this machine; run: chmod o= {path}")
    if len(data) > MAXIMUM_BYTES:
        raise UserFileError(f"{str(path)!r} is larger than {MAXIMUM_BYTES} bytes")
    try:
        return parse(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserFileError(f"{str(path)!r} is not UTF-8 text") from error
    except ValueError as error:
        raise UserFileError(f"{str(path)!r}: {error}") from error


class UserFile(Generic[T]):
    """The users of one file, as they are now.

    Args:
        path: the file.
        read: reads it; raises UserFileError.

    Attributes:
        users: what `read` gave for the last good file.
        fault: why the file as it is now is not in force; empty if it is.

    Errors: UserFileError if it cannot be used from the beginning.
    """

    __slots__ = ("_identity", "_next_look", "_path", "_read", "fault", "users")

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self._path = path
        self._read = read
        self._identity = self._look()
        self._next_look = monotonic() + LOOK_SECONDS
        self.users = read(path)
        self.fault = ""

    def refresh(self) -> bool:
        """Read the file again if it has changed; True if that made a difference to `users` or `fault`."""
        now = monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_SECONDS
        identity = self._look()
        if identity == self._identity:
            return False
        self._identity = identity
        try:
            self.users = self._read(self._path)
            self.fault = ""
        except UserFileError as error:
            self.fault = str(error)
        return True

    def _look(self) -> tuple[int, ...]:
        try:
            status = os.stat(self._path)
        except OSError:
            return ()
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode
