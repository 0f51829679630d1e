"""Waiting for bytes from behind: woken by them, by the end, by the deadline, by a close; and nothing is missed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from math import inf

import pytest
import trio
import trio.testing

from securelight.upstream.stream import FULL_READS, Late, PlainStream

SIZE = 1024


@pytest.fixture
def pair() -> Iterator[tuple[PlainStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs, ours:
        yield PlainStream(ours, SIZE), theirs


async def test_bytes_and_the_end_are_seen_however_they_come(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, theirs = pair
    with trio.fail_after(15):
        theirs.send(b"before the first wait")
        assert await stream.receive() == b"before the first wait"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect, stream, b"while it waits")
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"while it waits")
        theirs.send(b"with the end")
        theirs.shutdown(socket.SHUT_WR)
        assert await stream.receive() == b"with the end"
        assert await stream.receive() == b""
        assert await stream.receive() == b""


async def _expect(stream: PlainStream, data: bytes) -> None:
    assert await stream.receive() == data


async def test_more_than_a_buffer_is_read_on_and_others_get_their_turn(
    pair: tuple[PlainStream, socket.socket],
) -> None:
    stream, theirs = pair
    theirs.send(b"x" * (2 * FULL_READS * SIZE + 1))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            assert len(await stream.receive()) == SIZE
            before, size = turns, 0
            while size < (2 * FULL_READS - 1) * SIZE + 1:
                size += len(await stream.receive())
            assert turns > before
            nursery.cancel_scope.cancel()
        theirs.send(b"y")
        assert await stream.receive() == b"y"


async def test_a_deadline_ends_a_wait_and_one_that_is_put_off_does_not(
    pair: tuple[PlainStream, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    stream, theirs = pair
    started = trio.current_time()
    stream.set_deadline(started + 5)
    with pytest.raises(Late):
        await stream.receive()
    assert 5 <= trio.current_time() - started < 6
    stream.set_deadline(trio.current_time() + 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect, stream, b"late, but in time")
        await trio.sleep(2)
        stream.set_deadline(trio.current_time() + 100)
        await trio.sleep(50)
        theirs.send(b"late, but in time")
    stream.set_deadline(inf)
    with trio.move_on_after(1000) as waited:
        await stream.receive()
    assert waited.cancelled_caught


async def test_a_deadline_that_comes_nearer_counts_for_the_wait_under_way(
    pair: tuple[PlainStream, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    stream, _theirs = pair
    stream.set_deadline(trio.current_time() + 1000)
    late: list[float] = []

    async def wait() -> None:
        with pytest.raises(Late):
            await stream.receive()
        late.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        expected = trio.current_time() + 2.5
        stream.set_deadline(expected)
    assert expected <= late[0] < expected + 1


async def test_a_close_wakes_who_waits_and_a_closed_stream_gives_nothing(
    pair: tuple[PlainStream, socket.socket],
) -> None:
    stream, _theirs = pair
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(OSError, match="closed"):
                    await stream.receive()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            stream.close()
        stream.close()
        with pytest.raises(OSError, match="closed"):
            await stream.receive()
