"""Wakes the tasks that wait for bytes from servers behind us: one nested epoll for all of them.

Trio arms a descriptor anew for each wait, and gives each task that waits with a timeout a scope of its own. Here a
socket is registered once, edge-triggered, and a deadline is a number that is looked at now and then: half of the cost
of a request that is passed on. Of each Trio run there is one poller, in system tasks that live as long as the run.
"""

from __future__ import annotations

import select
from math import inf
from typing import Protocol

import trio

EVENTS_PER_POLL = 64
LOOK_SECONDS = 1.0
"""Between two looks at the deadlines of those that wait, where none is nearer."""

MASK = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET


class Polled(Protocol):
    """What is woken.

    Attributes:
        deadline: by trio.current_time(), after which it is woken by `overdue`, if it waits; inf for never.
    """

    deadline: float

    def woken(self, mask: int) -> None:
        """There is something to read, or the end."""

    def overdue(self) -> None:
        """Its deadline is over; called again and again for as long as that stays so."""


class Poller:
    """The poller of one Trio run; see `current_poller`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._polled: dict[int, Polled] = {}
        self._looking = trio.CancelScope()
        self.next_look = inf
        """When deadlines are looked at next. Who waits for less says so by `look_at`."""

    def add(self, descriptor: int, polled: Polled) -> None:
        """Wake `polled` whenever something new can be read of `descriptor`, and now if something can."""
        self._epoll.register(descriptor, MASK)
        self._polled[descriptor] = polled

    def forget(self, descriptor: int) -> None:
        """Before it is closed."""
        if self._polled.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def look_at(self, time: float) -> None:
        """Look at deadlines no later than at `time`."""
        if time < self.next_look:
            self.next_look = self._looking.deadline = time

    async def poll(self) -> None:
        """Wake those whose sockets are ready, until cancelled."""
        epoll, polled, descriptor = self._epoll, self._polled, self._epoll.fileno()
        try:
            while True:
                await trio.lowlevel.wait_readable(descriptor)
                for number, mask in epoll.poll(0, EVENTS_PER_POLL):
                    one = polled.get(number)
                    if one is not None:
                        one.woken(mask)
        finally:
            epoll.close()

    async def look(self) -> None:
        """Tell those whose time is over, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self.next_look) as self._looking:
                await trio.sleep_forever()
            now = trio.current_time()
            nearest = now + LOOK_SECONDS
            for one in tuple(self._polled.values()):
                if one.deadline <= now:
                    one.overdue()
                elif one.deadline < nearest:
                    nearest = one.deadline
            self.next_look = nearest if self._polled else inf


_current: trio.lowlevel.RunVar[Poller] = trio.lowlevel.RunVar("poller of upstreams")


def current_poller() -> Poller:
    """The poller of this Trio run, started if it is not there yet."""
    try:
        return _current.get()
    except LookupError:
        poller = Poller()
        _current.set(poller)
        trio.lowlevel.spawn_system_task(poller.poll)
        trio.lowlevel.spawn_system_task(poller.look)
        return poller
