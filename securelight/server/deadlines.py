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
