"""One regular file as it was when it was looked at: its validators, and its content or a descriptor of it.

A file that is written to while it is read is never kept torn: its status before and after must be the same. One that
changed a moment ago could change again within the resolution of its timestamps, so it is not recognised later on.
"""

from __future__ import annotations

import errno
import os
import time

from securelight.files.etag import file_etag
from securelight.model.body import OpenFile
from securelight.model.dates import http_date

_READ_ATTEMPTS = 2
_TIMESTAMP_RESOLUTION_NS = 50_000_000
"""The coarse clock that file systems stamp with ticks every 1 to 10 ms; FAT's 2 s is left out."""

Identity = tuple[int, int, int, int, int]


def identity_of(status: os.stat_result) -> Identity:
    """What tells that a file is still the one that was read: device, inode, size, modification and change time."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class StoredFile:
    """The facts of one file, and either `content` or `file`.

    Attributes:
        identity: see identity_of; None if the file was changing, and has to be looked at again.
        size: in bytes.
        modified_ns: the modification time in nanoseconds, as the file system has it.
        modified_seconds: the same in seconds, never in the future (RFC 9110, section 8.8.2.1).
        last_modified: that as an HTTP date.
        etag: its strong entity tag.
        content: the whole file, if it is kept in memory.
        file: otherwise, a hold of the open file.
    """

    __slots__ = ("content", "etag", "file", "identity", "last_modified", "modified_ns", "modified_seconds", "size")

    def __init__(self, status: os.stat_result, content: bytes | None, file: OpenFile | None, *, settled: bool) -> None:
        self.identity = identity_of(status) if settled else None
        self.size = status.st_size
        self.modified_ns = status.st_mtime_ns
        self.modified_seconds = max(0, min(status.st_mtime_ns // 1_000_000_000, int(time.time())))
        self.last_modified = http_date(self.modified_seconds)
        self.etag = file_etag(status.st_ino, status.st_size, status.st_mtime_ns)
        self.content = content
        self.file = file


def store(descriptor: int, status: os.stat_result, keep_bytes: int, *, may_block: bool) -> StoredFile:
    """Take over the `descriptor` of a regular file: read the file if it is small, else keep it open.

    Args:
        descriptor: closed here if the file was read or anything fails.
        status: what fstat said of it.
        keep_bytes: the largest file that is read into memory.
        may_block: whether to wait for the disk. Without it, only what is in the page cache is read.

    Errors: BlockingIOError if `may_block` would be needed. Any other OSError from reading.
    """
    try:
        if status.st_size <= keep_bytes:
            for _ in range(_READ_ATTEMPTS):
                started_ns = time.time_ns()
                content = _read(descriptor, status.st_size, may_block=may_block)
                after = os.fstat(descriptor)
                if len(content) == status.st_size and identity_of(after) == identity_of(status):
                    settled = started_ns - status.st_ctime_ns > _TIMESTAMP_RESOLUTION_NS
                    stored = StoredFile(status, content, None, settled=settled)
                    os.close(descriptor)
                    return stored
                status = after
            return StoredFile(status, None, OpenFile(descriptor, status.st_dev), settled=False)
        return StoredFile(status, None, OpenFile(descriptor, status.st_dev), settled=True)
    except OSError:
        os.close(descriptor)
        raise


def _read(descriptor: int, size: int, *, may_block: bool) -> bytes:
    if not size:
        return b""
    if may_block:
        content = os.pread(descriptor, size, 0)
        while 0 < len(content) < size:
            piece = os.pread(descriptor, size - len(content), len(content))
            if not piece:
                break
            content += piece
        return content
    buffer = bytearray(size)
    try:
        count = os.preadv(descriptor, [buffer], 0, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise BlockingIOError(errno.EAGAIN, "the file system cannot say whether reading waits") from error
        raise
    if count < size:
        # The rest is on the disk, or the file was cut; a thread finds out.
        raise BlockingIOError(errno.EAGAIN, "not all of it is in the page cache")
    return bytes(buffer)
