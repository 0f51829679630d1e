"""Metrics for Prometheus, in its text format, of all workers together.

Totals never shrink while the server runs: what a worker had counted when it ended is kept. Whichever worker is asked,
the answer is the same, but for the last second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.scoreboard import SECONDS_BOUNDS
from securelight.pipeline.status_report import LOOPBACK, ServerStatus, network_faults, only_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Handler

_FIELDS = (
    (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_READ_METHODS = frozenset({"GET", "HEAD"})


class MetricsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`metrics`: numbers for Prometheus."""

    allow: tuple[str, ...] = LOOPBACK
    """Addresses and networks that may see them."""


def exposition(status: ServerStatus) -> str:
    """The text format of Prometheus, version 0.0.4."""
    return "".join(f"{line}\n" for line in _lines(status))


def _lines(status: ServerStatus) -> Iterator[str]:
    counts, workers, supervisor = status.counts, status.workers, status.supervisor
    yield from _one("info", "gauge", "The server; always 1.", [({"version": supervisor.version}, 1)])
    yield from _one("start_time_seconds", "gauge", "When the server started.", [({}, supervisor.started)])
    yield from _one("workers", "gauge", "Worker processes that run.", [({}, len(workers))])
    yield from _one("ended_workers_total", "counter", "Workers that have ended.", [({}, supervisor.ended_workers)])
    yield from _one(
        "requests_total",
        "counter",
        "Finished requests, by status.",
        [({"status": str(code)}, number) for code, number in sorted(counts.statuses.items())],
    )
    yield from _one("sent_bytes_total", "counter", "Bytes of response bodies.", [({}, counts.sent_bytes)])
    yield from _seconds(counts.classes, counts.seconds)
    yield from _one("accepted_connections_total", "counter", "Connections accepted.", [({}, counts.accepted)])
    yield from _one(
        "connections",
        "gauge",
        "Open connections, by protocol; opening is before the end of the handshake.",
        [({"protocol": protocol or "opening"}, number) for protocol, number in sorted(status.connections.items())],
    )
    yield from _one("streams", "gauge", "Requests on their way.", [({}, sum(one.streams for one in workers))])
    yield from _one(
        "faults_total",
        "counter",
        "What peers did wrong and was stopped, and our own failures, by kind.",
        [({"kind": what}, number) for what, number in sorted(counts.faults.items())],
    )
    for name, attribute, text in (
        ("content_cache_bytes", "cache_bytes", "Bytes in the content caches."),
        ("content_cache_entries", "cache_entries", "Entries in the content caches."),
        ("open_files", "open_files", "Files held open by the content caches."),
        ("answer_cache_bytes", "answer_bytes", "Bytes that the caches of answers hold in memory."),
        ("answer_cache_entries", "answer_entries", "Answers that those hold."),
        ("busy_threads", "threads", "Threads that read cold files and work for handlers."),
    ):
        yield from _one(name, "gauge", text, [({}, sum(getattr(one, attribute) for one in workers))])
    yield from _one(
        "worker_memory_bytes",
        "gauge",
        "Resident memory of each worker.",
        [({"worker": str(one.number), "process": str(one.process_id)}, one.memory_bytes) for one in workers],
    )
    yield from _one(
        "upstream_up",
        "gauge",
        "The part of the workers that ask this upstream.",
        [({"url": url}, up / seen) for url, (up, seen, _) in sorted(status.upstreams.items())],
    )
    yield from _one(
        "upstream_requests",
        "gauge",
        "Requests under way at this upstream.",
        [({"url": url}, load) for url, (_, _, load) in sorted(status.upstreams.items())],
    )
    yield from _one(
        "certificate_not_after_seconds",
        "gauge",
        "When a certificate of the server ends.",
        [({"file": one.file}, one.not_after) for one in supervisor.certificates],
    )


def _seconds(classes: Sequence[int], seconds: float) -> Iterator[str]:
    name = "securelight_request_seconds"
    yield f"# HELP {name} From the head of a request to the end of its answer; without answers that stood ready."
    yield f"# TYPE {name} histogram"
    total = 0
    for bound, number in zip((*map(str, SECONDS_BOUNDS), "+Inf"), classes, strict=False):
        total += number
        yield f'{name}_bucket{{le="{bound}"}} {total}'
    if not classes:
        yield f'{name}_bucket{{le="+Inf"}} 0'
    yield f"{name}_sum {seconds!r}"
    yield f"{name}_count {total}"


def _one(name: str, kind: str, text: str, samples: Sequence[tuple[dict[str, str], Any]]) -> Iterator[str]:
    yield f"# HELP securelight_{name} {text}"
    yield f"# TYPE securelight_{name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"securelight_{name}{{{inside}}} {value!r}" if inside else f"securelight_{name} {value!r}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def check(settings: MetricsConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return network_faults("allow", settings.allow)


def build(settings: MetricsConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    board = context.scoreboard
    board.wanted = True
    admit = only_for(settings.allow)

    def metrics(request: Request, facts: Facts) -> Response:
        admit(request, facts)
        if request.method not in _READ_METHODS:
            raise Refusal(405, "Use GET.", fields=((b"allow", b"GET, HEAD"),))
        return Response(200, _FIELDS, exposition(ServerStatus(board)).encode())

    return metrics


FEATURE = Feature(name="metrics", kind="handler", config_class=MetricsConfig, build=build, check=check)
