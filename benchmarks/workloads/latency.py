"""Group 9: how long a request takes when a server has about half to do, at one rate for all.

The rate is half of what our server does at the most on the same kind of load, one request at a time on 20 connections,
measured at the start of each round of the first server and kept. Requests leave by the clock, whether earlier ones were
answered or not. A server that cannot keep up shows it in its figures.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.loads import Load, h2load
from benchmarks.peers import PEERS
from benchmarks.peers.peer import Ability
from benchmarks.processes import BenchmarkError, Running, running
from benchmarks.rounds import Effort, Measure, Metric, Workload
from benchmarks.setting import SMALL, Setting

CONNECTIONS = 20
LEAST_KEPT_UP = 0.9
"""Of the rate; less is a server that is overrun, whose latencies say only how long it was."""

METRICS = (
    Metric("p50", "us at p50", more_is_better=False),
    Metric("p99", "us at p99", more_is_better=False),
    Metric("p99.9", "us at p99.9", more_is_better=False),
)
_rates: dict[tuple[Path, bool], int] = {}
"""Requests per second of each connection, by run and protocol."""


def half_of_our_rate(setting: Setting, *, http2: bool) -> int:
    """Requests per second of each connection; measured once a run."""
    key = setting.directory, http2
    if key not in _rates:
        with running(PEERS["securelight"], setting) as target:
            rates = [h2load(target, Load([SMALL], http2, CONNECTIONS, seconds=1)).rate for _ in range(3)]
        _rates[key] = max(1, round(sorted(rates)[1] / 2 / CONNECTIONS))
    return _rates[key]


def percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least `share` of all do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def latency(*, http2: bool) -> Measure:
    """Percentiles of the time to the end of the answer."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        rate = half_of_our_rate(target.setting, http2=http2)
        seconds = effort.seconds * (1 if effort.quick else 5)
        with tempfile.NamedTemporaryFile("r", dir=target.setting.directory, suffix=".log") as log:
            load = Load(
                [SMALL],
                http2,
                CONNECTIONS,
                100 if http2 else 1,
                seconds=seconds,
                requests_per_second=rate,
                log=Path(log.name),
            )
            outcome = h2load(target, load)
            taken = sorted(int(line.split("\t")[2]) for line in log)
        if not taken:
            raise BenchmarkError("h2load wrote no log")
        if outcome.rate < LEAST_KEPT_UP * rate * CONNECTIONS:
            raise BenchmarkError(f"does not keep up with {rate * CONNECTIONS} requests/s")
        return {"p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99), "p99.9": percentile(taken, 0.999)}

    return measure


_H1, _H2 = frozenset({Ability.SMALL_FILES, Ability.HTTP1}), frozenset({Ability.SMALL_FILES, Ability.HTTP2})

WORKLOADS = (
    Workload(9, "latency at half of our rate, HTTP/2", latency(http2=True), _H2, METRICS),
    Workload(9, "latency at half of our rate, HTTP/1.1", latency(http2=False), _H1, METRICS),
)
