"""Groups 1 and 2: the small file, on HTTP/2 and HTTP/1.1. wrk gives a second opinion on the latter."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.loads import Load, h2load, wrk
from benchmarks.peers.peer import Ability
from benchmarks.processes import Running
from benchmarks.rounds import Effort, Measure, Workload
from benchmarks.setting import SMALL


def by_h2load(path: str, *, http2: bool, connections: int, streams: int = 1) -> Measure:
    """As fast as it goes."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        # A handshake costs about a millisecond; all of them have to be done before the measurement begins.
        warm_up = 0.2 + connections * 0.002
        load = Load([path], http2, connections, streams, seconds=effort.seconds, warm_up_seconds=warm_up)
        return {"rate": h2load(target, load).rate}

    return measure


def by_wrk(path: str, connections: int) -> Measure:
    """As fast as it goes, on HTTP/1.1."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        return {"rate": wrk(target, path, connections, effort.seconds)}

    return measure


_H1, _H2 = frozenset({Ability.SMALL_FILES, Ability.HTTP1}), frozenset({Ability.SMALL_FILES, Ability.HTTP2})

WORKLOADS = (
    Workload(1, "HTTP/2, 612 B, 20 x 20", by_h2load(SMALL, http2=True, connections=20, streams=20), _H2),
    Workload(1, "HTTP/2, 612 B, 20 x 1", by_h2load(SMALL, http2=True, connections=20), _H2),
    Workload(1, "HTTP/2, 612 B, 200 x 1", by_h2load(SMALL, http2=True, connections=200), _H2),
    Workload(2, "HTTP/1.1, 612 B, 20 connections", by_h2load(SMALL, http2=False, connections=20), _H1),
    Workload(2, "HTTP/1.1, 612 B, 200 connections", by_h2load(SMALL, http2=False, connections=200), _H1),
    Workload(2, "HTTP/1.1, 612 B, 20 connections (wrk)", by_wrk(SMALL, 20), _H1),
    Workload(2, "HTTP/1.1, 612 B, 200 connections (wrk)", by_wrk(SMALL, 200), _H1, long=True),
)
