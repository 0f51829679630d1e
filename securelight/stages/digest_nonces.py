"""Nonces of Digest (RFC 7616, section 3.3): made without being kept, and each count of one taken once.

A nonce is its time, some random bytes and a seal over both, so none that we did not make is taken, and one that is over
is known to be. What is kept is, for nonces in use, which of their last counts have come: a client that has several
requests under way sends them in any order. The seal's key is made when the server starts and is the same in all its
workers, and so is what is kept (pipeline/nonce_board): a count that one of them has taken, no other takes again, nor do
those that a reload starts.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from time import time
from typing import TYPE_CHECKING, Final

from securelight.pipeline.nonce_board import NONCE_BYTES

if TYPE_CHECKING:
    from securelight.pipeline.nonce_board import NonceBoard

_KEY: Final = os.urandom(32)
_SEAL_BYTES: Final = 16


class Nonces:
    """The nonces of one route.

    Args:
        purpose: what they are for; those made for another purpose are not taken.
        seconds: how long one may be used.
        board: which counts have come, to any worker.
    """

    __slots__ = ("_board", "_purpose", "_seconds")

    def __init__(self, purpose: str, seconds: float, board: NonceBoard) -> None:
        self._purpose = purpose.encode()
        self._seconds = seconds
        self._board = board

    def make(self) -> str:
        """A new one."""
        made = int(time() * 1000).to_bytes(8) + os.urandom(NONCE_BYTES - 8)
        return urlsafe_b64encode(made + self._seal(made)).decode()

    def take(self, nonce: str, count: int) -> bool:
        """Whether the nonce is ours and fresh and this is the first time for the count; from now on it is not."""
        try:
            raw = urlsafe_b64decode(nonce)
        except ValueError:
            return False
        # Only the one spelling: base64 has several for the same bytes, and what is between them is skipped.
        if len(raw) != NONCE_BYTES + _SEAL_BYTES or urlsafe_b64encode(raw).decode() != nonce:
            return False
        if not hmac.compare_digest(raw[-_SEAL_BYTES:], self._seal(raw[:-_SEAL_BYTES])):
            return False
        made = int.from_bytes(raw[:8])
        if not 0 <= time() * 1000 - made < self._seconds * 1000:
            return False
        return self._board.take(raw[:NONCE_BYTES], count)

    def _seal(self, made: bytes) -> bytes:
        return hmac.digest(_KEY, made + self._purpose, "sha256")[:_SEAL_BYTES]
