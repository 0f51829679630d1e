"""Judging in tests: small servers in memory, on a clock that does not wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import trio
import trio.testing

from securelight.conformance.case import Case, Level
from securelight.conformance.runner import Options, judge, new_run
from securelight.conformance.suites import Suite, load_suite
from securelight.conformance.target import Target, parse_target
from tests.conformance.http2_server import serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.conformance.case import Question
    from securelight.conformance.results import Run

Server = Callable[[trio.abc.Stream], Awaitable[None]]
TARGET = parse_target("http://127.0.0.1:80/")


@lru_cache
def suites(*names: str) -> tuple[Suite, ...]:
    """Loaded once."""
    return tuple(load_suite(name) for name in names)


def one_suite(cases: Sequence[Case], name: str = "h2") -> tuple[Suite, ...]:
    """A suite of these cases."""
    return (Suite(name, "A suite", tuple(cases)),)


def make_case(question: Question, name: str = "case", *, seconds: float = 30.0, alone: bool = False) -> Case:
    """A case of a suite called h2."""
    return Case(
        f"h2/1.1/{name}", 9113, "1.1", Level.MUST, f"Title of {name}", "Topic", "Why <b>it</b> matters", "The cure",
        question, seconds, alone,
    )  # fmt: skip


async def judged(cases: Sequence[Suite], server: Server, *, options: Options | None = None) -> Run:
    """The run of `cases` against `server`, which is started for each connection, in memory."""
    run = new_run(TARGET, cases)
    async with trio.open_nursery() as nursery:

        async def connect(_target: Target) -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server, theirs)
            return ours

        given = options or Options()
        await judge(run, replace(given, connect=connect))
        nursery.cancel_scope.cancel()
    return run


def judge_faults(cases: Sequence[Suite], *faults: str) -> Run:
    """The run of `cases` against the small server with these faults."""
    wrong = frozenset(faults)

    async def main() -> Run:
        return await judged(cases, lambda stream: serve(stream, wrong))

    # Deadlines pass at once when everybody waits, so that a server that never answers costs no time.
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def failed_ids(run: Run) -> list[str]:
    """What failed."""
    return [result.case.id for result in run.failures()]
