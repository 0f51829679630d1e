"""Metrics for Prometheus, of all workers together, written by its own library (prometheus-client).

Totals never shrink while the server runs: what a worker had counted when it ended is kept. Whichever worker is asked,
the answer is the same, but for the last second. OpenMetrics for who asks for it, else the older text format, which
everything reads. The library is an extra, and loaded only where metrics are configured.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final

import msgspec

from securelight.model.errors import ConfigError, Refusal
from securelight.model.extras import install_command
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.scoreboard import SECONDS_BOUNDS
from securelight.pipeline.status_report import LOOPBACK, ServerStatus, network_faults, only_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from prometheus_client.core import Metric

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Handler

_FIELDS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), (b"vary", b"accept"))
_TEXT: Final = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
_OPENMETRICS: Final = (b"content-type", b"application/openmetrics-text; version=1.0.0; charset=utf-8")
_READ_METHODS = frozenset({"GET", "HEAD"})
MISSING: Final = f"metrics need a library; run: {install_command('metrics')}"


class MetricsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`metrics`: numbers for Prometheus."""

    allow: tuple[str, ...] = LOOPBACK
    """Addresses and networks that may see them."""


class StatusCollector:
    """What the library asks for metrics: those of `status`, one family after the other."""

    def __init__(self, status: ServerStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """All families."""
        from prometheus_client import core  # noqa: PLC0415 - an extra; `build` has loaded it

        yield core.InfoMetricFamily(
            "securelight", "The server; always 1.", value={"version": self._status.supervisor.version}
        )
        for name, text, labels, samples in _rows(self._status):
            kind = core.CounterMetricFamily if name.endswith("_total") else core.GaugeMetricFamily
            family = kind(f"securelight_{name}", text, labels=labels)
            for values, number in samples:
                family.add_metric(values, number)
            yield family
        total, buckets = 0, []
        bounds = (*map(str, SECONDS_BOUNDS), "+Inf")
        counts = self._status.counts
        for bound, number in zip(bounds, (*counts.classes, *(0,) * len(bounds)), strict=False):
            total += number
            buckets.append((bound, total))
        yield core.HistogramMetricFamily(
            "securelight_request_seconds",
            "From the head of a request to the end of its answer; without answers that stood ready.",
            buckets=buckets,
            sum_value=counts.seconds,
        )


def _rows(status: ServerStatus) -> Iterator[tuple[str, str, Sequence[str], Sequence[tuple[Sequence[str], float]]]]:
    """Name, what it is, its labels, and their values with a number, of each gauge and counter (`_total`)."""
    counts, workers, supervisor = status.counts, status.workers, status.supervisor
    for name, number, text in (
        ("start_time_seconds", supervisor.started, "When the server started."),
        ("workers", len(workers), "Worker processes that run."),
        ("ended_workers_total", supervisor.ended_workers, "Workers that have ended."),
        ("sent_bytes_total", counts.sent_bytes, "Bytes of response bodies."),
        ("accepted_connections_total", counts.accepted, "Connections accepted."),
        ("streams", sum(one.streams for one in workers), "Requests on their way."),
        ("content_cache_bytes", sum(one.cache_bytes for one in workers), "Bytes in the content caches."),
        ("content_cache_entries", sum(one.cache_entries for one in workers), "Entries in the content caches."),
        ("open_files", sum(one.open_files for one in workers), "Files held open by the content caches."),
        (
            "answer_cache_bytes",
            sum(one.answer_bytes for one in workers),
            "Bytes that caches of answers hold in memory.",
        ),
        ("answer_cache_entries", sum(one.answer_entries for one in workers), "Answers that those hold."),
        ("busy_threads", sum(one.threads for one in workers), "Threads that read cold files and work for handlers."),
    ):
        yield name, text, (), [((), number)]
    yield (
        "requests_total",
        "Finished requests, by status.",
        ["status"],
        [([str(code)], number) for code, number in sorted(counts.statuses.items())],
    )
    yield (
        "connections",
        "Open connections, by protocol; opening is before the end of the handshake.",
        ["protocol"],
        [([protocol or "opening"], number) for protocol, number in sorted(status.connections.items())],
    )
    yield (
        "faults_total",
        "What peers did wrong and was stopped, and our own failures, by kind.",
        ["kind"],
        [([what], number) for what, number in sorted(counts.faults.items())],
    )
    yield (
        "worker_memory_bytes",
        "Resident memory of each worker.",
        ["worker", "process"],
        [([str(one.number), str(one.process_id)], one.memory_bytes) for one in workers],
    )
    upstreams = sorted(status.upstreams.items())
    yield (
        "upstream_up",
        "The part of the workers that ask this upstream.",
        ["url"],
        [([url], up / seen) for url, (up, seen, _) in upstreams],
    )
    yield (
        "upstream_requests",
        "Requests under way at this upstream.",
        ["url"],
        [([url], load) for url, (_, _, load) in upstreams],
    )
    yield (
        "certificate_not_after_seconds",
        "When a certificate of the server ends.",
        ["file"],
        [([one.file], one.not_after) for one in supervisor.certificates],
    )


def _wants_openmetrics(accept: bytes) -> bool:
    """Whether an Accept field names a version of OpenMetrics that is ours (1.0), or no version of it."""
    for part in accept.lower().replace(b" ", b"").split(b","):
        name, *parameters = part.split(b";")
        versions = [one for one in parameters if one.startswith(b"version=")]
        if name == b"application/openmetrics-text" and versions in ([], [b"version=1.0.0"]):
            return True
    return False


def check(settings: MetricsConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = network_faults("allow", settings.allow)
    if importlib.util.find_spec("prometheus_client") is None:
        faults.append(MISSING)
    return faults


def build(settings: MetricsConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    importlib.import_module("prometheus_client.core")
    text: Any = importlib.import_module("prometheus_client.exposition")
    openmetrics: Any = importlib.import_module("prometheus_client.openmetrics.exposition")
    board = context.scoreboard
    board.wanted = True
    admit = only_for(settings.allow)

    def metrics(request: Request, facts: Facts) -> Response:
        admit(request, facts)
        if request.method not in _READ_METHODS:
            raise Refusal(405, "Use GET.", fields=((b"allow", b"GET, HEAD"),))
        collector = StatusCollector(ServerStatus(board))
        if _wants_openmetrics(request.headers.get(b"accept") or b""):
            return Response(200, (_OPENMETRICS, *_FIELDS), openmetrics.generate_latest(collector))
        return Response(200, (_TEXT, *_FIELDS), text.generate_latest(collector))

    return metrics


FEATURE = Feature(name="metrics", kind="handler", config_class=MetricsConfig, build=build, check=check)
