"""Wakes the tasks that wait for bytes from servers behind us: one nested epoll for all of them.

Trio arms a descriptor anew for each wait, and gives each task that waits with a timeout a scope of its own. Here a
socket is registered once, edge-triggered, and a deadline is a number that is looked at now and then: half of the cost
of a request that is passed on. Of each Trio run there is one poller, in system tasks that live as long as the run.

Whoever polls an epoll of their own anyhow (a listener's reactor) may offer to poll this one beside it: then no task has
to be woken for what comes from behind us.
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


class Host(Protocol):
    """Polls for the poller (server.reactor.Reactor)."""

    def register(self, descriptor: int, stepped: Poller, mask: int, /) -> None:
        """Call `on_ready` of `stepped` while `descriptor` is ready."""

    def unregister(self, descriptor: int, /) -> None:
        """No longer."""


class Poller:
    """The poller of one Trio run; see `current_poller`. Implements server.reactor.Stepped for its host.

    Args:
        host: who polls; None for a task of its own.
    """

    def __init__(self, host: Host | None) -> None:
        self._epoll = select.epoll()
        self._polled: dict[int, Polled] = {}
        self._looking = trio.CancelScope()
        self._polling = trio.CancelScope()
        self.scheduled = False
        self.host: Host | None = None
        self.move(host)
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

    def on_ready(self, _mask: int) -> None:
        """Wake those whose sockets are ready."""
        polled = self._polled
        for number, mask in self._epoll.poll(0, EVENTS_PER_POLL):
            one = polled.get(number)
            if one is not None:
                one.woken(mask)

    def on_turn(self) -> None:
        """See server.reactor.Stepped; never asked for."""

    def move(self, host: Host | None) -> None:
        """Have `host` poll from now on; None for a task of its own."""
        if self.host is not None:
            self.host.unregister(self._epoll.fileno())
        self.host = host
        if host is not None:
            host.register(self._epoll.fileno(), self, select.EPOLLIN)
        self._polling.cancel()

    async def poll(self) -> None:
        """Wake those whose sockets are ready while there is no host, until cancelled."""
        descriptor = self._epoll.fileno()
        try:
            while True:
                with trio.CancelScope() as self._polling:
                    while self.host is None:
                        await trio.lowlevel.wait_readable(descriptor)
                        self.on_ready(select.EPOLLIN)
                    await trio.sleep_forever()
        finally:
            self._epoll.close()

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


_current: trio.lowlevel.RunVar[Poller | None] = trio.lowlevel.RunVar("poller of upstreams")
_hosts: trio.lowlevel.RunVar[list[Host]] = trio.lowlevel.RunVar("who may poll for it")


def offer(host: Host) -> None:
    """Have `host` poll for the poller of this Trio run, if nobody else does, until `withdraw`."""
    hosts = _hosts.get([])
    _hosts.set([*hosts, host])
    poller = _current.get(None)
    if poller is not None and poller.host is None:
        poller.move(host)


def withdraw(host: Host) -> None:
    """Take an offer back; the next who has offered polls, or a task."""
    hosts = [one for one in _hosts.get([]) if one is not host]
    _hosts.set(hosts)
    poller = _current.get(None)
    if poller is not None and poller.host is host:
        poller.move(hosts[0] if hosts else None)


def current_poller() -> Poller:
    """The poller of this Trio run, started if it is not there yet."""
    poller = _current.get(None)
    if poller is None:
        hosts = _hosts.get([])
        poller = Poller(hosts[0] if hosts else None)
        _current.set(poller)
        trio.lowlevel.spawn_system_task(poller.poll)
        trio.lowlevel.spawn_system_task(poller.look)
    return poller
