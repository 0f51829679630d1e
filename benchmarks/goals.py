"""What is to be reached, as ratios within one run: the fast engine, one worker, everything on that is on by default.

`must` is where giving up is not accepted, `aim` is the goal. docs/performance.md says what a missed one would take.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.rounds import Result

US = "securelight"


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table.

    Attributes:
        workload, metric: what is looked at.
        baseline: the server that the ratio is to; "" for the figure itself.
        must, aim: bounds of it; a bound for latencies and memory is an upper one.
        server: whose figure.
    """

    workload: str
    metric: str
    baseline: str
    must: float
    aim: float
    less_is_better: bool = False
    server: str = US


_H2, _H2_ONE, _H1 = "HTTP/2, 612 B, 20 x 20", "HTTP/2, 612 B, 20 x 1", "HTTP/1.1, 612 B, 20 connections"
_HELLO_H2, _HELLO_H1 = "ASGI hello, HTTP/2, 20 x 20", "ASGI hello, HTTP/1.1, 20 connections"

GOALS = (
    Goal(_H2, "rate", "nginx", 1.3, 2.0),
    Goal(_H2, "rate", "lighttpd", 0.4, 1.0),
    Goal(_H2_ONE, "rate", "nginx", 0.45, 1.0),
    Goal(_H1, "rate", "nginx", 0.55, 1.0),
    Goal("10 MB download, HTTP/2, 1 at once", "speed", "nginx", 0.9, 1.1),
    Goal("10 MB download, HTTP/2, 8 at once", "speed", "nginx", 0.9, 1.1),
    Goal("full handshakes, TLS 1.3", "handshakes", "nginx", 0.9, 1.1),
    Goal(_HELLO_H2, "rate", "granian", 0.5, 1.0),
    Goal(_HELLO_H2, "rate", "h2corn", 0.5, 1.0),
    Goal(_HELLO_H2, "rate", "hypercorn-trio", 10, 30),
    Goal(_HELLO_H1, "rate", "h2corn", 0.5, 1.0),
    Goal(_HELLO_H1, "rate", "uvicorn", 1.0, 2.0),
    Goal("latency at half of our rate, HTTP/2", "p99", "nginx", 2.0, 1.0, less_is_better=True),
    Goal("idle connection, HTTP/1.1, of 2,000", "each", "", 20, 16, less_is_better=True),
    Goal("idle connection, HTTP/2, of 2,000", "each", "", 42, 30, less_is_better=True),
    Goal("memory at rest", "rest", "", 50, 30, less_is_better=True),
    Goal(_HELLO_H2, "rate", "hypercorn-trio", 5, 10, server="securelight-pure"),
    Goal("proxy of 1 kB, HTTP/1.1", "processor", "nginx", 3.3, 2.0, less_is_better=True),
    Goal("proxy of 1 kB, HTTP/2", "processor", "nginx", 3.3, 2.0, less_is_better=True),
    Goal("proxy of 1 kB, HTTP/1.1", "processor", "caddy", 1.0, 0.5, less_is_better=True),
    Goal("proxy of 1 kB, HTTP/2", "processor", "caddy", 1.0, 0.5, less_is_better=True),
    Goal("proxy of 100 kB, HTTP/1.1", "processor", "nginx", 1.67, 1.2, less_is_better=True),
    Goal("proxy of 100 kB, HTTP/2", "processor", "nginx", 1.67, 1.2, less_is_better=True),
    Goal("WSGI hello, HTTP/1.1, 20 connections", "rate", "hypercorn-wsgi", 1.0, 2.0),
    Goal("WSGI hello, HTTP/2, 20 x 20", "rate", "hypercorn-wsgi", 1.0, 2.0),
    Goal("gzip file, 612 B, HTTP/1.1", "times", "", 1.3, 1.0, less_is_better=True),
    Goal("gzip file, 612 B, HTTP/2", "times", "", 1.3, 1.0, less_is_better=True),
    Goal("cache hit, 612 B, HTTP/1.1", "times", "", 1.3, 1.0, less_is_better=True),
    Goal("cache hit, 612 B, HTTP/2", "times", "", 1.3, 1.0, less_is_better=True),
    Goal("cache hit, 612 B, HTTP/2, different heads", "times", "", 1.3, 1.1, less_is_better=True),
    Goal("100 rules, HTTP/2, different heads", "added", "", 20, 10, less_is_better=True),
)


def servers_in(workload: str) -> set[str]:
    """The servers that the goals of `workload` name; none if it has no goal."""
    return {name for goal in GOALS if goal.workload == workload for name in (goal.server, goal.baseline) if name}


AHEAD_ON_ALL = ("caddy", "hypercorn-trio", "hypercorn-uvloop", "uvicorn")
"""Servers to be ahead of on every row."""
AHEAD_ON_FILES = ("granian", "h2corn")
_FILE_GROUPS = range(1, 5)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a goal stands; `reached` is None where there are no figures."""

    goal: Goal
    reached: float | None

    @property
    def state(self) -> str:
        """One word for the table."""
        if self.reached is None:
            return "not measured"
        goal, sign = self.goal, -1 if self.goal.less_is_better else 1
        if self.reached * sign >= goal.aim * sign:
            return "aim"
        return "must" if self.reached * sign >= goal.must * sign else "MISSED"


def judge(results: Sequence[Result]) -> list[Verdict]:
    """How every goal stands."""
    by_name = {result.workload.name: result for result in results}
    return [Verdict(goal, _reached(goal, by_name.get(goal.workload))) for goal in GOALS]


def _reached(goal: Goal, result: Result | None) -> float | None:
    if result is None or goal.server not in result.figures.get(goal.metric, {}):
        return None
    if not goal.baseline:
        return result.median(goal.metric, goal.server)
    ratios = result.ratios(goal.metric, goal.server, goal.baseline)
    return statistics.median(ratios) if ratios else None


def behind(results: Sequence[Result]) -> list[str]:
    """Where we are behind a server that we are to be ahead of, a line each."""
    lines = []
    for result in results:
        metric = next(one for one in result.workload.metrics if not one.of_itself)
        rivals = AHEAD_ON_ALL + (AHEAD_ON_FILES if result.workload.group in _FILE_GROUPS else ())
        for rival in rivals:
            if ratios := result.ratios(metric.name, US, rival):
                ratio = statistics.median(ratios)
                if (ratio < 1) == metric.more_is_better and ratio != 1:
                    lines.append(f"{result.workload.name}: {ratio:.2f} of {rival} ({metric.unit})")
    return lines
