"""Group 20: WebSockets of an ASGI application over HTTP/1.1: messages that are echoed, and many that are idle."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from contextlib import ExitStack, closing

from benchmarks.peers.peer import Ability
from benchmarks.processes import BenchmarkError, Running, client_context, cores
from benchmarks.rounds import APPLICATION_SERVERS, Effort, Measure, Metric, Workload
from benchmarks.setting import connection_limit
from benchmarks.websocket_load import Echoes, frame_of, open_socket
from benchmarks.workloads.memory import EACH, WARM_UP_CONNECTIONS

MESSAGES = Metric("messages", "messages/s")
COST = Metric("processor", "us a message", more_is_better=False, decimals=1)
CONNECTIONS = 20


def _opened(stack: ExitStack, target: Running, count: int) -> list[ssl.SSLSocket]:
    context = client_context(target.setting, "http/1.1")
    url = f"wss://localhost:{target.port}/echo"
    try:
        return [stack.enter_context(closing(open_socket(url, context))) for _ in range(count)]
    except ValueError as error:
        raise BenchmarkError(str(error)) from error


def echo(payload_bytes: int, burst: int) -> Measure:
    """As fast as it goes, from the core of the load."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        usable = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cores()[1]})
        try:
            with ExitStack() as stack:
                echoes = Echoes(_opened(stack, target, CONNECTIONS), *frame_of(payload_bytes), burst)
                before = target.cpu_seconds()
                taken = echoes.run(effort.seconds)
                used = target.cpu_seconds() - before
        finally:
            os.sched_setaffinity(0, usable)
        if not echoes.messages:
            raise BenchmarkError("nothing was echoed")
        return {"messages": echoes.messages / taken, "processor": used / echoes.messages * 1e6}

    return measure


def idle(count: int) -> Measure:
    """What each of `count` WebSockets holds on which nobody speaks, or of as many as there may be descriptors for."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        number = min(count, connection_limit() - WARM_UP_CONNECTIONS) // (10 if effort.quick else 1)
        with ExitStack() as stack:
            _opened(stack, target, WARM_UP_CONNECTIONS)
            before = target.kilobytes()
            _opened(stack, target, number)
            return {"each": (target.kilobytes() - before) / number}

    return measure


_NEEDS = frozenset({Ability.WEBSOCKETS})


def _echo_row(name: str, measure: Measure) -> Workload:
    return Workload(20, name, measure, _NEEDS, (MESSAGES, COST), APPLICATION_SERVERS, application=True)


WORKLOADS = (
    _echo_row("WebSocket echo, 64 B, 20 connections", echo(64, 1)),
    _echo_row("WebSocket echo, 64 B, 20 connections, 10 at once", echo(64, 10)),
    Workload(
        20, "idle WebSocket, of 5,000", idle(5_000), _NEEDS, (EACH,), APPLICATION_SERVERS, application=True, fresh=True
    ),
)
