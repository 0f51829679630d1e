"""Group 8: ASGI applications, on the servers that run them."""

from __future__ import annotations

from benchmarks.peers.peer import Ability
from benchmarks.rounds import APPLICATION_SERVERS, Workload
from benchmarks.workloads.small_files import by_h2load


def _both(name: str, path: str) -> tuple[Workload, Workload]:
    return (
        Workload(
            8,
            f"{name}, HTTP/2, 20 x 20",
            by_h2load(path, http2=True, connections=20, streams=20),
            frozenset({Ability.APPLICATIONS, Ability.HTTP2}),
            baselines=APPLICATION_SERVERS,
            application=True,
        ),
        Workload(
            8,
            f"{name}, HTTP/1.1, 20 connections",
            by_h2load(path, http2=False, connections=20),
            frozenset({Ability.APPLICATIONS, Ability.HTTP1}),
            baselines=APPLICATION_SERVERS,
            application=True,
        ),
    )


WORKLOADS = (
    *_both("ASGI hello", "/hello"),
    *_both("ASGI 10 kB of JSON", "/json"),
    *_both("Starlette route", "/items/3"),
)
