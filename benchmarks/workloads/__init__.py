"""What is asked of the servers: a file a group, one row of WORKLOADS a workload.

The numbers of the groups are those of docs/performance.md. Group 12, instructions a request, needs no peers and stands
in benchmarks/instructions.py.
"""

from __future__ import annotations

from benchmarks.rounds import Workload
from benchmarks.workloads import (
    applications,
    conditional,
    downloads,
    features,
    growth,
    handshakes,
    latency,
    memory,
    pages,
    php,
    proxying,
    small_files,
    uploads,
    websockets,
    wsgi,
)

WORKLOADS: tuple[Workload, ...] = (
    *small_files.WORKLOADS,
    *pages.WORKLOADS,
    *downloads.WORKLOADS,
    *uploads.WORKLOADS,
    *handshakes.WORKLOADS,
    *conditional.WORKLOADS,
    *applications.WORKLOADS,
    *latency.WORKLOADS,
    *memory.WORKLOADS,
    *growth.WORKLOADS,
    *proxying.WORKLOADS,
    *features.WORKLOADS,
    *php.WORKLOADS,
    *wsgi.WORKLOADS,
    *websockets.WORKLOADS,
)
