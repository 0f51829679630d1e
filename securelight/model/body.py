"""The bodies that a response may have.

- `bytes`: whole, in memory, sent at once.
- `FileSlice`: a range of an open file, read by the connection itself in slices of its write budget.
- `Parts`: several of the two in a row (multipart/byteranges).
- `AsyncBody`: chunks that somebody has to wait for; only these cost a task.
- `PushedBody`: an AsyncBody that nobody asks: its bytes come through `Exchange.send`.
- `ChangedPush`: a PushedBody whose bytes a filter changes on their way.
"""

from __future__ import annotations

import abc
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from securelight.model.headers import Fields


class OpenFile:
    """A file descriptor shared by the responses that are being sent from it.

    Each holder calls `acquire` once and `release` once; the descriptor is closed with the last release, so a file
    cache may drop an entry while downloads of it are under way.

    Args:
        descriptor: an open descriptor, owned from now on.
        device: st_dev of the file, to remember which file systems cannot read without blocking.
    """

    __slots__ = ("_holders", "descriptor", "device")

    def __init__(self, descriptor: int, device: int) -> None:
        self.descriptor = descriptor
        self.device = device
        self._holders = 1

    def acquire(self) -> OpenFile:
        """Take one more hold; returns self."""
        self._holders += 1
        return self

    def release(self) -> None:
        """Give one hold back; the last one closes the descriptor."""
        self._holders -= 1
        if self._holders == 0:
            os.close(self.descriptor)
            self.descriptor = -1


class FileSlice:
    """`length` bytes of `file` from `offset` on. Whoever sends the response releases the file, also on failure."""

    __slots__ = ("file", "length", "offset")

    def __init__(self, file: OpenFile, offset: int, length: int) -> None:
        self.file = file
        self.offset = offset
        self.length = length


class Parts:
    """Several bodies in a row, their total length known."""

    __slots__ = ("length", "parts")

    def __init__(self, parts: tuple[bytes | FileSlice, ...]) -> None:
        self.parts = parts
        self.length = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)


class AsyncBody(abc.ABC):
    """A body that has to be waited for. Runs in the stream's own task and is closed there, however it ends."""

    made = False
    """All of it is there, and nothing but time is waited for: Limits.handler_seconds does not end it."""

    @abc.abstractmethod
    def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece; the next piece is asked for when the client has room for it.

        Errors: raises BodyAborted if it cannot be finished as announced.
        """

    def trailers(self) -> Fields:
        """The trailer fields, asked for after the last chunk."""
        return ()


class PushedBody(AsyncBody):
    """Stands in a Response for the bytes that its handler sends by `Exchange.send` after `Exchange.begin`."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Nobody may ask for them.

        Errors: always raises RuntimeError.
        """
        raise RuntimeError("this body is sent by Exchange.send, not asked for")


PUSHED_BODY = PushedBody()


class ChangedPush(PushedBody):
    """Stands for pushed bytes that a filter changes on their way, such as one that compresses them."""

    piece_bytes = 0
    """It wants no more than this at a time; 0 for whatever comes."""

    async def change(self, data: bytes) -> bytes:
        """What to send for `data`, which was pushed; perhaps nothing yet."""
        raise NotImplementedError

    async def last(self) -> bytes:
        """What to send after the last byte was pushed."""
        raise NotImplementedError

    def close(self) -> None:
        """The response has ended, well or not. May be called twice."""


Body = bytes | FileSlice | Parts | AsyncBody
