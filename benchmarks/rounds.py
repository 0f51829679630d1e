"""What a workload is, and how servers are compared on it: interleaved, round by round.

A shared machine is noisy, easily by a factor of two between minutes. So every round asks every server once, close in
time and in turning order, and what counts is the ratio within a round: its median over the rounds, with the spread.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.peers.peer import Ability, Peer
from benchmarks.processes import BenchmarkError, Running, running
from benchmarks.setting import Setting

FILE_SERVERS = ("nginx", "lighttpd")
APPLICATION_SERVERS = ("granian", "h2corn", "hypercorn-trio", "uvicorn")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done.

    Attributes:
        rounds: of each workload.
        seconds: of one load that is measured by time.
        quick: leave out what takes long.
    """

    rounds: int
    seconds: float
    quick: bool


FULL = Effort(rounds=7, seconds=0.6, quick=False)
QUICK = Effort(rounds=2, seconds=0.4, quick=True)


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a workload.

    Attributes:
        of_itself: it is a comparison of a server with itself, and says nothing of which server is ahead.
    """

    name: str
    unit: str
    more_is_better: bool = True
    decimals: int = 0
    of_itself: bool = False


RATE = Metric("rate", "requests/s")
Measure = Callable[[Running, Effort], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Workload:
    """One way to load a server.

    Attributes:
        group: number of its group, as in docs/performance.md.
        name: for tables.
        measure: one round on one server; a figure by name of the metric.
        needs: what a server has to be able to do.
        metrics: what `measure` gives.
        baselines: the servers that ratios are to.
        application: the servers are started with the ASGI application.
        sites: with how many sites; 0 is localhost alone.
        fresh: each server is started for each measurement, alone, without the routes of other rows; once in each of few
            rounds.
        curve, at: the curve that this is a point of, and where on its axis.
        only: servers that take part; without any, all that can.
        long: left out when quick.
    """

    group: int
    name: str
    measure: Measure
    needs: frozenset[Ability]
    metrics: tuple[Metric, ...] = (RATE,)
    baselines: tuple[str, ...] = FILE_SERVERS
    application: bool = False
    sites: int = 0
    fresh: bool = False
    curve: str = ""
    at: int = 0
    only: tuple[str, ...] = ()
    long: bool = False

    def takes(self, peer: Peer) -> bool:
        """True if `peer` can do it."""
        return self.needs <= peer.abilities and (not self.only or peer.name in self.only)


@dataclass(slots=True)
class Result:
    """What one workload gave.

    Attributes:
        figures: by metric, by server: one of each round.
        failures: servers that gave none, and why.
    """

    workload: Workload
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def record(self, server: str, figures: Mapping[str, float]) -> None:
        """Keep the figures of one round of one server."""
        for metric in self.workload.metrics:
            self.figures.setdefault(metric.name, {}).setdefault(server, []).append(figures[metric.name])

    def drop(self, server: str, why: str) -> None:
        """A server that failed once has no figures at all: a round less than the others cannot be compared."""
        self.failures[server] = why
        for by_server in self.figures.values():
            by_server.pop(server, None)

    def servers(self) -> list[str]:
        """Those with figures."""
        return list(self.figures.get(self.workload.metrics[0].name, {}))

    def median(self, metric: str, server: str) -> float:
        """Over the rounds."""
        return statistics.median(self.figures[metric][server])

    def ratios(self, metric: str, server: str, baseline: str) -> list[float]:
        """Of `server` to `baseline` within each round; empty if either has no figures, or the baseline a zero."""
        by_server = self.figures.get(metric, {})
        if server not in by_server or baseline not in by_server or not all(by_server[baseline]):
            return []
        return [one / base for one, base in zip(by_server[server], by_server[baseline], strict=True)]


def compare(targets: Sequence[Running], workload: Workload, effort: Effort) -> Result:
    """Load every server in each round, each time another one first."""
    result = Result(workload)
    for number in range(effort.rounds):
        first = number % len(targets) if targets else 0
        for target in (*targets[first:], *targets[:first]):
            _ask(target, result, effort)
    return _ordered(result, [target.peer.name for target in targets])


def compare_fresh(peers: Sequence[Peer], setting: Setting, workload: Workload, effort: Effort) -> Result:
    """The same with each server started for it, alone: what is measured is what that server holds."""
    result = Result(workload)
    identities = setting.identities(workload.sites) if workload.sites else ()
    for _ in range(1 if effort.quick else min(effort.rounds, 3)):
        for peer in peers:
            if peer.name in result.failures:
                continue
            try:
                with running(
                    peer, setting, identities=identities, application=workload.application, features=False
                ) as target:
                    _ask(target, result, effort)
            except BenchmarkError as error:
                result.drop(peer.name, str(error))
    return _ordered(result, [peer.name for peer in peers])


def _ask(target: Running, result: Result, effort: Effort) -> None:
    name = target.peer.name
    if name in result.failures:
        return
    try:
        result.record(name, result.workload.measure(target, effort))
    except (BenchmarkError, OSError) as error:
        result.drop(name, str(error))


def _ordered(result: Result, names: Sequence[str]) -> Result:
    """Servers in the order of `names`, not in that of the first round."""
    for metric, by_server in result.figures.items():
        result.figures[metric] = {name: by_server[name] for name in names if name in by_server}
    return result


def start_all(
    stack: ExitStack, peers: Sequence[Peer], setting: Setting, *, application: bool
) -> tuple[list[Running], dict[str, str]]:
    """All servers that start, and why others do not. They idle while they are not asked."""
    targets, failures = [], {}
    for peer in peers:
        try:
            targets.append(stack.enter_context(running(peer, setting, application=application)))
        except BenchmarkError as error:
            failures[peer.name] = str(error)
    return targets, failures
