"""Group 11: how cost grows with connections, with files, and with sites that have a certificate each.

The points of a curve are workloads of their own; benchmarks/pictures.py draws a line through them.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.loads import Load, h2load
from benchmarks.peers.peer import Ability
from benchmarks.processes import Running
from benchmarks.rounds import Effort, Measure, Metric, Workload
from benchmarks.setting import SMALL
from benchmarks.workloads.small_files import by_h2load

CONNECTION_COUNTS = (1, 10, 100, 1_000, 5_000)
FILE_COUNTS = (1, 10, 1_000, 100_000)
SITE_COUNTS = (1, 100, 10_000)
_MOST_WHEN_QUICK = 1_000
_COMPARED = ("securelight", "nginx", "lighttpd", "h2o", "caddy")

SITE_METRICS = (
    Metric("rate", "requests/s"),
    Metric("start", "s to start", more_is_better=False, decimals=2),
    Metric("memory", "MB after the start", more_is_better=False, decimals=1),
)


def among_files(count: int) -> Measure:
    """Files in turn, each as often as any other."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        paths = target.setting.many_files(count)
        return {"rate": h2load(target, Load(paths, True, 20, 20, seconds=effort.seconds)).rate}

    return measure


def among_sites(target: Running, effort: Effort) -> Mapping[str, float]:
    """Start time and memory of a server with many sites, and how fast the last one of them is."""
    start, kilobytes = target.start_seconds, target.kilobytes()
    host = target.place.identities[-1].host
    load = Load([SMALL], True, 20, 20, seconds=effort.seconds, host=host)
    return {"rate": h2load(target, load).rate, "start": start, "memory": kilobytes / 1024}


_SMALL, _FILES = frozenset({Ability.SMALL_FILES, Ability.HTTP2}), frozenset({Ability.FILES, Ability.HTTP2})
_SITES = frozenset({Ability.SITES, Ability.HTTP2})

WORKLOADS = (
    *(
        Workload(
            11,
            f"HTTP/2, 612 B, {count:,} connections x 1",
            by_h2load(SMALL, http2=True, connections=count),
            _SMALL,
            only=_COMPARED,
            curve="connections",
            at=count,
            long=count > _MOST_WHEN_QUICK,
        )
        for count in CONNECTION_COUNTS
    ),
    *(
        Workload(
            11,
            f"HTTP/2, one of {count:,} files, 20 x 20",
            among_files(count),
            _FILES,
            only=_COMPARED,
            curve="files",
            at=count,
            long=count > _MOST_WHEN_QUICK,
        )
        for count in FILE_COUNTS
    ),
    *(
        Workload(
            11,
            f"HTTP/2, one of {count:,} sites, 20 x 20",
            among_sites,
            _SITES,
            SITE_METRICS,
            sites=count,
            fresh=True,
            curve="sites",
            at=count,
            long=count > _MOST_WHEN_QUICK,
        )
        for count in SITE_COUNTS
    ),
)
