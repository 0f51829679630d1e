"""The shapes of a stage, a handler and a filter, and the ways in which they answer.

The union is closed: a stage answers with a Response, a Deferred, a Rewritten, or None to go on. Refusal is the one
exception that means something. `Deferred` is the only door from the synchronous pipeline to anything that waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, final

from securelight.model.request import Facts, Request
from securelight.model.response import Response

if TYPE_CHECKING:
    from securelight.pipeline.exchange import DirectExchange, Exchange


class Rewritten:
    """Start again at the first stage with `request`; bounded by Limits.rewrites.

    Args:
        request: the new one.
        rule: the name of the rule that did it, for the message when the bound is reached.
        restart: False to go on with the next stage of the same route instead, for a request whose path and host are
            the same.
    """

    __slots__ = ("request", "restart", "rule")

    def __init__(self, request: Request, rule: str, *, restart: bool = True) -> None:
        self.request = request
        self.rule = rule
        self.restart = restart


@final
class Responded:
    """What a Deferred returns that has sent its answer itself, by `Exchange.respond`, or `begin`, `send` and `end`."""

    __slots__ = ()


RESPONDED = Responded()
"""The only instance."""


class Deferred:
    """An answer that has to be waited for.

    Args:
        run: called once, in the stream's own task. It returns the answer, a Rewritten, RESPONDED if the answer was sent
            through the Exchange, or, from a stage, None to go on with the stage after it (in that task). It may raise
            Refusal, and ClientDisconnected when the client left.
    """

    __slots__ = ("resume_at", "run")

    def __init__(self, run: Callable[[Exchange], Awaitable[Response | Rewritten | Responded | None]]) -> None:
        self.run = run
        self.resume_at = 0
        """Where `pipeline.run` goes on after None; set there."""


class DirectlyDeferred(Deferred):
    """An answer that has to be waited for, perhaps without a task.

    Args:
        run: as of a Deferred; called unless `begin` returns True.
        begin: called at once, must not raise. Returns True if the work is under way (Exchange.direct is set then);
            False, with nothing done, if it has to be run in a task.
    """

    __slots__ = ("begin",)

    def __init__(
        self,
        run: Callable[[Exchange], Awaitable[Response | Rewritten | Responded | None]],
        begin: Callable[[DirectExchange], bool],
    ) -> None:
        self.run = run
        self.resume_at = 0
        self.begin = begin


Answer = Response | Deferred | Rewritten | None
Stage = Callable[[Request, Facts], Answer]
Handler = Callable[[Request, Facts], Response | Deferred]
Filter = Callable[[Request, Facts, Response], Response]
