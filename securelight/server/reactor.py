"""What is ready, and whose turn it is: a nested epoll and a list, stepped with no task or checkpoint per request.

Owns no task: those of stream_runners poll it, sleep on its descriptor, and are called when something is scheduled while
none of them attends. Fairness is the reactor's business as far as it concerns turns: at most `EVENTS_PER_POLL` events a
poll, and whoever has used up its turn goes to the back of the ready list. What one turn may do is the connection's
business (limits `*_per_turn`).
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable
from typing import Protocol

EVENTS_PER_POLL = 64
"""One batch stays short; what is ready beyond it comes with the next."""


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


def _nobody() -> None:
    """Called before there is anybody to call: the first who comes looks at what is scheduled."""


class Reactor:
    """Steps registered descriptors; one for each listener.

    Args:
        fence: called with what a step raised and the one that raised it; must not raise.

    Attributes:
        attendant: who is at work and will look at what is scheduled before it sleeps; None if nobody is.
        call: called when something is scheduled while nobody attends.
        ready: those that have asked for a turn.
    """

    __slots__ = ("_epoll", "_fence", "_stepped", "attendant", "call", "ready")

    def __init__(self, fence: Callable[[Exception, Stepped], None]) -> None:
        self._epoll = select.epoll()
        self._stepped: dict[int, Stepped] = {}
        self._fence = fence
        self.ready: deque[Stepped] = deque()
        self.attendant: object | None = None
        self.call: Callable[[], None] = _nobody

    @property
    def descriptor(self) -> int:
        """Readable while any registered descriptor is ready."""
        return self._epoll.fileno()

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
        self.ready.append(stepped)
        if self.attendant is None:
            self.call()

    def poll(self) -> bool:
        """Step those that are ready now, without waiting; False if none was."""
        batch = self._epoll.poll(0, EVENTS_PER_POLL)
        stepped = self._stepped
        for number, mask in batch:
            one = stepped.get(number)
            if one is not None:
                try:
                    one.on_ready(mask)
                except Exception as error:
                    self._fence(error, one)
        return bool(batch)

    def take_turns(self) -> None:
        """One turn for each that is in the list now; those that schedule themselves again come next time."""
        ready = self.ready
        for _ in range(len(ready)):
            one = ready.popleft()
            one.scheduled = False
            try:
                one.on_turn()
            except Exception as error:
                self._fence(error, one)

    def turn_now(self, stepped: Stepped) -> None:
        """Give `stepped` a turn at once, for a task that has more for it than it may hold."""
        try:
            stepped.on_turn()
        except Exception as error:
            self._fence(error, stepped)

    def close(self) -> None:
        """Nothing is registered any more."""
        self._epoll.close()
