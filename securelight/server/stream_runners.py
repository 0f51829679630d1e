"""The tasks of a listener: one of them leads, which is to poll the reactor and to run the streams that this brings.

Leader and followers: a stream that is answered without waiting costs neither a task nor a switch between tasks, because
whoever polls also runs it. As soon as one waits, its task gives the lead away, at that very moment, and a follower goes
on with the rest. (A new task costs 15 to 18 us, waking a parked one 5 to 7 us, going on in a running one nothing.)
What streams schedule after they have waited is looked at by their own task; only if that waits again is another called.

Each stream runs in a context of its own (contextvars), as it would in a task of its own, and inside a scope in which it
can be cancelled.
"""

from __future__ import annotations

import contextvars
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from securelight.server.fence import Fence
from securelight.server.reactor import Reactor

if TYPE_CHECKING:
    from securelight.server.stream_task import Stream

RUNNERS_KEPT = 64
"""How many stay when there is nothing to do, at about 3 kB each: more than wait at once in most workers."""
TURN_SECONDS = 0.002
"""Work between two checkpoints: without it, application tasks waited up to 3 seconds under load (measured)."""

A = TypeVar("A")


class StreamRunners:
    """The tasks of one listener.

    Args:
        nursery: where they live; its cancellation ends them.
        fence: told of what should not have come out of a stream.
        reactor: what they attend to.
    """

    __slots__ = ("_context", "_fence", "_leader", "_nursery", "_one_is_coming", "_parked", "_reactor", "_waiting")

    def __init__(self, nursery: trio.Nursery, fence: Fence, reactor: Reactor) -> None:
        self._nursery = nursery
        self._fence = fence
        self._reactor = reactor
        self._context = contextvars.copy_context()
        self._waiting: deque[tuple[Stream, Callable[[Any], Coroutine[Any, Any, None]], Any]] = deque()
        self._parked: list[trio.lowlevel.Task] = []
        self._one_is_coming = False
        self._leader: trio.lowlevel.Task | None = None
        reactor.call = self._call_one

    def start(self) -> None:
        """Begin to poll the reactor."""
        self._call_one()

    def start_soon(self, stream: Stream, function: Callable[[A], Coroutine[Any, Any, None]], argument: A) -> None:
        """Run `function(argument)` soon, which is the work of `stream`."""
        self._waiting.append((stream, function, argument))
        if self._reactor.attendant is None:
            self._call_one()

    def _call_one(self) -> None:
        if self._one_is_coming:
            return
        self._one_is_coming = True
        if self._parked:
            trio.lowlevel.reschedule(self._parked.pop())
        else:
            # Whoever calls may be a stream: what its context holds is not for the task.
            self._context.copy().run(self._nursery.start_soon, self._run)

    async def _run(self) -> None:
        parked, reactor = self._parked, self._reactor
        task = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            self._one_is_coming = False
            if reactor.attendant is None:
                reactor.attendant = task
            while reactor.attendant is task:
                await self._attend(task)
            if len(parked) >= RUNNERS_KEPT:
                return
            parked.append(task)
            await trio.lowlevel.wait_task_rescheduled(abort)

    async def _attend(self, task: trio.lowlevel.Task) -> None:
        """Run streams, give turns and poll, until another attends, or a stream was cancelled: the scope is used up.

        One scope for all of them, because entering and leaving one costs a third of a small answer. A stream may have
        left one of its own open in `task`, as generators do that yield in one and are not asked again: its timeout
        would cancel the next stream. Leaving our scope closes that one too, and says so.
        """
        reactor, waiting = self._reactor, self._waiting
        try:
            with trio.CancelScope() as scope:
                innermost = _innermost(task)
                started = perf_counter()
                while reactor.attendant is task and not scope.cancel_called and _innermost(task) is innermost:
                    if waiting:
                        stream, function, argument = waiting.popleft()
                        stream.scope = scope
                        try:
                            await self._run_stream(function(argument), task)
                        finally:
                            stream.scope = None
                    elif reactor.ready:
                        reactor.take_turns()
                        if not waiting and self._leads(task):
                            reactor.poll()  # so that those who are never done do not keep the others waiting
                    elif not self._leads(task):
                        reactor.attendant = None
                    elif not (reactor.poll() or waiting or reactor.ready):
                        reactor.attendant = None
                        await trio.lowlevel.wait_readable(reactor.descriptor)
                        reactor.attendant = task
                        started = perf_counter()
                        continue
                    if perf_counter() - started > TURN_SECONDS:
                        await trio.lowlevel.checkpoint()
                        started = perf_counter()
        except Exception as error:
            self._fence.report(error, "running a stream")

    def _leads(self, task: trio.lowlevel.Task) -> bool:
        """Whether `task` polls; it takes the lead if nobody has it."""
        if self._leader is None:
            self._leader = task
        return self._leader is task

    @types.coroutine
    def _run_stream(self, coroutine: Coroutine[Any, Any, None], task: trio.lowlevel.Task) -> Generator[Any, Any, None]:
        """Wait for `coroutine`, each of its steps in a context of its own; whenever it waits, others can attend."""
        reactor, run_step = self._reactor, self._context.copy().run
        step: Callable[..., Any] = coroutine.send
        value: Any = None
        while True:
            try:
                trap = run_step(step, value)
            except StopIteration:
                return
            if reactor.attendant is task:
                reactor.attendant = None
                if self._leader is task:
                    self._leader = None
                if self._leader is None or self._waiting or reactor.ready:
                    self._call_one()
            try:
                value = yield trap
                step = coroutine.send
            except BaseException as error:  # goes into the coroutine, whose business it is
                value = error
                step = coroutine.throw
            if reactor.attendant is None:
                reactor.attendant = task


def _innermost(task: trio.lowlevel.Task) -> object:
    """What stands for the innermost scope of `task`. Trio has no public name for it; without it nothing is noticed."""
    return getattr(task, "_cancel_status", None)
