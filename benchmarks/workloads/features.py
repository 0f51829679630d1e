"""Groups 15 to 17: compression, the cache, and rules. What a feature costs, in processor time of the server.

Each round asks for a plain small file with the same load too, so that the metric `times` compares two figures of one
server and one moment. Rows with different heads show what the features cost where no answer is given from memory as
it stands (server/standing_answer).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from benchmarks.loads import Load, h2load
from benchmarks.peers.peer import PASSWORD, USER, Ability
from benchmarks.processes import Running
from benchmarks.rounds import Effort, Measure, Metric, Workload
from benchmarks.setting import (
    CODED_SMALL,
    CODED_TEN,
    GUARDED,
    KEPT_MEGABYTE,
    KEPT_SMALL,
    LIMITED,
    MADE_TEN,
    RULED,
    SMALL,
)

COST = Metric("processor", "us a request", more_is_better=False, decimals=1)
TIMES = Metric("times", "times a plain small file", more_is_better=False, decimals=2, of_itself=True)
ADDED = Metric("added", "us more than a plain small file", more_is_better=False, decimals=1, of_itself=True)
DIFFERENT_HEADS = 1_500
"""Three times as many as this server keeps answers by their heads for (protocol/known_heads)."""
_PEERS = ("nginx", "lighttpd", "caddy")


def beside_plain(
    path: str, *, http2: bool, requests: int, headers: Sequence[str] = (), different: bool = False
) -> Measure:
    """A number of requests over 20 connections, once for `path` and once for a plain small file.

    Args:
        headers: `name: value`, sent to both.
        different: over one connection and 20 streams, DIFFERENT_HEADS in turn; else all the same.
    """
    queries = [f"?{number}" for number in range(DIFFERENT_HEADS)] if different else [""]
    connections, streams = (1, 20) if different else (20, 1)

    def cost(target: Running, one: str, count: int) -> float:
        load = Load([one + query for query in queries], http2, connections, streams, requests=count, headers=headers)
        before = target.cpu_seconds()
        outcome = h2load(target, load)
        return (target.cpu_seconds() - before) / outcome.requests * 1e6

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        count = requests // 5 if effort.quick else requests
        cost(target, path, max(200, len(queries)))  # what is compressed or kept once is, from here on
        plain, full = (cost(target, one, count) for one in (SMALL, path))
        return {"processor": full, "times": full / plain, "added": full - plain}

    return measure


def alone(path: str, *, http2: bool, requests: int, headers: Sequence[str] = ()) -> Measure:
    """A number of requests over 20 connections."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        before = target.cpu_seconds()
        count = requests // 5 if effort.quick else requests
        outcome = h2load(target, Load([path], http2, 20, requests=count, headers=headers))
        return {"processor": (target.cpu_seconds() - before) / outcome.requests * 1e6}

    return measure


def _accept(coding: str) -> tuple[str]:
    return (f"accept-encoding: {coding}",)


_LOGIN = (f"authorization: Basic {base64.b64encode(USER + b':' + PASSWORD).decode()}",)
_H1 = Ability.HTTP1
_WITH_VARNISH = ("nginx", "varnish")
_CODINGS = (("gzip", ()), ("br", ("securelight", "lighttpd")), ("zstd", ("securelight", "lighttpd", "caddy")))
"""Each with those that have it; all for ()."""

WORKLOADS = (
    *(
        Workload(
            15, f"{coding} on the way, 10 kB, HTTP/1.1",
            alone(MADE_TEN, http2=False, requests=2_000, headers=_accept(coding)),
            frozenset({_H1, Ability.PROXY, Ability.CODING}), (COST,), _PEERS, only=only,
        )
        for coding, only in _CODINGS
    ),
    *(
        Workload(
            15, f"{coding} file, 612 B, HTTP/1.1",
            beside_plain(CODED_SMALL, http2=False, requests=5_000, headers=_accept(coding)),
            frozenset({_H1, Ability.CODING}), (TIMES, COST), _PEERS, only=only,
        )
        for coding, only in _CODINGS
    ),
    Workload(
        15, "gzip file, 612 B, HTTP/2",
        beside_plain(CODED_SMALL, http2=True, requests=5_000, headers=_accept("gzip")),
        frozenset({Ability.HTTP2, Ability.CODING}), (TIMES, COST), _PEERS,
    ),
    Workload(
        15, "gzip file, 10 kB, HTTP/1.1",
        beside_plain(CODED_TEN, http2=False, requests=5_000, headers=_accept("gzip")),
        frozenset({_H1, Ability.CODING}), (TIMES, COST), _PEERS,
    ),
    Workload(
        16, "cache hit, 612 B, HTTP/1.1", beside_plain(KEPT_SMALL, http2=False, requests=5_000),
        frozenset({_H1, Ability.SMALL_FILES, Ability.PROXY, Ability.CACHE}), (TIMES, COST), ("nginx",),
    ),
    Workload(
        16, "cache hit, 612 B, HTTP/2", beside_plain(KEPT_SMALL, http2=True, requests=5_000),
        frozenset({Ability.HTTP2, Ability.SMALL_FILES, Ability.PROXY, Ability.CACHE}), (TIMES, COST), ("nginx",),
    ),
    Workload(
        16, "cache hit, 612 B, HTTP/2, different heads",
        beside_plain(KEPT_SMALL, http2=True, requests=6_000, different=True),
        frozenset({Ability.HTTP2, Ability.SMALL_FILES, Ability.PROXY, Ability.CACHE}), (TIMES, COST), ("nginx",),
    ),
    Workload(
        16, "cache hit, 612 B, HTTP/1.1, beside Varnish", alone(KEPT_SMALL, http2=False, requests=5_000),
        frozenset({_H1, Ability.PROXY, Ability.CACHE}), (COST,), _WITH_VARNISH,
    ),
    Workload(
        16, "cache hit, 1 MB, HTTP/1.1", alone(KEPT_MEGABYTE, http2=False, requests=500),
        frozenset({_H1, Ability.PROXY, Ability.CACHE}), (COST,), _WITH_VARNISH,
    ),
    Workload(
        17, "100 rules, HTTP/2, different heads", beside_plain(RULED, http2=True, requests=6_000, different=True),
        frozenset({Ability.HTTP2, Ability.RULES}), (ADDED, COST), _PEERS,
    ),
    Workload(
        17, "100 rules", beside_plain(RULED, http2=False, requests=5_000),
        frozenset({_H1, Ability.RULES}), (ADDED, COST), _PEERS,
    ),
    Workload(
        17, "rate limit", beside_plain(LIMITED, http2=False, requests=5_000),
        frozenset({_H1, Ability.LIMITS}), (ADDED, COST), ("nginx",),
    ),
    Workload(
        17, "passwords", beside_plain(GUARDED, http2=False, requests=3_000, headers=_LOGIN),
        frozenset({_H1, Ability.PASSWORDS}), (ADDED, COST), _PEERS,
    ),
)  # fmt: skip
