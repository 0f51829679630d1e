"""Group 13: requests that are passed on to a server behind, and what each costs the proxy in processor time.

The rate is bounded by the server behind and the load, which share a core; what compares proxies is their cost.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.loads import Load, h2load
from benchmarks.peers.peer import Ability
from benchmarks.processes import Running
from benchmarks.rounds import RATE, Effort, Measure, Metric, Workload
from benchmarks.setting import BEHIND_HUNDRED, BEHIND_ONE, BEHIND_UPLOAD, BEHIND_UPLOAD_BYTES

COST = Metric("processor", "us a request", more_is_better=False)
PROXIES = ("nginx", "haproxy")


def by_cost(path: str, *, http2: bool, requests: int, upload_bytes: int = 0) -> Measure:
    """A number of requests over 20 connections."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        file = None
        if upload_bytes:
            file = target.setting.directory / f"upload-{upload_bytes}"
            if not file.exists():
                with file.open("wb") as new:
                    new.truncate(upload_bytes)
        count = requests // 5 if effort.quick else requests
        before = target.cpu_seconds()
        outcome = h2load(target, Load([path], http2, 20, requests=count, upload=file))
        return {
            "processor": (target.cpu_seconds() - before) / outcome.requests * 1e6,
            "rate": outcome.requests / outcome.seconds,
        }

    return measure


_H2, _H1 = frozenset({Ability.PROXY, Ability.HTTP2}), frozenset({Ability.PROXY, Ability.HTTP1})


def _row(name: str, measure: Measure, needs: frozenset[Ability]) -> Workload:
    return Workload(13, name, measure, needs, (COST, RATE), PROXIES)


WORKLOADS = (
    _row("proxy of 1 kB, HTTP/1.1", by_cost(BEHIND_ONE, http2=False, requests=5000), _H1),
    _row("proxy of 1 kB, HTTP/2", by_cost(BEHIND_ONE, http2=True, requests=5000), _H2),
    _row("proxy of 100 kB, HTTP/1.1", by_cost(BEHIND_HUNDRED, http2=False, requests=2000), _H1),
    _row("proxy of 100 kB, HTTP/2", by_cost(BEHIND_HUNDRED, http2=True, requests=2000), _H2),
    _row(
        "proxy of 100 kB uploads, HTTP/1.1",
        by_cost(BEHIND_UPLOAD, http2=False, requests=1000, upload_bytes=BEHIND_UPLOAD_BYTES),
        _H1,
    ),
    _row(
        "proxy of 100 kB uploads, HTTP/2",
        by_cost(BEHIND_UPLOAD, http2=True, requests=1000, upload_bytes=BEHIND_UPLOAD_BYTES),
        _H2,
    ),
)
