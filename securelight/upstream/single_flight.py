"""One fetch for many who want the same: the first one fetches, the others wait for it, a bounded time.

Also the fetches that nobody waits for. A service of the worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


Flight: TypeAlias = trio.Event
"""One fetch; set when it is over."""


class Flights:
    """The fetches under way.

    Args:
        background: how many may run that nobody waits for.
        report: is told of an exception in one of those.
    """

    def __init__(self, background: int, report: Callable[[Exception], None]) -> None:
        self._under_way: dict[bytes, Flight] = {}
        self._background = background
        self._report = report
        self._nursery: trio.Nursery | None = None

    async def run(self, ready: Callable[[], None]) -> None:
        """See pipeline.compile.Service."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                ready()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def begin(self, key: bytes) -> Flight | None:
        """A new fetch of `key`, which the caller does, and calls `end` whatever happens; None if there is one."""
        if key in self._under_way:
            return None
        flight = self._under_way[key] = Flight()
        return flight

    def end(self, key: bytes, flight: Flight | None) -> None:
        """The fetch is over; those that wait look what came of it. May be called twice, and for none."""
        if flight is not None and self._under_way.get(key) is flight:
            del self._under_way[key]
            flight.set()

    async def wait(self, key: bytes, seconds: float) -> bool:
        """Wait for the fetch of `key`; False if it took longer."""
        event = self._under_way.get(key)
        if event is not None:
            with trio.move_on_after(seconds) as limit:
                await event.wait()
            return not limit.cancelled_caught
        return True

    def start(self, key: bytes, fetch: Callable[[], Awaitable[None]]) -> None:
        """Fetch `key` while nobody waits, unless that is done already or there is no place."""
        if self._nursery is None or self._background <= 0:
            return
        flight = self.begin(key)
        if flight is not None:
            self._background -= 1
            self._nursery.start_soon(self._alone, key, flight, fetch)

    async def _alone(self, key: bytes, flight: Flight, fetch: Callable[[], Awaitable[None]]) -> None:
        try:
            await fetch()
        except Exception as error:
            self._report(error)
        finally:
            self._background += 1
            self.end(key, flight)


async def for_ever() -> None:
    """Return never."""
    await trio.sleep_forever()


async def to_the_end(work: Callable[[], Awaitable[None]]) -> None:
    """Do `work`, which must be short, even if who wanted it has left meanwhile."""
    with trio.CancelScope(shield=True):
        await work()
