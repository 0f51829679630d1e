"""The bodies that compression sends in place of those of handlers: made piece by piece, large pieces in a thread.

Each has a place in the Room of its filter for as long as it lives, so that the encoders of a worker are bounded.
"""

from __future__ import annotations

import os
from contextlib import aclosing
from typing import TYPE_CHECKING

from securelight.files.compressed_copies import HEADER_BYTES
from securelight.model.body import AsyncBody, ChangedPush, FileSlice
from securelight.model.errors import BodyAborted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from securelight.files.compressed_copies import CompressedCopies, CopyWriter
    from securelight.files.encoders import Encoder
    from securelight.model.headers import Fields
    from securelight.pipeline.compile import InThread

INLINE_BYTES = 16_384
"""What is compressed where it stands, in about half a millisecond; more goes to a thread, which costs 0.3 ms itself."""
DEAR_INLINE_BYTES = 8_192
"""The same at levels beyond those that live bodies have by default."""
_FILE_PIECE_BYTES = 131_072


class Room:
    """Counts the encoders at work.

    Args:
        places: how many may be.
    """

    __slots__ = ("free",)

    def __init__(self, places: int) -> None:
        self.free = places


class Place:
    """One place in a Room, taken when this is made; given back by `leave` or with the object."""

    __slots__ = ("_room",)

    def __init__(self, room: Room) -> None:
        self._room: Room | None = room
        room.free -= 1

    def leave(self) -> None:
        """Give the place back. May be called twice."""
        room, self._room = self._room, None
        if room is not None:
            room.free += 1

    def __del__(self) -> None:
        self.leave()


class MadeBody(AsyncBody):
    """A whole body in memory, compressed in one go by a thread.

    Args:
        make: gives the compressed body; it blocks.
        done: called with the result in the event loop, or with None if there is none.
        in_thread: runs `make`.
        place: in the filter's Room.
    """

    def __init__(
        self, make: Callable[[], bytes], done: Callable[[bytes | None], None], in_thread: InThread, place: Place
    ) -> None:
        self._make = make
        self._done: Callable[[bytes | None], None] | None = done
        self._in_thread = in_thread
        self._place = place

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in one piece."""
        try:
            made = await self._in_thread(self._make)
            self._finished(made)
            yield made
        finally:
            self._finished(None)

    def _finished(self, made: bytes | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._place.leave()
            done(made)

    def __del__(self) -> None:
        self._finished(None)  # nobody may have asked for the chunks


class _Stream:
    """One encoder, used where it stands for small pieces and in a thread for large ones."""

    __slots__ = ("_encoder", "_in_thread", "_inline_bytes", "_place")

    def __init__(self, encoder: Encoder, inline_bytes: int, in_thread: InThread, place: Place) -> None:
        self._encoder = encoder
        self._inline_bytes = inline_bytes
        self._in_thread = in_thread
        self._place = place

    async def feed(self, data: bytes) -> bytes:
        """What there is to send for `data`, flushed."""
        if not data:
            return b""
        if len(data) <= self._inline_bytes:
            return self._encoder.feed(data, flush=True)
        return await self._in_thread(lambda: self._encoder.feed(data, flush=True))

    def finish(self) -> bytes:
        last = self._encoder.finish()
        self._place.leave()
        return last

    def leave(self) -> None:
        self._place.leave()


class EncodedBody(AsyncBody):
    """An AsyncBody through an encoder; each of its pieces can be decoded by who has received it.

    Args:
        inline_bytes: the largest piece that is compressed where it stands.
        place: in the filter's Room.
    """

    def __init__(
        self, inner: AsyncBody, encoder: Encoder, inline_bytes: int, in_thread: InThread, place: Place
    ) -> None:
        self._inner = inner
        self._stream = _Stream(encoder, inline_bytes, in_thread, place)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        Errors: as the inner body's.
        """
        chunks = self._inner.chunks()
        try:
            async for chunk in chunks:
                data = await self._stream.feed(chunk)
                if data:
                    yield data
            yield self._stream.finish()
        finally:
            self._stream.leave()
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    def trailers(self) -> Fields:
        """Those of the inner body."""
        return self._inner.trailers()


class EncodedPush(ChangedPush):
    """Pushed bytes through an encoder; see EncodedBody."""

    def __init__(self, encoder: Encoder, inline_bytes: int, in_thread: InThread, place: Place) -> None:
        self._stream = _Stream(encoder, inline_bytes, in_thread, place)

    async def change(self, data: bytes) -> bytes:
        """See model.body.ChangedPush."""
        return await self._stream.feed(data)

    async def last(self) -> bytes:
        """See model.body.ChangedPush."""
        return self._stream.finish()

    def close(self) -> None:
        """See model.body.ChangedPush."""
        self._stream.leave()


class EncodedFile(AsyncBody):
    """A large file through an encoder, read and compressed by threads.

    Where copies are kept, one that is there is sent instead, and one that is not is written on the way.

    Args:
        whole: the file, all of it; its hold is owned from now on.
        encoder: makes the encoder, once it turns out to be needed.
        copies: where copies are kept; None for nowhere.
        key: of the copy.
        kept: called in the event loop with the descriptor of a whole copy and the bytes of its content; owns the
            descriptor.
        ended: called in the event loop when this is over, well or not.
    """

    def __init__(
        self,
        whole: FileSlice,
        encoder: Callable[[], Encoder],
        copies: CompressedCopies | None,
        key: bytes,
        kept: Callable[[int, int], None],
        ended: Callable[[], None],
        in_thread: InThread,
    ) -> None:
        self._whole: FileSlice | None = whole
        self._make_encoder = encoder
        self._encoder: Encoder | None = None
        self._copies = copies
        self._key = key
        self._kept = kept
        self._ended = ended
        self._in_thread = in_thread
        self._writer: CopyWriter | None = None
        self._offset = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The compressed file.

        Errors: BodyAborted if the file becomes shorter or cannot be read.
        """
        whole = self._whole
        assert whole is not None
        try:
            found = await self._in_thread(self._load)
            if found is not None:
                descriptor, size = found
                own = os.dup(descriptor)  # the other may be pushed out of the cache meanwhile
                self._kept(descriptor, size)
                async with aclosing(self._from_copy(own, size)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            while self._offset < whole.length:
                piece = await self._in_thread(self._next)
                if piece:
                    yield piece
            last, copy = await self._in_thread(self._last)
            if copy is not None:
                self._kept(*copy)
            yield last
        finally:
            self._close()

    def _load(self) -> tuple[int, int] | None:
        if self._copies is None:
            return None
        found = self._copies.load(self._key)
        if found is None:
            self._writer = self._copies.create(self._key)
        return found

    async def _from_copy(self, descriptor: int, size: int) -> AsyncGenerator[bytes, None]:
        offset = 0

        def read() -> bytes:
            return os.pread(descriptor, _FILE_PIECE_BYTES, HEADER_BYTES + offset)

        try:
            while offset < size:
                piece = await self._in_thread(read)
                if not piece:
                    raise BodyAborted("the compressed copy has become shorter while it was sent")
                offset += len(piece)
                yield piece
        finally:
            os.close(descriptor)

    def _next(self) -> bytes:
        whole = self._whole
        assert whole is not None
        try:
            data = os.pread(
                whole.file.descriptor, min(_FILE_PIECE_BYTES, whole.length - self._offset), whole.offset + self._offset
            )
        except OSError as error:
            raise BodyAborted(f"the file cannot be read: {error.strerror}") from error
        if not data:
            raise BodyAborted("the file has become shorter while it was sent")
        self._offset += len(data)
        if self._encoder is None:
            self._encoder = self._make_encoder()
        return self._written(self._encoder.feed(data, flush=False))

    def _last(self) -> tuple[bytes, tuple[int, int] | None]:
        assert self._encoder is not None
        last = self._written(self._encoder.finish())
        writer, self._writer = self._writer, None
        if writer is None:
            return last, None
        assert self._whole is not None
        if self._key_now() != self._key:
            writer.abandon()  # the file was written to meanwhile
            return last, None
        return last, writer.commit()

    def _key_now(self) -> bytes:
        assert self._whole is not None
        return file_key(self._whole.file.descriptor) + self._key[self._key.index(b" ") :]

    def _written(self, data: bytes) -> bytes:
        if self._writer is not None:
            self._writer.write(data)
        return data

    def _close(self) -> None:
        whole, self._whole = self._whole, None
        if whole is None:
            return
        whole.file.release()
        if self._writer is not None:
            self._writer.abandon()
        self._ended()

    def __del__(self) -> None:
        self._close()  # nobody may have asked for the chunks


def file_key(descriptor: int) -> bytes:
    """What tells an open file, in the state that it is in, from all others; without spaces.

    Errors: OSError.
    """
    status = os.fstat(descriptor)
    return b"%d-%d-%d-%d-%d" % (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip
