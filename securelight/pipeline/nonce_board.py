"""Which counts of which nonces have come, in memory that all workers share: one is taken once, whoever is asked.

A table of buckets, each behind a lock of the kernel's on its bytes, which ends with the process that holds it. Where a
bucket is full, the oldest nonce is forgotten, and from then on none of this bucket that is as old is taken for new:
what has been forgotten is refused, never taken twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

NONCE_BYTES: Final = 20
"""Of what tells a nonce from others: when it was made, in 8 bytes, and 12 random ones."""
BUCKETS: Final = 512
WAYS: Final = 8
"""Nonces of one bucket; 4096 in all."""
WINDOW: Final = 64
"""Counts below the greatest that came: requests on their way at the same time; older ones are taken for repeated."""
_ENTRY: Final = struct.Struct(f"<{NONCE_BYTES}sLQ")
"""A nonce, its greatest count, and which of those below it have come, as bits."""
_FLOOR: Final = struct.Struct("<Q")
"""The time of the youngest nonce that a bucket has forgotten."""
_BUCKET_BYTES: Final = _FLOOR.size + WAYS * _ENTRY.size
_ALL: Final = (1 << WINDOW) - 1
_NOBODY: Final = bytes(NONCE_BYTES)


class NonceBoard:
    """The table; it is made before the workers are."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("nonces", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        os.ftruncate(self._descriptor, BUCKETS * _BUCKET_BYTES)
        self._memory = mmap.mmap(self._descriptor, BUCKETS * _BUCKET_BYTES)

    def take(self, nonce: bytes, count: int) -> bool:
        """Whether this is the first time for the count of the nonce; from now on it is not.

        Args:
            nonce: its NONCE_BYTES, which the caller has found to be ours and fresh.
            count: from 1 to 0xFFFFFFFF.
        """
        if count < 1:
            return False
        start = int.from_bytes(nonce[8:12]) % BUCKETS * _BUCKET_BYTES
        with self._locked(start):
            oldest, oldest_place = nonce, -1
            for place in range(start + _FLOOR.size, start + _BUCKET_BYTES, _ENTRY.size):
                known, greatest, bits = _ENTRY.unpack_from(self._memory, place)
                if known == nonce:
                    return self._count(place, nonce, greatest, bits, count)
                if known < oldest or oldest_place < 0:
                    oldest, oldest_place = known, place
            (floor,) = _FLOOR.unpack_from(self._memory, start)
            if int.from_bytes(nonce[:8]) <= floor:
                return False
            if oldest != _NOBODY:
                _FLOOR.pack_into(self._memory, start, max(floor, int.from_bytes(oldest[:8])))
            _ENTRY.pack_into(self._memory, oldest_place, nonce, count, 1)
            return True

    def _count(self, place: int, nonce: bytes, greatest: int, bits: int, count: int) -> bool:
        ahead = count - greatest
        if ahead > 0:
            greatest, bits = count, (bits << min(ahead, WINDOW) | 1) & _ALL
        elif -ahead >= WINDOW or bits >> -ahead & 1:
            return False
        else:
            bits |= 1 << -ahead
        _ENTRY.pack_into(self._memory, place, nonce, greatest, bits)
        return True

    @contextlib.contextmanager
    def _locked(self, start: int) -> Iterator[None]:
        """Keep other processes out of a bucket; they are in it for some microseconds."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, _BUCKET_BYTES, start)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _BUCKET_BYTES, start)
