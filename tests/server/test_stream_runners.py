"""Runners of streams, by what those see that run in them: order, waiting, cancellation, contexts of their own."""

from __future__ import annotations

import contextlib
import contextvars
import select
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import structlog
import trio
import trio.testing

from securelight.server.fence import Fence
from securelight.server.reactor import Reactor, Stepped
from securelight.server.stream_runners import RUNNERS_KEPT, StreamRunners
from securelight.server.stream_task import Stream

Work = Callable[[], Awaitable[None]]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Waiting:
    """What runners see of a stream."""

    def __init__(self) -> None:
        self.scope: trio.CancelScope | None = None
        self.ended = trio.Event()

    async def run(self, work: Work) -> None:
        try:
            await work()
        finally:
            self.ended.set()


class Desk:
    """Starts work in runners."""

    def __init__(self, runners: StreamRunners, fence: Fence, reactor: Reactor) -> None:
        self.runners = runners
        self.reactor = reactor
        self.fence = fence

    def start(self, work: Work) -> Waiting:
        stream = Waiting()
        self.runners.start_soon(cast(Stream, stream), stream.run, work)
        return stream


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    async with trio.open_nursery() as nursery:
        fence = Fence(structlog.get_logger())

        def report(error: Exception, _stepped: Stepped) -> None:
            fence.report(error, "stepping")

        reactor = Reactor(report)
        runners = StreamRunners(nursery, fence, reactor)
        runners.start()
        yield Desk(runners, fence, reactor)
        nursery.cancel_scope.cancel()
    reactor.close()


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


class Watched:
    """A connection, as far as the reactor is concerned."""

    def __init__(self, sock: socket.socket) -> None:
        self.scheduled = False
        self.sock = sock
        self.seen = b""
        self.turn = trio.Event()
        self.readable = trio.Event()

    def on_ready(self, mask: int) -> None:
        assert mask == select.EPOLLIN
        self.seen += self.sock.recv(100)
        self.readable.set()

    def on_turn(self) -> None:
        self.turn.set()


async def test_others_poll_while_work_waits() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watched = Watched(ours)
        async with desk() as one:
            one.reactor.register(ours.fileno(), watched, select.EPOLLIN)
            streams = [one.start(watched.readable.wait) for _ in range(3)]
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"word")
            with trio.fail_after(15):
                for stream in streams:
                    await stream.ended.wait()
            one.reactor.unregister(ours.fileno())
        assert watched.seen == b"word"


async def test_turns_are_given_while_the_poller_sleeps_and_by_work_that_has_waited() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with desk() as one:
            await trio.testing.wait_all_tasks_blocked()
            first, second = Watched(ours), Watched(theirs)
            one.reactor.schedule(first)
            with trio.fail_after(15):
                await first.turn.wait()

            async def work() -> None:
                await trio.lowlevel.checkpoint()
                one.reactor.schedule(second)
                assert not second.turn.is_set()  # with all else that this one says
                await second.turn.wait()

            with trio.fail_after(15):
                await one.start(work).ended.wait()


async def test_work_that_is_never_done_does_not_stop_the_rest() -> None:
    async with desk() as one:
        enough = trio.Event()

        async def again_and_again() -> None:
            if not enough.is_set():
                one.start(again_and_again)

        one.start(again_and_again)
        with trio.fail_after(15):
            for _ in range(3):
                await trio.lowlevel.checkpoint()
        enough.set()


async def test_work_that_does_not_wait_shares_one_task_in_order() -> None:
    seen: list[Any] = []

    def note(number: int) -> Work:
        async def work() -> None:
            seen.append((number, trio.lowlevel.current_task()))

        return work

    async with desk() as one:
        streams = [one.start(note(number)) for number in range(20)]
        await streams[-1].ended.wait()
        assert [number for number, _ in seen] == list(range(20))
        assert len({task for _, task in seen}) == 1


async def test_work_that_waits_does_not_hold_up_the_rest() -> None:
    release = trio.Event()
    async with desk() as one:
        slow = [one.start(release.wait) for _ in range(3)]
        quick = one.start(trio.lowlevel.checkpoint)
        with trio.fail_after(5):
            await quick.ended.wait()
        assert not any(stream.ended.is_set() for stream in slow)
        release.set()
        with trio.fail_after(5):
            for stream in slow:
                await stream.ended.wait()


async def test_one_is_cancelled_and_the_next_in_the_same_runner_is_not() -> None:
    release = trio.Event()
    cancelled = []

    async def work() -> None:
        try:
            await release.wait()
        except trio.Cancelled:
            cancelled.append(True)
            raise

    async with desk() as one:
        first, second = one.start(work), one.start(work)
        await trio.testing.wait_all_tasks_blocked()
        assert first.scope is not None
        first.scope.cancel()
        await first.ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert cancelled == [True]
        third = one.start(work)
        await trio.testing.wait_all_tasks_blocked()
        assert not second.ended.is_set()
        assert not third.ended.is_set()
        release.set()
        await second.ended.wait()
        await third.ended.wait()
        assert cancelled == [True]
        assert first.scope is None


async def test_a_scope_that_is_cancelled_too_late_is_not_given_to_the_next() -> None:
    async with desk() as one:
        seen: list[bool] = []

        async def cancels_itself() -> None:
            assert first.scope is not None
            first.scope.cancel()

        async def waits() -> None:
            await trio.lowlevel.checkpoint()
            seen.append(True)

        first = one.start(cancels_itself)
        second = one.start(waits)
        with trio.fail_after(5):
            await second.ended.wait()
        assert seen == [True]


async def test_a_timeout_that_one_leaves_behind_does_not_cancel_the_next() -> None:
    left: list[AsyncGenerator[int, None]] = []

    async def numbers() -> AsyncGenerator[int, None]:
        with trio.move_on_after(0.01):
            while True:
                yield 1

    async def leaves_a_timeout() -> None:
        left.append(numbers())
        await anext(left[-1])

    async with desk() as one:
        seen: list[bool] = []

        async def outlasts_it() -> None:
            await trio.sleep(0.05)
            seen.append(True)

        one.start(leaves_a_timeout)
        for stream in (one.start(outlasts_it), one.start(outlasts_it)):
            with trio.fail_after(15):
                await stream.ended.wait()
        assert seen == [True, True]
    assert one.fence.counts["internal error"] >= 1
    with contextlib.suppress(RuntimeError):  # its scope was closed with ours
        await left[0].aclose()


async def test_each_has_a_context_of_its_own() -> None:
    seen: list[str] = []

    def names(name: str) -> Work:
        async def work() -> None:
            seen.append(variable.get())
            variable.set(name)
            await trio.lowlevel.checkpoint()
            seen.append(variable.get())

        return work

    async with desk() as one:
        streams = [one.start(names(name)) for name in "abc"]
        for stream in streams:
            await stream.ended.wait()
    assert sorted(seen) == ["a", "b", "c", "unset", "unset", "unset"]
    assert variable.get() == "unset"


async def test_tasks_started_by_one_inherit_its_context() -> None:
    seen: list[str] = []

    async def child() -> None:
        seen.append(variable.get())

    async def work() -> None:
        variable.set("of the stream")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    async with desk() as one:
        await one.start(work).ended.wait()
    assert seen == ["of the stream"]


async def test_runners_are_used_again_and_few_stay() -> None:
    async with desk() as one:
        before = tasks()
        for _ in range(3):
            release = trio.Event()
            streams = [one.start(release.wait) for _ in range(RUNNERS_KEPT + 50)]
            await trio.testing.wait_all_tasks_blocked()
            release.set()
            for stream in streams:
                await stream.ended.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert tasks() - before <= RUNNERS_KEPT + 1  # and the one that leads


async def test_what_comes_out_of_one_does_not_stop_the_others() -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    async with desk() as one:
        one.start(fails)
        last = one.start(trio.lowlevel.checkpoint)
        with trio.fail_after(5):
            await last.ended.wait()
    assert one.fence.counts["internal error"] == 1


async def test_results_and_exceptions_of_what_is_waited_for_reach_the_work() -> None:
    async with desk() as one:
        send, receive = trio.open_memory_channel[str](0)
        seen: list[object] = []

        async def work() -> None:
            seen.append(await receive.receive())
            try:
                await receive.receive()
            except trio.EndOfChannel as error:
                seen.append(type(error))

        stream = one.start(work)
        await send.send("word")
        send.close()
        await stream.ended.wait()
        receive.close()
    assert seen == ["word", trio.EndOfChannel]
