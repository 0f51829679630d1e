"""A coarse wheel of deadlines: one timer task a listener, however many connections.

A connection stands in exactly one slot. When the slot's second comes, the connection is asked when it next wants to be
looked at; it recomputes its deadlines only then, so that a request costs the wheel nothing.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Protocol

import trio

TICK_SECONDS = 1.0
"""Deadlines are kept to within this; the smallest limit worth setting is a few of them."""


class Timed(Protocol):
    """Something with deadlines."""

    def on_deadline(self, now: float) -> float:
        """Act on whatever is due at `now` (monotonic seconds); returns when to ask again, or 0 for never."""
        ...


class Wheel:
    """Calls `on_deadline` of what was added, at about the time it asked for."""

    __slots__ = ("_slots", "_tick")

    def __init__(self) -> None:
        self._slots: defaultdict[int, list[Timed]] = defaultdict(list)
        self._tick = 0

    def add(self, item: Timed, when: float) -> None:
        """Ask `item` at `when`, a tick later at the most."""
        self._slots[max(math.ceil(when / TICK_SECONDS), self._tick + 1)].append(item)

    def advance(self, now: float) -> None:
        """Ask everything that is due at `now`."""
        target = int(now / TICK_SECONDS)
        for slot in sorted(slot for slot in self._slots if slot <= target):
            self._tick = slot
            for item in self._slots.pop(slot):
                when = item.on_deadline(now)
                if when:
                    self.add(item, when)
        self._tick = target

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await trio.sleep(TICK_SECONDS)
            self.advance(time.monotonic())


class Pace:
    """Notices a peer that takes bytes more slowly than it has to, from looks that are at least a tick apart.

    Only the time counts in which the peer was the one to wait for; a look at which it was not begins anew.
    """

    __slots__ = ("_bytes", "_looked_at", "slow_seconds", "still_seconds")

    def __init__(self) -> None:
        self._looked_at = 0.0
        self._bytes = 0
        self.slow_seconds = 0.0
        """For how long it has been below the rate."""
        self.still_seconds = 0.0
        """For how long it has taken nothing at all."""

    def look(self, now: float, total_bytes: int, *, waiting: bool, bytes_per_second: float) -> None:
        """Note that `total_bytes` were taken so far, and whether more are `waiting` for the peer."""
        elapsed = now - self._looked_at if self._looked_at else 0.0
        taken = total_bytes - self._bytes
        self._looked_at, self._bytes = now, total_bytes
        if not waiting:
            self._looked_at = self.slow_seconds = self.still_seconds = 0.0
        else:
            self.slow_seconds = self.slow_seconds + elapsed if taken < elapsed * bytes_per_second else 0.0
            self.still_seconds = 0.0 if taken else self.still_seconds + elapsed
