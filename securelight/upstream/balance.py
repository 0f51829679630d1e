"""Which of several servers is asked next. Each way is a class with `choose`; those that are down are not offered to it.

- RoundRobin: in turn, in proportion to the weights, and spread out rather than in runs.
- LeastConnections: the one with the fewest requests for its weight.
- TwoChoices: the better of two random ones, which is nearly as good and never sends a herd to a newcomer.
- Rendezvous: the same key to the same server, and when one goes only its own keys move (highest random weight).
"""

from __future__ import annotations

import hashlib
import math
import random
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Candidate(Protocol):
    """A server, as a balancer sees it."""

    @property
    def name(self) -> str: ...  # noqa: D102 - never changes
    @property
    def load(self) -> int: ...  # noqa: D102 - requests under way or in its queue
    def share(self) -> float: ...  # noqa: D102 - its weight, less while it starts slowly


class Balancer(Protocol):
    """A way to choose."""

    def choose(self, candidates: Sequence[Candidate], key: bytes) -> int:
        """The index of one of `candidates` (not empty) for a request with `key`."""
        ...


class RoundRobin:
    """In turn, by weight."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def choose(self, candidates: Sequence[Candidate], _key: bytes) -> int:
        """Each gets its share as credit; the one with most pays all that was given."""
        credit = self._credit
        total = 0.0
        best = 0
        most = -math.inf
        for index, candidate in enumerate(candidates):
            share = candidate.share()
            total += share
            has = credit.get(candidate.name, 0.0) + share
            credit[candidate.name] = has
            if has > most + 1e-9:
                best, most = index, has
        credit[candidates[best].name] -= total
        return best


class LeastConnections:
    """The fewest requests for its weight; among equals in turn."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, candidates: Sequence[Candidate], _key: bytes) -> int:
        """See Balancer."""
        self._turn += 1
        count = len(candidates)
        order = [(self._turn + index) % count for index in range(count)]
        return min(order, key=lambda index: _pressure(candidates[index]))


class TwoChoices:
    """The better of two random ones."""

    def choose(self, candidates: Sequence[Candidate], _key: bytes) -> int:
        """See Balancer."""
        first, second = random.sample(range(len(candidates)), 2) if len(candidates) > 1 else (0, 0)
        return first if _pressure(candidates[first]) <= _pressure(candidates[second]) else second


class Rendezvous:
    """The same key to the same server, for as long as that is there."""

    def choose(self, candidates: Sequence[Candidate], key: bytes) -> int:
        """See Balancer."""
        return max(range(len(candidates)), key=lambda index: _score(candidates[index], key))


def _pressure(candidate: Candidate) -> float:
    return (candidate.load + 1) / candidate.share()


def _score(candidate: Candidate, key: bytes) -> float:
    digest = hashlib.blake2b(candidate.name.encode() + b"\0" + key, digest_size=8).digest()
    fraction = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return -candidate.share() / math.log(fraction)


BALANCERS: dict[str, Callable[[], Balancer]] = {
    "round_robin": RoundRobin,
    "least_connections": LeastConnections,
    "two_choices": TwoChoices,
    "hash_address": Rendezvous,
    "hash_uri": Rendezvous,
    "hash_header": Rendezvous,
    "hash_cookie": Rendezvous,
}
"""By name in the configuration; what the key of a hash is, the handler says."""
