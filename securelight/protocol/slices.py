"""Slices of a body on the short way past an adapter's queue: how they are framed, and where files are read for it.

Owns the two buffers of the process into which files are read (fresh memory for each read would cost more than the
read). What lies in them is good until the next slice of anybody, so it is encrypted or copied at once.
"""

from __future__ import annotations

import functools
from typing import Protocol

from securelight.protocol.http2_frames import DATA, FRAME_HEADER_BYTES

FRAME_BYTES = 16_384
"""A frame with its header, and the content of one TLS record."""
CONTENT_BYTES = FRAME_BYTES - FRAME_HEADER_BYTES
"""Of a frame; less than any peer's SETTINGS_MAX_FRAME_SIZE."""
SLICE_FRAMES = 7
SLICE_BYTES = SLICE_FRAMES * CONTENT_BYTES
"""How much of large bodies is read, framed, encrypted and sent at a time: with its HTTP/2 frame headers it fills seven
TLS records. Less means more turns of Python for a byte: six cost 3 to 5 % more. More is past the 128 kB from which on
malloc gives memory back each time; without that, 11 and 15 gained nothing: they do not stay in a processor's cache."""
_FULL = CONTENT_BYTES.to_bytes(3, "big")
_DATA_WITHOUT_FLAGS = bytes((DATA, 0))


class Slices(Protocol):
    """How an adapter frames the slices of a body.

    Attributes:
        places: where SLICE_BYTES of a file are read to, in this order.
    """

    places: list[memoryview]

    def framed(self, stream_id: int, data: memoryview) -> bytes | memoryview:
        """`data` as it goes out."""
        ...

    def filled(self, stream_id: int, count: int) -> bytes | memoryview:
        """What was read to `places`, `count` bytes, as it goes out."""
        ...


class BareSlices:
    """Nothing is put around them: HTTP/1.1, where the length was announced."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(SLICE_BYTES))
        self.places = [self._buffer]

    def framed(self, stream_id: int, data: memoryview) -> memoryview:
        """See Slices."""
        return data

    def filled(self, stream_id: int, count: int) -> memoryview:
        """See Slices."""
        return self._buffer[:count]


class FramedSlices:
    """In DATA frames, the headers of which stand in the buffer already."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(SLICE_FRAMES * FRAME_BYTES))
        starts = range(0, len(self._buffer), FRAME_BYTES)
        self.places = [self._buffer[start + FRAME_HEADER_BYTES : start + FRAME_BYTES] for start in starts]
        self._headers = [self._buffer[start : start + FRAME_HEADER_BYTES] for start in starts]
        self._stream_id = 0

    def framed(self, stream_id: int, data: memoryview) -> bytes:
        """See Slices."""
        return data_frames(stream_id, data)

    def filled(self, stream_id: int, count: int) -> bytes | memoryview:
        """See Slices."""
        if count < SLICE_BYTES:
            return data_frames(stream_id, b"".join(self.places)[:count])
        if stream_id != self._stream_id:
            self._stream_id = stream_id
            for header in self._headers:
                header[:] = _FULL + _DATA_WITHOUT_FLAGS + stream_id.to_bytes(4, "big")
        return self._buffer


BARE_SLICES = BareSlices()
FRAMED_SLICES = FramedSlices()


def data_frames(stream_id: int, content: bytes | memoryview) -> bytes:
    """The DATA frames of `content`, none with END_STREAM (RFC 9113, section 6.1)."""
    view = memoryview(content)
    whole, rest = divmod(len(view), CONTENT_BYTES)
    end_of_header = _DATA_WITHOUT_FLAGS + stream_id.to_bytes(4, "big")
    pieces: list[bytes | memoryview] = [_FULL + end_of_header] * (2 * whole)
    pieces[1::2] = map(view.__getitem__, _places(whole))
    if rest:
        pieces += rest.to_bytes(3, "big") + end_of_header, view[-rest:]
    return b"".join(pieces)


@functools.lru_cache(maxsize=64)
def _places(frames: int) -> list[slice]:
    """Where the content of so many full frames is."""
    return [slice(start, start + CONTENT_BYTES) for start in range(0, frames * CONTENT_BYTES, CONTENT_BYTES)]
