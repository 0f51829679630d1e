"""Group 18: a hello of PHP. What each request costs the server in front of php-fpm, in processor time.

The rate is bounded by php-fpm and the load, which share a core.
"""

from __future__ import annotations

from benchmarks.peers.peer import Ability
from benchmarks.rounds import RATE, Workload
from benchmarks.setting import PHP_HELLO
from benchmarks.workloads.proxying import COST, by_cost


def _row(name: str, version: Ability, *, http2: bool) -> Workload:
    needs = frozenset({Ability.FASTCGI, version})
    return Workload(18, name, by_cost(PHP_HELLO, http2=http2, requests=3000), needs, (COST, RATE))


WORKLOADS = (
    _row("FastCGI hello of php-fpm, HTTP/1.1", Ability.HTTP1, http2=False),
    _row("FastCGI hello of php-fpm, HTTP/2", Ability.HTTP2, http2=True),
)
