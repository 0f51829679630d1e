"""Range fields: each range is within the file."""

from __future__ import annotations

from securelight.files.byte_range import parse_range

SEEDS = [b"bytes=0-4", b"bytes=-5, 7-", b"bytes=1-2,4-5"]


def fuzz(data: bytes) -> None:
    for start, end in parse_range(data, 1000, 10) or ():
        assert 0 <= start < end <= 1000
