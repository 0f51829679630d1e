"""Listening on a unix socket (`unix:/run/securelight.sock`): its file, who may open it, and when it goes away.

Only a socket that nobody listens on any more is ever replaced, never another file. The folder may not be one in which
everybody can make files: there, somebody else's socket could wait in the place of ours. On exit, what we made is
removed, unless it is not ours any more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from securelight.config.unix_sockets import folder_fault, group_fault
from securelight.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from securelight.config.schema import ListenConfig

PREFIX: Final = "unix:"
_PROBE_SECONDS: Final = 5.0


def unix_path(address: str) -> Path | None:
    """The path of a `unix:` address; None for others."""
    return Path(address.removeprefix(PREFIX)) if address.startswith(PREFIX) else None


def listen_unix(path: Path, backlog: int) -> socket.socket:
    """A socket that listens at `path` and that nobody but this user can open, until `permit`.

    Errors: ConfigError, worded for the operator.
    """
    if fault := folder_fault(path):
        raise ConfigError(f"listen {PREFIX}{path}", fault)
    sock = socket.socket(socket.AF_UNIX)
    try:
        with _locked(path.parent):
            if path.is_socket():
                _remove_stale(path)
            before = os.umask(0o177)
            try:
                sock.bind(str(path))
            finally:
                os.umask(before)
            sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigError(f"listen {PREFIX}{path}", f"the socket cannot be made: {error.strerror or error}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def permit(listen: ListenConfig) -> None:
    """Give the socket of `listen` the mode and the group that it says.

    Errors: ConfigError.
    """
    path = unix_path(listen.address)
    if path is None:
        return
    if fault := group_fault(listen.socket_group):
        raise ConfigError(f"listen {listen.address}", fault)
    try:
        if listen.socket_group:
            os.chown(path, -1, grp.getgrnam(listen.socket_group).gr_gid, follow_symlinks=False)
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.chmod(int(listen.socket_mode, 8))
    except OSError as error:
        what = f"its mode and group cannot be set: {error.strerror}"
        raise ConfigError(f"listen {listen.address}", what) from error


def identity_of(path: Path) -> tuple[int, int]:
    """Which file is at `path`; two zeros if none is."""
    try:
        status = path.lstat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def remove(path: Path, identity: tuple[int, int]) -> None:
    """Remove the socket that we made at `path`, if it is still the one there."""
    with contextlib.suppress(OSError), _locked(path.parent):
        if identity_of(path) == identity:
            path.unlink()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Of two servers that start at the same time, one looks and binds before the other looks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, "another process is using its folder") from error
    try:
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # its server was killed
            return
        except (TimeoutError, BlockingIOError):
            pass
    raise OSError(errno.EADDRINUSE, "another server listens there")
