"""Changes what lies beneath a root directory: files written whole or not at all, folders made, moved, copied, removed.

Every change is made by name in a folder that was reached from the root one segment at a time, each opened by its
descriptor and without following symbolic links: so nothing here leads out of the root, whatever is swapped meanwhile.
Where reading follows a link that stays inside (files/safe_path), changing refuses it.

Work in progress lies beside its target under a name with RESERVED_PREFIX, which no client may name or see, and is held
by flock: what somebody who was killed has left behind is told by nobody holding it. Everything here blocks and is
called in threads; what may take long is an iterator, of which each step is short.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RESERVED_PREFIX: Final = b".securelight-"
TREE_DEPTH: Final = 128
"""How deep folders may be nested that are changed, and below those that are copied or removed: each holds a
descriptor open meanwhile. File systems allow 2,000; people use 20."""
_COPY_BYTES: Final = 8_388_608
"""Of a file, copied in one step."""
_STEP_SECONDS: Final = 0.05
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_SKIPPED: Final = frozenset({errno.ELOOP, errno.ENOENT, errno.ENXIO})
"""Opening a file to copy it fails with these where it is a symbolic link or a socket, or has just gone."""


def is_reserved(relative: bytes) -> bool:
    """Whether a path below the root has a segment that is ours."""
    return RESERVED_PREFIX in relative and any(part.startswith(RESERVED_PREFIX) for part in relative.split(b"/"))


def name_beside(relative: bytes) -> bytes:
    """A name of ours in the folder of `relative` that nothing has yet."""
    return _joined(parent_of(relative), _reserved_name(b"upload"))


def name_aside(relative: bytes) -> bytes:
    """A name of ours for what is at `relative` and is to be removed, in the same folder."""
    return _joined(parent_of(relative), _reserved_name(b"trash"))


def parent_of(relative: bytes) -> bytes:
    """The path of the folder that `relative` is in; empty for the root."""
    return relative.rpartition(b"/")[0]


def advance(steps: Iterator[None]) -> bool:
    """Take steps for a short time; whether there are more."""
    until = time.monotonic() + _STEP_SECONDS
    return any(time.monotonic() > until for _ in steps)


class Pending:
    """A file or folder in progress, held until it is `let_go`.

    Attributes:
        relative: its path below the root.
        descriptor: of itself.
    """

    __slots__ = ("descriptor", "relative")

    def __init__(self, relative: bytes, descriptor: int) -> None:
        self.relative = relative
        self.descriptor = descriptor
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes) -> None:
        """Append to a file.

        Errors: OSError.
        """
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def let_go(self) -> None:
        """Close it; may be called twice."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class WritableRoot:
    """The directory; symlinks on the way to it are the operator's own."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = os.fsencode(path)

    @contextmanager
    def parent(self, relative: bytes) -> Iterator[tuple[int, bytes]]:
        """(descriptor of the folder that `relative` is in, its name there).

        Errors: OSError; FileNotFoundError or NotADirectoryError if there is no such folder.
        """
        *folders, name = relative.split(b"/")
        if len(folders) >= TREE_DEPTH:
            raise OSError(errno.ENAMETOOLONG, "nested too deep", relative)
        directory = os.open(self.path, _FOLDER & ~os.O_NOFOLLOW)
        try:
            for segment in folders:
                below = os.open(segment, _FOLDER, dir_fd=directory)
                os.close(directory)
                directory = below
            yield directory, name
        finally:
            os.close(directory)

    def status(self, relative: bytes) -> os.stat_result | None:
        """What is there, symbolic links not followed; None if nothing is, or no folder that it could be in.

        Errors: OSError.
        """
        try:
            with self.parent(relative) as (folder, name):
                return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def has_parent(self, relative: bytes) -> bool:
        """Whether there is a folder that `relative` is in, or could be.

        Errors: OSError.
        """
        try:
            with self.parent(relative):
                return True
        except (FileNotFoundError, NotADirectoryError):
            return False

    def free_bytes(self) -> int:
        """How much room there is for whoever is not root.

        Errors: OSError.
        """
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def new_file(self, relative: bytes) -> Pending:
        """A file under a name of `name_beside`, to be written and then moved.

        Errors: OSError.
        """
        with self.parent(relative) as (folder, name):
            descriptor = os.open(name, _WRITE, 0o666, dir_fd=folder)
        return Pending(relative, descriptor)

    def new_folder(self, relative: bytes) -> Pending:
        """A folder under a name of `name_beside`, to be filled and then moved.

        Errors: OSError.
        """
        with self.parent(relative) as (folder, name):
            os.mkdir(name, dir_fd=folder)
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
        return Pending(relative, descriptor)

    def make_folder(self, relative: bytes) -> None:
        """Make one.

        Errors: OSError; FileExistsError if something is there.
        """
        with self.parent(relative) as (folder, name):
            os.mkdir(name, dir_fd=folder)
            _flush(folder)

    def make_file(self, relative: bytes) -> None:
        """Make an empty one.

        Errors: OSError; FileExistsError if something is there.
        """
        with self.parent(relative) as (folder, name):
            os.close(os.open(name, _WRITE, 0o666, dir_fd=folder))
            _flush(folder)

    def put_aside(self, relative: bytes, aside: bytes) -> Pending | None:
        """Call it `aside`, a name of `name_aside`, to be removed in peace; returns it held, None if it can't be held.

        Errors: OSError; FileNotFoundError if nothing is there.
        """
        held = self._hold(relative)  # before it can be taken for a thing left behind
        try:
            with self.parent(relative) as (folder, name):
                os.rename(name, aside.rpartition(b"/")[2], src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            if held is not None:
                held.let_go()
            raise
        if held is not None:
            held.relative = aside
        return held

    def move(self, source: bytes, target: bytes) -> None:
        """Rename; a file that is at `target` is replaced, and gives its permissions to the one that takes its place
        if that is one in progress.

        Errors: OSError; EXDEV if a file system would have to be left.
        """
        with self.parent(source) as (source_folder, source_name), self.parent(target) as (folder, name):
            if source_name.startswith(RESERVED_PREFIX):
                self._take_over_mode(folder, name, source_folder, source_name)
            os.rename(source_name, name, src_dir_fd=source_folder, dst_dir_fd=folder)
            _flush(folder)

    def _take_over_mode(self, folder: int, name: bytes, source_folder: int, source_name: bytes) -> None:
        with suppress(FileNotFoundError, PermissionError):
            before = os.stat(name, dir_fd=folder, follow_symlinks=False)
            after = os.stat(source_name, dir_fd=source_folder, follow_symlinks=False)
            if stat.S_ISREG(before.st_mode) and stat.S_ISREG(after.st_mode) and before.st_mode != after.st_mode:
                os.chmod(source_name, before.st_mode & 0o777, dir_fd=source_folder)

    def remove(self, relative: bytes) -> Iterator[None]:
        """Remove a file, or a folder with all that is in it, step by step; nothing if it is not there.

        Errors: OSError, at the first that cannot be removed.
        """
        with suppress(FileNotFoundError), self.parent(relative) as (folder, name):
            yield from _remove(folder, name, 0)

    def adopt(self, relative: bytes) -> Pending | None:
        """What was left behind at `relative`, held; None if somebody holds it, or nothing is there.

        Errors: OSError.
        """
        try:
            with self.parent(relative) as (folder, name):
                descriptor = os.open(name, _READ, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return Pending(relative, descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None

    def _hold(self, relative: bytes) -> Pending | None:
        try:
            return self.adopt(relative)
        except OSError:  # a symbolic link, or a file that we may not read: removed in one step anyway
            return None


def copy_file(source: int, target: int) -> Iterator[None]:
    """Copy all that the open file `source` has to `target`, piece by piece.

    Errors: OSError.
    """
    offset = 0
    while count := os.sendfile(target, source, offset, _COPY_BYTES):
        offset += count
        yield


def copy_folder(source: int, target: int, is_hidden: Callable[[bytes], bool], depth: int = 1) -> Iterator[None]:
    """Copy what the open folder `source` has into `target`, step by step: files and folders, nothing else.

    Args:
        source, target: descriptors; they stay open.
        is_hidden: whether a name is left out.

    Errors: OSError.
    """
    if depth > TREE_DEPTH:
        raise OSError(errno.ENAMETOOLONG, "nested too deep")
    with os.scandir(source) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if is_hidden(name):
                continue
            try:
                inner = os.open(name, _READ, dir_fd=source)
            except OSError as error:
                if error.errno in _SKIPPED:
                    continue
                raise
            try:
                mode = os.fstat(inner).st_mode
                if stat.S_ISDIR(mode):
                    os.mkdir(name, dir_fd=target)
                    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=target)
                    try:
                        yield from copy_folder(inner, made, is_hidden, depth + 1)
                    finally:
                        os.close(made)
                elif stat.S_ISREG(mode):
                    made = os.open(name, _WRITE, mode & 0o777, dir_fd=target)
                    try:
                        yield from copy_file(inner, made)
                    finally:
                        os.close(made)
            finally:
                os.close(inner)
            yield


def _remove(folder: int, name: bytes, depth: int) -> Iterator[None]:
    if depth > TREE_DEPTH:
        raise OSError(errno.ENAMETOOLONG, "nested too deep")
    if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=folder)
        yield
        return
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    try:
        # All names first: a directory that changes while it is read may leave some out.
        for entry in os.listdir(inner):
            yield from _remove(inner, os.fsencode(entry), depth + 1)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)
    yield


def _reserved_name(kind: bytes) -> bytes:
    return RESERVED_PREFIX + kind + b"-" + secrets.token_hex(8).encode()


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _flush(folder: int) -> None:
    """Write down which names the folder has."""
    descriptor = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
