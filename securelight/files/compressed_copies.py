"""Compressed copies of files on the disk, so that they outlive a restart; bounded in bytes, shared by workers.

A copy is named by a digest of what it was made of, so a changed original has another name and finds nothing. It begins
with a magic number and a digest of its content: whatever is not whole (a full disk, a power cut, somebody's hand) is
dropped and made anew. It is written under a temporary name and renamed, so nobody sees half of one. When there is too
much, what was used least lately goes.

Everything here blocks: it is called in threads. Copies are taken for what the directory says they are, so nobody else
may write there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from pathlib import Path

_MAGIC = b"SLcopy1\n"
_DIGEST_BYTES = 32
HEADER_BYTES = len(_MAGIC) + _DIGEST_BYTES
"""What stands before the content of a copy."""
_READ_BYTES = 262_144
_TEMPORARY = ".new-"
_TEMPORARY_SECONDS = 3600.0
"""Older temporary files were left behind by a process that was killed."""
_SWEEPS_PER_BOUND = 8
"""The directory is looked through each time that so large a part of its bound was written."""


class CompressedCopies:
    """One directory of copies.

    Args:
        directory: made if it is not there; must belong to us alone.
        maximum_bytes: of all copies together, kept to within an eighth for each worker.

    Errors: OSError if it cannot be made.
    """

    def __init__(self, directory: Path, maximum_bytes: int) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._maximum_bytes = maximum_bytes
        self._until_sweep = 0

    def load(self, key: bytes) -> tuple[int, int] | None:
        """(descriptor, bytes of content) of the copy of `key`, found whole; None if there is none."""
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            size = _content_bytes(descriptor)
            if size is not None:
                os.utime(descriptor)
                return descriptor, size
            os.unlink(path)
        except OSError:
            pass
        os.close(descriptor)
        return None

    def create(self, key: bytes) -> CopyWriter | None:
        """A writer for the copy of `key`; None if the disk does not let us."""
        try:
            return CopyWriter(self, self._directory / f"{_TEMPORARY}{secrets.token_hex(8)}", self._path(key))
        except OSError:
            return None

    def save(self, key: bytes, content: bytes) -> None:
        """Keep `content` for `key`, if the disk lets us."""
        writer = self.create(key)
        if writer is not None:
            writer.write(content)
            kept = writer.commit()
            if kept is not None:
                os.close(kept[0])

    def written(self, count: int) -> None:
        """So many bytes were added; every so often this makes room."""
        self._until_sweep -= count
        if self._until_sweep < 0:
            self._until_sweep = self._maximum_bytes // _SWEEPS_PER_BOUND
            self._sweep()

    def _path(self, key: bytes) -> Path:
        return self._directory / hashlib.blake2b(key, digest_size=24).hexdigest()

    def _sweep(self) -> None:
        found: list[tuple[float, int, str]] = []
        with contextlib.suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if not entry.name.startswith(_TEMPORARY):
                        found.append((status.st_mtime, status.st_size, entry.path))
                    elif time.time() - status.st_mtime > _TEMPORARY_SECONDS:
                        os.unlink(entry.path)
        excess = sum(size for _, size, _ in found) - self._maximum_bytes
        for _, size, path in sorted(found):
            if excess <= 0:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            excess -= size


class CopyWriter:
    """One copy in the making; ends in `commit` or `abandon`. What goes wrong with the disk ends the copy only."""

    def __init__(self, copies: CompressedCopies, temporary: Path, path: Path) -> None:
        self._copies = copies
        self._temporary = temporary
        self._path = path
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._bytes = 0
        self._descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.write(b"", HEADER_BYTES)

    def write(self, data: bytes, blank: int = 0) -> None:
        """Add `data` after `blank` zeros."""
        if self._descriptor < 0:
            return
        try:
            remaining = memoryview(bytes(blank) + data)
            while remaining:
                remaining = remaining[os.write(self._descriptor, remaining) :]
        except OSError:
            self.abandon()
            return
        self._digest.update(data)
        self._bytes += len(data)

    def commit(self) -> tuple[int, int] | None:
        """Let the copy be found. Returns (descriptor, bytes of content), None if the disk did not let us."""
        if self._descriptor < 0:
            return None
        try:
            os.pwrite(self._descriptor, _MAGIC + self._digest.digest(), 0)
            os.rename(self._temporary, self._path)
        except OSError:
            self.abandon()
            return None
        descriptor, self._descriptor = self._descriptor, -1
        self._copies.written(self._bytes + HEADER_BYTES)
        return descriptor, self._bytes

    def abandon(self) -> None:
        """Leave nothing behind. Nothing after `commit`."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)


def _content_bytes(descriptor: int) -> int | None:
    """How much content the copy has; None if it is not whole.

    Errors: OSError.
    """
    header = os.pread(descriptor, HEADER_BYTES, 0)
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    size = 0
    while piece := os.pread(descriptor, _READ_BYTES, HEADER_BYTES + size):
        digest.update(piece)
        size += len(piece)
    return size if header == _MAGIC + digest.digest() else None
