"""Nonces of Digest (RFC 7616, section 3.3): made without being kept, and each count of one taken once.

A nonce is its time, some random bytes and a seal over both, so none that we did not make is taken, and one that is over
is known to be. What is kept is, for nonces in use, which of their last counts have come: a client that has several
requests under way sends them in any order. The seal's key is made when the server starts and is the same in all its
workers; what is kept is each worker's own, so the same count is taken at most once in each.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from time import time
from typing import Final

NONCES: Final = 4_096
"""In use at a time, in each worker; of those that are forgotten, and all made before them, no further one is taken."""
WINDOW: Final = 64
"""Counts below the greatest that came: requests on their way at the same time; older ones are taken for repeated."""
_KEY: Final = os.urandom(32)
_SEAL_BYTES: Final = 16
_NONCE_BYTES: Final = 8 + 12 + _SEAL_BYTES


class Nonces:
    """The nonces of one route.

    Args:
        purpose: what they are for; those made for another purpose are not taken.
        seconds: how long one may be used.
    """

    __slots__ = ("_floor", "_purpose", "_seconds", "_seen")

    def __init__(self, purpose: str, seconds: float) -> None:
        self._purpose = purpose.encode()
        self._seconds = seconds
        self._seen: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        """By nonce: the greatest count, and which of those below it have come, as bits."""
        self._floor = -1

    def make(self) -> str:
        """A new one."""
        made = int(time() * 1000).to_bytes(8) + os.urandom(12)
        return urlsafe_b64encode(made + self._seal(made)).decode()

    def take(self, nonce: str, count: int) -> bool:
        """Whether the nonce is ours and fresh and this is the first time for the count; from now on it is not."""
        try:
            raw = urlsafe_b64decode(nonce)
        except ValueError:
            return False
        # Only the one spelling: base64 has several for the same bytes, and what is between them is skipped.
        if len(raw) != _NONCE_BYTES or urlsafe_b64encode(raw).decode() != nonce:
            return False
        if not hmac.compare_digest(raw[-_SEAL_BYTES:], self._seal(raw[:-_SEAL_BYTES])):
            return False
        made = int.from_bytes(raw[:8])
        if not 0 <= time() * 1000 - made < self._seconds * 1000:
            return False
        known = self._seen.get(raw)
        if known is None:
            if made <= self._floor or count < 1:
                return False
            self._keep(raw, count, 1)
            return True
        greatest, bits = known
        ahead = count - greatest
        if ahead > 0:
            self._keep(raw, count, (bits << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1))
            return True
        if -ahead >= WINDOW or bits >> -ahead & 1 or count < 1:
            return False
        self._keep(raw, greatest, bits | 1 << -ahead)
        return True

    def _keep(self, raw: bytes, greatest: int, bits: int) -> None:
        self._seen[raw] = greatest, bits
        self._seen.move_to_end(raw)
        if len(self._seen) > NONCES:
            forgotten, _ = self._seen.popitem(last=False)
            self._floor = max(self._floor, int.from_bytes(forgotten[:8]))

    def _seal(self, made: bytes) -> bytes:
        return hmac.digest(_KEY, made + self._purpose, "sha256")[:_SEAL_BYTES]
