"""Opens what a request path names beneath a root directory, and nothing else.

The kernel does the containment while it resolves the path (openat2 with RESOLVE_BENEATH), so that no rename or symlink
swapped in between a check and its use can lead outside. A path that this refuses may still lead inside the root by an
absolute symlink, or the kernel may be older than 5.6: then the real path is worked out first and walked again from the
root, directory by directory, with O_NOFOLLOW; whatever was swapped meanwhile makes the walk fail.

Refused: `.` and `..` segments, NUL, segments that begin with a dot (by default), symlinks that lead outside (by
default), magic links of /proc, and everything that is neither a regular file nor a directory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SYS_OPENAT2 = 437
"""The same number on every architecture but Alpha, where the call fails and the walk takes over."""
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
_RACE_RETRIES = 8
"""openat2 gives EAGAIN when a rename elsewhere raced with a `..` of a symlink; more than this many means an attack."""

_DIRECTORY_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""O_NONBLOCK: opening a FIFO must not wait for its writer. O_NOCTTY: a terminal must not become ours."""

_NOT_THERE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV, errno.ENXIO, errno.ENODEV, errno.EINVAL}
)
"""What opening a path fails with when it names nothing that could be served."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW_SIZE = ctypes.sizeof(_OpenHow)
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t)
_beneath = _OpenHow(_OPEN_FLAGS, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)


def relative_path(path: str, *, dot_files: bool = False, well_known: bool = False) -> bytes | None:
    """The file system path, relative to the root, that the request path `path` names; None if it is refused.

    Args:
        path: what follows the route's prefix: empty, or a slash and more. A trailing slash is dropped.
        dot_files: whether segments may begin with a dot.
        well_known: let `/.well-known` through all the same, as the first segment (RFC 8615): for a route at `/`.
    """
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    if b"\0" in raw:
        return None
    relative = raw.strip(b"/")
    if not relative:
        return b"."
    if raw.startswith(b".") or b"/." in raw:
        segments = relative.split(b"/")
        if b"." in segments or b".." in segments:
            return None
        if well_known and segments[0] == b".well-known":
            del segments[0]
        if not dot_files and any(segment.startswith(b".") for segment in segments):
            return None
    return relative


class DocumentRoot:
    """A directory that files are served from.

    It is opened anew each time, so that a deployment which swaps the symlink to its release is followed.

    Args:
        path: the directory; symlinks on the way to it are the operator's own and are followed.
        follow_symlinks: let symlinks below it lead anywhere.
    """

    __slots__ = ("_openat2", "follow_symlinks", "path")

    def __init__(self, path: Path, *, follow_symlinks: bool = False) -> None:
        self.path = os.fsencode(path)
        self.follow_symlinks = follow_symlinks
        self._openat2 = True

    def open(self, relative: bytes) -> tuple[int, os.stat_result]:
        """(descriptor, status) of the regular file or directory at `relative`, opened for reading.

        Args:
            relative: from `relative_path`.

        Errors: FileNotFoundError for everything that is not there or is refused; PermissionError; BlockingIOError if
            somebody holds a lease on the file or races us with renames; any other OSError is trouble of the system.
        """
        root = -1
        try:
            root = os.open(self.path, _DIRECTORY_FLAGS)
            descriptor = self._open_beneath(root, relative)
        except OSError as error:
            if error.errno in _NOT_THERE:
                raise FileNotFoundError(errno.ENOENT, "not there, or refused", relative) from error
            raise
        finally:
            if root >= 0:
                os.close(root)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a regular file", relative)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, status

    def _open_beneath(self, root: int, relative: bytes) -> int:
        if self.follow_symlinks:
            return os.open(relative, _OPEN_FLAGS, dir_fd=root)
        if self._openat2:
            number = 0
            for _ in range(_RACE_RETRIES):
                descriptor: int = _syscall(_SYS_OPENAT2, root, relative, _beneath, _HOW_SIZE)
                if descriptor >= 0:
                    return descriptor
                number = ctypes.get_errno()
                if number != errno.EAGAIN:
                    break
            if number in (errno.ENOSYS, errno.EPERM):  # an old kernel, or a container that does not know the call
                self._openat2 = False
            elif number != errno.EXDEV:
                raise OSError(number, os.strerror(number), relative)
        return self._open_real(root, relative)

    def _open_real(self, root: int, relative: bytes) -> int:
        real_root = os.path.realpath(self.path)
        real = os.path.realpath(os.path.join(self.path, relative), strict=True)
        if real == real_root:
            return _walk(root, [b"."])
        inside = real_root.rstrip(b"/") + b"/"
        if not real.startswith(inside):
            raise FileNotFoundError(errno.ENOENT, "leads outside the root", relative)
        return _walk(root, real[len(inside) :].split(b"/"))


def _walk(root: int, segments: list[bytes]) -> int:
    """Open `segments` one below the other from the descriptor `root`, following no symlink.

    Errors: OSError, ELOOP or ENOTDIR where a symlink is met.
    """
    directory = root
    try:
        for segment in segments[:-1]:
            below = os.open(segment, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=directory)
            if directory != root:
                os.close(directory)
            directory = below
        return os.open(segments[-1], _OPEN_FLAGS | os.O_NOFOLLOW, dir_fd=directory)
    finally:
        if directory != root:
            os.close(directory)
