"""Where the lines of an access log go, as far as a worker sees it: a descriptor here, a socket in log_network.

Nothing here waits. What cannot be written now is kept, in a bounded backlog; what does not fit into that is lost, and
counted.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import Protocol

BACKLOG_BYTES = 1 << 20
"""What is held for a reader that does not read, or is away."""
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ESPIPE})
"""What is no pipe or socket, or a system that is too old, says of RWF_NOWAIT."""
_PIPE_BYTES = 4096
"""PIPE_BUF: a write of this size does not block once poll says that a pipe is writable, and stays in one piece."""


class Sink(Protocol):
    """One output of one worker.

    Attributes:
        dropped: lines that were lost.
        trouble: why, for the operator; empty if none were.
    """

    dropped: int
    trouble: str

    def write(self, lines: bytes) -> None:
        """Take whole lines, perhaps none, and write what can be written now."""

    def reopen(self, descriptor: int) -> int:
        """Write to `descriptor` from now on; returns the one before, for the caller to close; -1 if there is none."""
        ...


class FileSink:
    """A file, pipe or terminal.

    A regular file is written at once (append mode: whole batches). A pipe or terminal that nobody reads is never waited
    for. When a disk is full, lines are lost; the first one that fits again begins on a line of its own.

    Args:
        descriptor: owned by the caller; -1 writes nothing.
    """

    __slots__ = ("_backlog", "_descriptor", "_regular", "_torn", "dropped", "trouble")

    def __init__(self, descriptor: int) -> None:
        self._backlog = b""
        self._descriptor = -1
        self._regular = False
        self._torn = False
        """The file ends in the middle of a line."""
        self.dropped = 0
        self.trouble = ""
        self.reopen(descriptor)

    def reopen(self, descriptor: int) -> int:
        """See Sink."""
        before = self._descriptor
        if before >= 0:
            self.write(b"")
        self._descriptor = descriptor
        self._regular = descriptor >= 0 and stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._torn = False
        return before

    def write(self, lines: bytes) -> None:
        """See Sink."""
        if self._descriptor < 0:
            return
        data = self._backlog + lines if self._backlog else lines
        if not data:
            return
        self._backlog = b""
        if self._regular:
            self._write_file(data)
        else:
            self._write_pipe(data)

    def _write_file(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        while data:
            try:
                count = os.write(self._descriptor, data)
            except OSError as error:
                self._torn = self._torn or not data.startswith(b"\n", 0, 1)
                self._lost(data[1:] if data[:1] == b"\n" else data, error.strerror or "it cannot be written")
                return
            self._torn = data[count - 1 : count] != b"\n"
            data = data[count:]

    def _write_pipe(self, data: bytes) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        try:
            while data and any(mask & (select.POLLOUT | select.POLLERR) for _, mask in poll.poll(0)):
                # Whole lines, so that those of several workers do not mix.
                cut = data.rfind(b"\n", 0, _PIPE_BYTES) + 1 or _PIPE_BYTES
                data = data[_write_now(self._descriptor, data[:cut]) :]
        except BlockingIOError:
            pass  # another worker was faster
        except OSError as error:
            self._lost(data, error.strerror or "it cannot be written")
            return
        if len(data) > BACKLOG_BYTES:
            cut = data.find(b"\n", len(data) - BACKLOG_BYTES) + 1
            self._lost(data[:cut], "nobody reads it")
            data = data[cut:]
        self._backlog = data

    def _lost(self, data: bytes, why: str) -> None:
        self.dropped += data.count(b"\n")
        self.trouble = why


def _write_now(descriptor: int, data: bytes) -> int:
    """Returns how much was written. A blocking pipe doesn't wait either if another worker was faster than poll.

    Errors: OSError; BlockingIOError if there is no room.
    """
    try:
        return os.pwritev(descriptor, (data,), -1, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    return os.write(descriptor, data)
