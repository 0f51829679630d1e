"""What the workers tell each other to forget: shared memory, a row for each worker that it alone writes.

A row is a count and a ring of the digests that were added last, so nobody waits for anybody and nothing is lost: a
reader that comes too late for a digest, or to a row that is not kept in detail, is told to forget everything.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from typing import Final

DIGEST_BYTES: Final = 16
RING: Final = 1_024
"""Digests of each worker that others can still read; a look a second is in time for a thousand purges a second."""
_COUNT = struct.Struct("<Q")
_ROW_BYTES = _COUNT.size + RING * DIGEST_BYTES


def digest_of(kind: bytes, name: bytes) -> bytes:
    """What stands for one URL or tag on the board."""
    return hashlib.blake2b(b"%b %b" % (kind, name), digest_size=DIGEST_BYTES).digest()


class PurgeBoard:
    """The rows.

    Args:
        slots: for workers, numbered from 1; row 0 is for all others, and without details.
    """

    def __init__(self, slots: int) -> None:
        self._rows = slots + 1
        self._memory = mmap.mmap(-1, self._rows * _ROW_BYTES)

    def add(self, slot: int, digest: bytes, seen: list[int] | None = None) -> None:
        """Tell the others to forget `digest`; `seen`, of the one who says it, passes over it."""
        row = slot if 0 < slot < self._rows else 0
        start = row * _ROW_BYTES
        count = self._count(row)
        place = start + _COUNT.size + count % RING * DIGEST_BYTES
        self._memory[place : place + DIGEST_BYTES] = digest
        _COUNT.pack_into(self._memory, start, count + 1)  # last: whoever reads it finds the digest there
        if seen is not None and seen[row] == count:
            seen[row] = count + 1

    def counts(self) -> list[int]:
        """Where all rows are; what `since` goes on from."""
        return [self._count(row) for row in range(self._rows)]

    def since(self, seen: list[int]) -> list[bytes] | None:
        """The digests added since `seen`, which is brought up to date; None if everything has to be forgotten."""
        found: list[bytes] = []
        everything = False
        for row, before in enumerate(seen):
            count = self._count(row)
            if count == before:
                continue
            start = row * _ROW_BYTES + _COUNT.size
            for number in range(max(before, count - RING), count):
                place = start + number % RING * DIGEST_BYTES
                found.append(self._memory[place : place + DIGEST_BYTES])
            # What was written meanwhile may have gone over what was read.
            everything = everything or row == 0 or self._count(row) - before > RING
            seen[row] = count
        return None if everything else found

    def _count(self, row: int) -> int:
        count: int = _COUNT.unpack_from(self._memory, row * _ROW_BYTES)[0]
        return count
