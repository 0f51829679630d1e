"""Feeds the bodies that are not sent in one call: large files, several parts, bodies larger than the window.

A sender is read by the connection's write turn, as much at a time as the adapter has room for; nothing is read ahead.
While it is the only one on its connection, its slices go from here to the socket (`send_directly`), without being
queued in between.
File bytes that are in the page cache are read here without waiting (RWF_NOWAIT); those that are not are fetched by a
thread while other streams go on.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from securelight.model.body import FileSlice, OpenFile, Parts
from securelight.model.errors import BodyAborted
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from securelight.protocol.slices import BARE_SLICES, SLICE_BYTES
from securelight.server.deadlines import Pace

if TYPE_CHECKING:
    from securelight.protocol.adapter import ProtocolAdapter
    from securelight.server.transport import Transport

_blocking_devices: set[int] = set()
"""st_dev of the file systems that refused RWF_NOWAIT (overlayfs, tmpfs): read by threads from the start."""


class BodySender:
    """One response body on its way.

    Args:
        request, facts, response: what the access log needs at the end; the sender owns the body's open files.
        started: time.monotonic() at the request's head.
    """

    __slots__ = (
        "_failure", "_fetched", "_number", "_offset", "_parts", "facts", "fetching", "pace", "remaining", "request",
        "response", "sent_bytes", "started",
    )  # fmt: skip

    def __init__(self, request: Request, facts: Facts, response: Response, started: float) -> None:
        body = response.body
        assert isinstance(body, (bytes, FileSlice, Parts))
        self.request = request
        self.facts = facts
        self.response = response
        self.started = started
        self.pace = Pace()
        self.sent_bytes = 0
        self.fetching = False
        """A thread is reading; there is nothing to do until it is back."""
        self._fetched = b""
        self._failure: OSError | None = None
        self._parts: tuple[memoryview | FileSlice, ...] = tuple(
            [
                part if isinstance(part, FileSlice) else memoryview(part)
                for part in (body.parts if isinstance(body, Parts) else (body,))
            ]
        )
        self._number = 0
        self._offset = 0
        self.remaining = len(body) if isinstance(body, bytes) else body.length

    def read(self, room: int) -> bytes | memoryview | None:
        """Up to `room` bytes of the body, at least one; None if a thread has to fetch them (see `fetch`).

        Errors: BodyAborted if the file has become shorter than was announced, or cannot be read.
        """
        data: bytes | memoryview
        if self._fetched:
            data, self._fetched = self._fetched[:room], self._fetched[room:]
        elif self._failure is not None:
            raise BodyAborted(f"the file cannot be read: {self._failure.strerror}")
        else:
            part, offset = self._current()
            if isinstance(part, FileSlice):
                buffer = BARE_SLICES.places[0][: min(room, part.length - offset)]
                count = _read_now(part.file, part.offset + offset, [buffer])
                if count is None:
                    return None
                data = bytes(buffer[:count])
            else:
                data = part[offset : offset + room]
        self._moved(len(data))
        return data

    def send_directly(self, stream_id: int, adapter: ProtocolAdapter, transport: Transport, budget: int) -> int:
        """Send whole slices as long as nothing is in the way and `budget` lasts; returns how many bytes.

        For the only sender of a connection, when the adapter has just given all its output and `transport` has taken
        it. What is not simple is left to `read`: the end, a thread that has to read, a fault.

        Errors: PeerGone; TlsFault.
        """
        room = min(adapter.direct_room(stream_id), self.remaining - 1)
        if room < SLICE_BYTES or self.fetching or self._fetched or self._failure:
            return 0
        part, offset = self._current()
        room = min(room, (part.length if isinstance(part, FileSlice) else len(part)) - offset)
        slices = adapter.slices
        sent = 0
        output: bytes | memoryview
        try:
            while sent + SLICE_BYTES <= room and sent < budget:
                start = offset + sent
                if isinstance(part, FileSlice):
                    count = _read_now(part.file, part.offset + start, slices.places)
                    if count is None:
                        break
                    output = slices.filled(stream_id, count)
                    sent += count
                else:
                    output = slices.framed(stream_id, part[start : start + SLICE_BYTES])
                    sent += SLICE_BYTES
                if not transport.send(output):
                    break
        except BodyAborted:
            pass  # `read` will say so again
        finally:
            self._moved(sent)
        if sent:
            adapter.direct_sent(stream_id, sent)
        return sent

    def _moved(self, count: int) -> None:
        self._offset += count
        self.sent_bytes += count
        self.remaining -= count

    def hold(self) -> OpenFile:
        """The file that `fetch` will read, held open for it; the caller releases it."""
        part, _offset = self._current()
        assert isinstance(part, FileSlice)
        return part.file.acquire()

    def fetch(self, room: int) -> None:
        """Read what `read` could not give; for a worker thread. Sets `_fetched`, or what went wrong."""
        part, offset = self._current()
        assert isinstance(part, FileSlice)
        try:
            data = os.pread(part.file.descriptor, min(room, part.length - offset), part.offset + offset)
            if data:
                self._fetched = data
            else:
                self._failure = OSError(errno.EIO, "it has become shorter while it was sent")
        except OSError as error:
            self._failure = error

    def _current(self) -> tuple[memoryview | FileSlice, int]:
        part = self._parts[self._number]
        while self._offset == (part.length if isinstance(part, FileSlice) else len(part)):
            self._number += 1
            self._offset = 0
            part = self._parts[self._number]
        return part, self._offset

    def close(self) -> None:
        """Give the body's files back."""
        self.response.release()


def _read_now(file: OpenFile, offset: int, places: list[memoryview]) -> int | None:
    """Read into `places`, as far as that takes no waiting; returns how many bytes, None if it would for the first.

    Errors: BodyAborted.
    """
    if file.device in _blocking_devices:
        return None
    try:
        count = os.preadv(file.descriptor, places, offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            _blocking_devices.add(file.device)
            return None
        raise BodyAborted(f"the file cannot be read: {error.strerror}") from error
    if count == 0:
        raise BodyAborted("the file has become shorter while it was sent")
    return count
