"""Group 4: large files, and what a gigabyte costs in processor time."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from benchmarks.loads import Load, h2load
from benchmarks.peers.peer import Ability
from benchmarks.processes import Running
from benchmarks.rounds import Effort, Measure, Metric, Workload
from benchmarks.setting import GIGABYTE, HUGE, LARGE, TEN_MEGABYTES

SPEED = Metric("speed", "MB/s")
COST = Metric("cost", "CPU s/GB", more_is_better=False, decimals=2)
TRANSFER = (SPEED, COST)


def transfer(target: Running, load: Load, size: int) -> Mapping[str, float]:
    """Speed and cost of `load`, each of whose requests moves `size` bytes."""
    before = target.cpu_seconds()
    outcome = h2load(target, load)
    gigabytes = outcome.requests * size / 1e9
    return {
        "speed": gigabytes * 1e3 / outcome.seconds,
        "cost": (target.cpu_seconds() - before) / gigabytes,
    }


@functools.cache
def _read_through(file: Path) -> None:
    """Have all of it in the page cache, so that nobody pays for being the first."""
    with file.open("rb", buffering=0) as content:
        while content.read(1 << 20):
            pass


def download(path: str, size: int, *, http2: bool, at_once: int, times: int) -> Measure:
    """`times` downloads, `at_once` of them at a time and each on its connection."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        _read_through(target.setting.file(path))
        requests = max(at_once, times // 3) if effort.quick else times
        return transfer(target, Load([path], http2, at_once, requests=requests), size)

    return measure


_H2, _H1 = frozenset({Ability.FILES, Ability.HTTP2}), frozenset({Ability.FILES, Ability.HTTP1})
_FAST = ("securelight", "nginx", "lighttpd", "caddy", "h2o", "granian")
"""What takes a minute for a gigabyte is measured with 10 MB alone."""


def _ten(*, http2: bool, at_once: int) -> Measure:
    return download(LARGE, TEN_MEGABYTES, http2=http2, at_once=at_once, times=32)


def _giga(*, http2: bool, at_once: int) -> Measure:
    return download(HUGE, GIGABYTE, http2=http2, at_once=at_once, times=at_once)


WORKLOADS = (
    Workload(4, "10 MB download, HTTP/2, 1 at once", _ten(http2=True, at_once=1), _H2, TRANSFER),
    Workload(4, "10 MB download, HTTP/2, 8 at once", _ten(http2=True, at_once=8), _H2, TRANSFER),
    Workload(4, "10 MB download, HTTP/1.1, 1 at once", _ten(http2=False, at_once=1), _H1, TRANSFER),
    Workload(4, "10 MB download, HTTP/1.1, 8 at once", _ten(http2=False, at_once=8), _H1, TRANSFER, long=True),
    Workload(4, "1 GB download, HTTP/2, 1 at once", _giga(http2=True, at_once=1), _H2, TRANSFER, only=_FAST, long=True),
    Workload(4, "1 GB download, HTTP/2, 8 at once", _giga(http2=True, at_once=8), _H2, TRANSFER, only=_FAST, long=True),
    Workload(
        4, "1 GB download, HTTP/1.1, 1 at once", _giga(http2=False, at_once=1), _H1, TRANSFER, only=_FAST, long=True
    ),
)
