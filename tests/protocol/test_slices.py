"""How slices of a body are framed, and that nothing of another body comes with them."""

from __future__ import annotations

import pytest

from securelight.protocol.http2_frames import DATA, frames_of
from securelight.protocol.slices import (
    CONTENT_BYTES,
    SLICE_BYTES,
    SLICE_FRAMES,
    BareSlices,
    FramedSlices,
    data_frames,
)

CONTENT = bytes(range(251)) * 500


def fill(places: list[memoryview], content: bytes) -> int:
    """As preadv does it."""
    position = 0
    for place in places:
        piece = content[position : position + len(place)]
        place[: len(piece)] = piece
        position += len(piece)
    return position


def content_of(frames: bytes) -> bytes:
    starts = range(0, len(frames), 9 + CONTENT_BYTES)
    return b"".join([frames[start + 9 : start + 9 + CONTENT_BYTES] for start in starts])


def test_frames_fill_tls_records() -> None:
    content = bytes(range(251)) * 200
    rest = len(content) - 3 * CONTENT_BYTES
    frames = data_frames(7, content)
    assert list(frames_of(frames)) == [(DATA, 0, 7, CONTENT_BYTES)] * 3 + [(DATA, 0, 7, rest)]
    assert content_of(frames) == content
    assert (len(frames) - 9 - rest) % 16_384 == 0


@pytest.mark.parametrize("slices", [BareSlices(), FramedSlices()], ids=["bare", "framed"])
def test_what_is_read_into_the_places_is_what_goes_out(slices: BareSlices | FramedSlices) -> None:
    assert sum(map(len, slices.places)) == SLICE_BYTES
    steps = [(1, SLICE_BYTES), (1, SLICE_BYTES), (3, SLICE_BYTES), (3, 40_000), (3, SLICE_BYTES), (1 << 30, 9), (3, 1)]
    for number, (stream_id, count) in enumerate(steps):
        content = CONTENT[number : number + count]
        assert fill(slices.places, content) == count
        filled = bytes(slices.filled(stream_id, count))
        assert filled == slices.framed(stream_id, memoryview(content))
        if isinstance(slices, BareSlices):
            assert filled == content
        else:
            assert {frame[:3] for frame in frames_of(filled)} == {(DATA, 0, stream_id)}
            assert content_of(filled) == content


def test_a_full_slice_fills_its_records_and_stays_below_what_malloc_gives_back() -> None:
    size = len(FramedSlices().filled(1, SLICE_BYTES))
    assert size == SLICE_FRAMES * 16_384
    assert size + SLICE_FRAMES * 22 + 64 < 131_072, "encrypted, as an object of Python"
