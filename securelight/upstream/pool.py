"""The connections to one server: a bound on their number, those that wait for the next request, and a queue.

The connection used last is used next, so that those that are not needed grow old and are closed. One that has said
anything while nobody asked, its end included, is closed before it is used. Who waits for a connection stands in a
bounded queue for a bounded time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio

from securelight.upstream.faults import PoolFull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Pooled(Protocol):
    """A connection that can be kept."""

    def is_quiet(self) -> bool: ...  # noqa: D102 - alive, and nothing has come over it
    def close(self) -> None: ...  # noqa: D102 - at once


C = TypeVar("C", bound=Pooled)


class _Waiter(Generic[C]):
    __slots__ = ("connection", "event", "granted")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.granted = False
        self.connection: C | None = None


class Pool(Generic[C]):
    """The connections to one server.

    Args:
        connect: opens one; raises ConnectFailed.
        maximum: connections in all.
        idle_maximum: of them, those that are kept while nobody uses them.
        idle_seconds: for how long.
        queue: requests that may wait for a connection.
        queue_seconds: for how long.

    Attributes:
        active: requests that have a connection, or open one.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[C]],
        *,
        maximum: int,
        idle_maximum: int,
        idle_seconds: float,
        queue: int,
        queue_seconds: float,
    ) -> None:
        self._connect = connect
        self._maximum = maximum
        self._idle_maximum = idle_maximum
        self._idle_seconds = idle_seconds
        self._queue = queue
        self._queue_seconds = queue_seconds
        self._idle: deque[tuple[C, float]] = deque()
        self._waiters: deque[_Waiter[C]] = deque()
        self._closed = False
        self.active = 0

    @property
    def idle(self) -> int:
        """Connections that nobody uses."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiters)

    def take(self) -> C | None:
        """A connection that was used before, as from `acquire`, if there is one and nobody waits for it."""
        connection = None if self._waiters else self._take_idle()
        if connection is not None:
            self.active += 1
        return connection

    async def acquire(
        self, *, fresh: bool = False, connect: Callable[[], Awaitable[C]] | None = None
    ) -> tuple[C, bool]:
        """A connection, and whether it was used before; give it back with `release`.

        Args:
            fresh: only a new one will do.
            connect: opens one that is not like the others; by default all are alike.

        Errors: ConnectFailed, PoolFull.
        """
        if not self._waiters:
            connection = None if fresh else self._take_idle()
            if connection is not None:
                self.active += 1
                return connection, True
            if self.active + len(self._idle) >= self._maximum and self._idle:
                self._idle.popleft()[0].close()
            if self.active < self._maximum:
                self.active += 1
                return await self._open(connect), False
        return await self._wait(connect, fresh=fresh)

    def _take_idle(self) -> C | None:
        idle = self._idle
        if not idle:
            return None
        oldest = trio.current_time() - self._idle_seconds
        while idle:
            connection, since = idle.pop()
            if since >= oldest and connection.is_quiet():
                return connection
            connection.close()
        return None

    async def _open(self, connect: Callable[[], Awaitable[C]] | None) -> C:
        try:
            return await (connect or self._connect)()
        except BaseException:
            self._leave()
            raise

    async def _wait(self, connect: Callable[[], Awaitable[C]] | None, *, fresh: bool) -> tuple[C, bool]:
        if len(self._waiters) >= self._queue:
            raise PoolFull(f"{self.active} connections in use, {len(self._waiters)} requests in the queue")
        waiter: _Waiter[C] = _Waiter()
        self._waiters.append(waiter)
        try:
            with trio.move_on_after(self._queue_seconds):
                await waiter.event.wait()
        finally:
            if not waiter.granted:
                self._waiters.remove(waiter)
        if not waiter.granted:
            raise PoolFull(f"no connection free in {self._queue_seconds:g} s")
        connection = waiter.connection
        if connection is not None and not fresh and connection.is_quiet():
            return connection, True
        if connection is not None:
            connection.close()
        return await self._open(connect), False

    def release(self, connection: C, *, reusable: bool) -> None:
        """Give a connection back; it is closed unless another request may follow on it."""
        if reusable and not self._closed:
            if self._waiters:
                self._grant(connection)
                return
            if len(self._idle) < self._idle_maximum:
                self._idle.append((connection, trio.current_time()))
                self.active -= 1
                return
        connection.close()
        self._leave()

    def _grant(self, connection: C | None) -> None:
        waiter = self._waiters.popleft()
        waiter.granted = True
        waiter.connection = connection
        waiter.event.set()

    def _leave(self) -> None:
        """One place is free: the next in the queue has it."""
        if self._waiters:
            self._grant(None)
        else:
            self.active -= 1

    def sweep(self) -> None:
        """Close idle connections that are too old, or that their server has ended."""
        oldest = trio.current_time() - self._idle_seconds
        kept = deque(self._idle)
        self._idle.clear()
        for connection, since in kept:
            if since >= oldest and connection.is_quiet():
                self._idle.append((connection, since))
            else:
                connection.close()

    def drop_idle(self) -> None:
        """Close the idle ones."""
        while self._idle:
            self._idle.pop()[0].close()

    def close(self) -> None:
        """Close the idle ones, and keep none from now on."""
        self._closed = True
        self.drop_idle()
