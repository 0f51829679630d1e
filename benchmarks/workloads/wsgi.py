"""Group 19: a hello of a WSGI application, and its cost in processor time."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.loads import Load, h2load
from benchmarks.peers.peer import Ability
from benchmarks.processes import Running
from benchmarks.rounds import RATE, Effort, Measure, Workload
from benchmarks.workloads.proxying import COST

WSGI_SERVERS = ("hypercorn-wsgi", "granian-wsgi", "gunicorn")


def hello(*, http2: bool, streams: int, requests: int) -> Measure:
    """A number of requests over 20 connections."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        count = requests // 5 if effort.quick else requests
        before = target.cpu_seconds()
        outcome = h2load(target, Load(["/wsgi/hello"], http2, 20, streams, requests=count))
        return {
            "rate": outcome.requests / outcome.seconds,
            "processor": (target.cpu_seconds() - before) / outcome.requests * 1e6,
        }

    return measure


def _row(name: str, measure: Measure, version: Ability) -> Workload:
    needs = frozenset({Ability.WSGI, version})
    return Workload(19, name, measure, needs, (RATE, COST), WSGI_SERVERS, application=True)


WORKLOADS = (
    _row("WSGI hello, HTTP/2, 20 x 20", hello(http2=True, streams=20, requests=4000), Ability.HTTP2),
    _row("WSGI hello, HTTP/1.1, 20 connections", hello(http2=False, streams=1, requests=4000), Ability.HTTP1),
)
