"""What is compressed can be read again, whatever was said of its size."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings, strategies as st

from securelight.files.encoders import LEVELS, live_encoder

_PIECES = st.lists(st.sampled_from([b"", b"a", b"water " * 100, bytes(range(256)), b"noon" * 2_000]), max_size=40)


@settings(max_examples=150, deadline=None)
@given(
    pieces=_PIECES,
    size=st.one_of(st.none(), st.integers(0, 1 << 40)),
    level=st.integers(*LEVELS[b"gzip"]),
    flush=st.booleans(),
)
def test_gzip_is_read_again_also_where_another_size_was_announced(
    pieces: list[bytes], size: int | None, level: int, *, flush: bool
) -> None:
    encoder = live_encoder(b"gzip", level, size)
    made = b"".join(encoder.feed(piece, flush=flush) for piece in pieces) + encoder.finish()
    assert zlib.decompress(made, 31) == b"".join(pieces)


@pytest.mark.parametrize("size", [0, 1, 249, 250, 612, 10_000, 32_506, 32_507, 1 << 20])
def test_a_window_for_the_announced_size_makes_nothing_larger(size: int) -> None:
    text = b" ".join(b"%d bottles" % (number * number % 977) for number in range(size // 8))[:size]
    made, plain = (
        len(encoder.feed(text, flush=False) + encoder.finish())
        for encoder in (live_encoder(b"gzip", 5, size), live_encoder(b"gzip", 5))
    )
    assert made <= plain * 1.02 + 8
