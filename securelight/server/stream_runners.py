"""The tasks that streams run in, kept and used again: a new one costs 15 to 18 us, going on in a running one nothing.

A runner takes one stream after the other for as long as there are any and they do not wait; so what is answered
without waiting costs no task of its own. As soon as one waits, the next runner goes on with the rest. Each stream runs
in a context of its own (contextvars), as it would in a task of its own.
"""

from __future__ import annotations

import contextvars
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from securelight.server.fence import Fence

if TYPE_CHECKING:
    from securelight.server.stream_task import Stream

RUNNERS_KEPT = 64
"""How many stay when there is nothing to do, at about 3 kB each: more than wait at once in most workers."""

T = TypeVar("T")
A = TypeVar("A")


class StreamRunners:
    """The runners of one listener.

    Args:
        nursery: where they live; its cancellation ends them.
        fence: told of what should not have come out of a stream.
    """

    __slots__ = ("_context", "_fence", "_nursery", "_one_is_coming", "_parked", "_waiting")

    def __init__(self, nursery: trio.Nursery, fence: Fence) -> None:
        self._nursery = nursery
        self._fence = fence
        self._context = contextvars.copy_context()
        self._waiting: deque[tuple[Stream, Callable[[Any], Coroutine[Any, Any, None]], Any]] = deque()
        self._parked: list[trio.lowlevel.Task] = []
        self._one_is_coming = False

    def start_soon(self, stream: Stream, function: Callable[[A], Coroutine[Any, Any, None]], argument: A) -> None:
        """Run `function(argument)` soon, which is the work of `stream`."""
        self._waiting.append((stream, function, argument))
        if not self._one_is_coming:
            self._call_one()

    def _call_one(self) -> None:
        self._one_is_coming = True
        if self._parked:
            trio.lowlevel.reschedule(self._parked.pop())
        else:
            self._nursery.start_soon(self._run)

    async def _run(self) -> None:
        parked = self._parked
        task = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            self._one_is_coming = False
            while self._waiting:
                await self._run_waiting(task)
            if len(parked) >= RUNNERS_KEPT:
                return
            parked.append(task)
            await trio.lowlevel.wait_task_rescheduled(abort)

    async def _run_waiting(self, task: trio.lowlevel.Task) -> None:
        """Run the streams that wait, until there are none or one of them was cancelled: the scope is of no use then.

        One scope for all of them, because entering and leaving one costs a third of a small answer. A stream may have
        left one of its own open in `task`, as generators do that yield in one and are not asked again: its timeout
        would cancel the next stream. Leaving our scope closes that one too, and says so.
        """
        waiting = self._waiting
        try:
            with trio.CancelScope() as scope:
                innermost = _innermost(task)
                while waiting and not scope.cancel_called and _innermost(task) is innermost:
                    stream, function, argument = waiting.popleft()
                    if waiting and not self._one_is_coming:
                        self._call_one()  # it is of use only if this one waits
                    stream.scope = scope
                    try:
                        await _in_context(function(argument), self._context.copy())
                    finally:
                        stream.scope = None
        except Exception as error:
            self._fence.report(error, "running a stream")


def _innermost(task: trio.lowlevel.Task) -> object:
    """What stands for the innermost scope of `task`. Trio has no public name for it; without it nothing is noticed."""
    return getattr(task, "_cancel_status", None)


@types.coroutine
def _in_context(coroutine: Coroutine[Any, Any, T], context: contextvars.Context) -> Generator[Any, Any, T]:
    """Wait for `coroutine`, each of its steps in `context`."""
    step: Callable[..., Any] = coroutine.send
    value: Any = None
    while True:
        try:
            trap = context.run(step, value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        try:
            value = yield trap
            step = coroutine.send
        except BaseException as error:  # goes into the coroutine, whose business it is
            value = error
            step = coroutine.throw
