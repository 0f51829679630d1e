"""One task that sleeps on a nested epoll and steps every ready connection, with no task or checkpoint per request.

Fairness is the reactor's business as far as it concerns turns: at most `EVENTS_PER_POLL` events a poll, whoever has
used up its turn goes to the back of the ready list, and after `TURN_SECONDS` of work other tasks get theirs. What one
turn may do is the connection's business (limits `*_per_turn`).
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

import trio

EVENTS_PER_POLL = 64
"""One batch stays short; what is ready beyond it comes with the next."""
TURN_SECONDS = 0.002
"""Work between two checkpoints: without it, application tasks waited up to 3 seconds under load (measured)."""


class Stepped(Protocol):
    """What the reactor steps.

    Attributes:
        scheduled: it is in the ready list; the reactor's own mark.
    """

    scheduled: bool

    def on_ready(self, mask: int) -> None:
        """The descriptor is ready: `mask` of EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR."""

    def on_turn(self) -> None:
        """A turn that was asked for with `Reactor.schedule`."""


class Reactor:
    """Steps registered descriptors; one for each listener.

    Args:
        fence: called with what a step raised and the one that raised it; must not raise.
    """

    def __init__(self, fence: Callable[[Exception, Stepped], None]) -> None:
        self._epoll = select.epoll()
        self._stepped: dict[int, Stepped] = {}
        self._ready: deque[Stepped] = deque()
        self._fence = fence
        self._turner: trio.lowlevel.Task | None = None
        self._polling = False

    def register(self, descriptor: int, stepped: Stepped, mask: int) -> None:
        """Step `stepped` when `descriptor` is ready for `mask`."""
        self._epoll.register(descriptor, mask)
        self._stepped[descriptor] = stepped

    def modify(self, descriptor: int, mask: int) -> None:
        """Wait for `mask` from now on; hang-up and errors are always reported."""
        self._epoll.modify(descriptor, mask)

    def unregister(self, descriptor: int) -> None:
        """Forget `descriptor`; call before it is closed. Events of the batch under way are dropped."""
        if self._stepped.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def schedule(self, stepped: Stepped) -> None:
        """Give `stepped` a turn soon: in this round if one is under way, otherwise as soon as Trio gets to it.

        However often it is asked for until then, it is one turn, so that what many streams say goes out together.
        """
        if stepped.scheduled:
            return
        stepped.scheduled = True
        self._ready.append(stepped)
        if self._turner is not None and not self._polling:
            trio.lowlevel.reschedule(self._turner)
            self._turner = None

    async def run(self) -> None:
        """Step until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._turn_when_scheduled)
                await self._poll()
        finally:
            self._epoll.close()

    async def _poll(self) -> None:
        poll, stepped, ready, descriptor = self._epoll.poll, self._stepped, self._ready, self._epoll.fileno()
        while True:
            started = perf_counter()
            self._polling = True
            while True:
                batch = poll(0, EVENTS_PER_POLL)
                for number, mask in batch:
                    one = stepped.get(number)
                    if one is not None:
                        try:
                            one.on_ready(mask)
                        except Exception as error:
                            self._fence(error, one)
                if ready:
                    self._turns()
                elif not batch:
                    self._polling = False
                    await trio.lowlevel.wait_readable(descriptor)
                    break
                if perf_counter() - started > TURN_SECONDS:
                    self._polling = False
                    await trio.lowlevel.checkpoint()
                    break

    def _turns(self) -> None:
        """One turn for each that is in the list now; those that schedule themselves again come next time."""
        for _ in range(len(self._ready)):
            one = self._ready.popleft()
            one.scheduled = False
            try:
                one.on_turn()
            except Exception as error:
                self._fence(error, one)

    async def _turn_when_scheduled(self) -> None:
        """Turns that stream tasks ask for while the poller sleeps; without this each would cost a system call."""

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._turner = None
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            if self._ready:
                self._turns()
                await trio.lowlevel.checkpoint()
            else:
                self._turner = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(abort)
