"""The connections to one server: reuse, bounds, the queue, and who gets what when tasks are cancelled."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from securelight.upstream.faults import ConnectFailed, PoolFull
from securelight.upstream.pool import Pool


class Connection:
    quiet = True
    closed = False

    def is_quiet(self) -> bool:
        return self.quiet and not self.closed

    def close(self) -> None:
        self.closed = True


class Server:
    """Where connections come from."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.refuses = False

    async def connect(self) -> Connection:
        await trio.lowlevel.checkpoint()
        if self.refuses:
            raise ConnectFailed("refused")
        self.made.append(Connection())
        return self.made[-1]


def make(server: Server, **keys: Any) -> Pool[Connection]:
    rules: dict[str, Any] = {"maximum": 2, "idle_maximum": 2, "idle_seconds": 30, "queue": 1, "queue_seconds": 5}
    return Pool(server.connect, **{**rules, **keys})


async def test_the_connection_used_last_is_used_next() -> None:
    pool = make(Server())
    first, _ = await pool.acquire()
    second, _ = await pool.acquire()
    pool.release(first, reusable=True)
    pool.release(second, reusable=True)

    assert await pool.acquire() == (second, True)
    assert (pool.active, pool.idle) == (1, 1)


async def test_one_that_has_said_something_is_not_used_again() -> None:
    server = Server()
    pool = make(server)
    first, _ = await pool.acquire()
    pool.release(first, reusable=True)
    first.quiet = False
    second, reused = await pool.acquire()

    assert (second is not first, reused, first.closed) == (True, False, True)


async def test_one_that_may_not_be_used_again_is_closed() -> None:
    pool = make(Server())
    connection, _ = await pool.acquire()
    pool.release(connection, reusable=False)

    assert (connection.closed, pool.active, pool.idle) == (True, 0, 0)


async def test_old_ones_are_closed(autojump_clock: trio.testing.MockClock) -> None:
    pool = make(Server())
    connection, _ = await pool.acquire()
    pool.release(connection, reusable=True)
    await trio.sleep(29)
    pool.sweep()
    assert pool.idle == 1
    await trio.sleep(2)
    pool.sweep()

    assert (connection.closed, pool.idle) == (True, 0)


async def test_the_next_in_the_queue_gets_the_connection_or_its_place(autojump_clock: trio.testing.MockClock) -> None:
    server = Server()
    pool = make(server, maximum=1)
    first, _ = await pool.acquire()
    got: list[tuple[Connection, bool]] = []

    async def wait() -> None:
        got.append(await pool.acquire())

    for reusable in (True, False):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            pool.release(first, reusable=reusable)
        first = got[-1][0]

    assert [reused for _connection, reused in got] == [True, False]
    assert (pool.active, len(server.made)) == (1, 2)


async def test_a_full_queue_and_a_long_wait_are_refused(autojump_clock: trio.testing.MockClock) -> None:
    pool = make(Server(), maximum=1)
    await pool.acquire()
    refused: list[str] = []

    async def wait() -> None:
        try:
            await pool.acquire()
        except PoolFull as fault:
            refused.append(str(fault))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(PoolFull, match="in the queue"):
            await pool.acquire()

    assert refused == ["no connection free in 5 s"]
    assert (pool.active, pool.waiting) == (1, 0)


async def test_who_is_cancelled_in_the_queue_loses_nothing() -> None:
    pool = make(Server(), maximum=1)
    connection, _ = await pool.acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.acquire)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    pool.release(connection, reusable=True)

    assert (pool.active, pool.idle, pool.waiting) == (0, 1, 0)
    assert await pool.acquire() == (connection, True)


async def test_a_failed_connection_gives_its_place_back() -> None:
    server = Server()
    pool = make(server, maximum=1)
    server.refuses = True
    for _ in range(3):
        with pytest.raises(ConnectFailed):
            await pool.acquire()
    server.refuses = False

    assert (await pool.acquire())[1] is False


async def test_a_fresh_one_takes_the_place_of_an_idle_one() -> None:
    server = Server()
    pool = make(server, maximum=1)
    first, _ = await pool.acquire()
    pool.release(first, reusable=True)
    second, reused = await pool.acquire(fresh=True)

    assert (second is not first, reused, first.closed) == (True, False, True)


async def test_a_closed_pool_keeps_nothing() -> None:
    pool = make(Server())
    first, _ = await pool.acquire()
    second, _ = await pool.acquire()
    pool.release(first, reusable=True)
    pool.close()
    pool.release(second, reusable=True)

    assert (first.closed, second.closed, pool.active) == (True, True, 0)
