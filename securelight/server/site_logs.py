"""Several access logs in one worker: sites with logs of their own, formats by template, outputs that are no files.

Which log a request belongs to stands in `facts.log` (stages/log), nothing for the server's own. A server that asks for
none of this has the plain AccessLog instead, and pays nothing.
"""

from __future__ import annotations

import time
from collections import _count_elements  # type: ignore[attr-defined] # as in access_log
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from securelight.config.logs import Log, Output
from securelight.model.request import Facts, Request
from securelight.pipeline.compile import EventLog
from securelight.server.access_log import BATCH_LINES, AccessLog
from securelight.server.log_format import ADDRESS_MARK, TIME_MARKS, Entry, Format, Moment, escape
from securelight.server.log_network import network_sink
from securelight.server.log_sinks import FileSink, Sink

_ERRORS = 400
_SWITCHING = 101
_COUNTED = ' HTTP/2" {} {} "'
"""As reporter.Counters reads it."""


class Batch:
    """The lines for one output until they are written; logs with the same output share it."""

    __slots__ = ("lines", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.lines: list[str] = []

    def flush(self) -> None:
        """Write what there is."""
        self.sink.write("".join(self.lines).encode("utf-8", "backslashreplace"))
        self.lines.clear()


class SiteLog:
    """One log: its format, its output, and which requests it writes.

    Args:
        log: its settings.
        batch: its output; None for none.
    """

    __slots__ = ("_format", "_one_in", "_passed", "batch", "hide_query", "slow_seconds")

    def __init__(self, log: Log, batch: Batch | None) -> None:
        self._format = Format(log.form, hide_query=log.hide_query) if batch is not None else None
        self._one_in = log.one_in
        self._passed = 0
        self.batch = batch
        self.hide_query = log.hide_query
        self.slow_seconds = log.slow_seconds

    def takes(self, status: int) -> bool:
        """Whether a request with this status is written."""
        if self._one_in == 1 or status >= _ERRORS:
            return True
        self._passed += 1
        if self._passed < self._one_in:
            return False
        self._passed = 0
        return True

    def add(self, entry: Entry) -> None:
        """Write a request."""
        batch = self.batch
        if batch is not None and self._format is not None and self.takes(entry.status):
            batch.lines.append(self._format.line(entry))
            if len(batch.lines) >= BATCH_LINES:
                batch.flush()

    def repeated(self, request: Request, status: int, sent_bytes: int) -> RepeatedLine | None:
        """See AccessLog.repeated."""
        counted = _COUNTED.format(status, sent_bytes)
        if self._format is None:
            return RepeatedLine(self, "", status, counted)
        text = self._format.repeated(request, status, sent_bytes)
        return None if text is None else RepeatedLine(self, text, status, counted)


class RepeatedLine:
    """The line of a request whose head comes again.

    Attributes:
        log: that it belongs to.
        text: with marks for who and when.
        counted: what the counters read.
    """

    __slots__ = ("counted", "log", "status", "text")

    def __init__(self, log: SiteLog, text: str, status: int, counted: str) -> None:
        self.log = log
        self.text = text
        self.status = status
        self.counted = counted


class LogTable(AccessLog):
    """All logs of a worker, in place of one.

    Args:
        logs: by their place; the empty one is the server's.
        descriptors: of those outputs that are written to one, by output; owned by the caller.
    """

    __slots__ = ("_batches", "_default", "_logs")

    def __init__(self, logs: Mapping[str, Log], descriptors: Mapping[Output, int]) -> None:
        super().__init__(-1, "off")
        outputs = dict.fromkeys(log.output for log in logs.values() if log.output is not None)
        self._batches = {
            output: Batch(FileSink(descriptors[output]) if output in descriptors else network_sink(output))
            for output in outputs
        }
        self._logs = {
            where: SiteLog(log, None if log.output is None else self._batches[log.output])
            for where, log in logs.items()
        }
        self._default = self._logs[""]

    def _sinks(self) -> Iterable[tuple[str, Sink]]:
        return [(str(output), batch.sink) for output, batch in self._batches.items()]

    def reopen(self, descriptor: int, number: int = 0) -> int:
        """As AccessLog's; `number` is that of the output among those that are written to a descriptor."""
        self.flush()
        files = [batch for batch in self._batches.values() if isinstance(batch.sink, FileSink)]
        return files[number].sink.reopen(descriptor) if number < len(files) else descriptor

    def record(self, request: Request, facts: Facts, status: int, sent_bytes: int, started: float) -> None:
        """See AccessLog."""
        seconds = time.monotonic() - started
        if self.counters is not None:
            self.counters.count(status, sent_bytes, seconds)
        log = self._logs.get(facts.log, self._default) if facts.log else self._default
        if log.slow_seconds and seconds > log.slow_seconds and self.events is not None:
            _tell_slow(self.events, request, facts, status, seconds, hide_query=log.hide_query)
        if log.batch is not None:
            moment = self._moment
            moment.look()
            log.add(Entry(request, facts, status, sent_bytes, seconds, moment))

    def repeated(self, request: Request, facts: Facts, status: int, sent_bytes: int) -> Any:
        """See AccessLog."""
        return self._logs.get(facts.log, self._default).repeated(request, status, sent_bytes)

    def record_repeated(self, client_address: str, lines: Sequence[Any]) -> None:
        """See AccessLog."""
        if self.counters is not None:
            _count_elements(self.counters.repeated, [line.counted for line in lines])
        moment: Moment = self._moment
        moment.look()
        for line in lines:
            batch = line.log.batch
            if batch is None or not line.log.takes(line.status):
                continue
            text: str = line.text.replace(ADDRESS_MARK, client_address or "-")
            text = text.replace(TIME_MARKS["time"], moment.common).replace(TIME_MARKS["time_iso"], moment.iso)
            batch.lines.append(text)
            if len(batch.lines) >= BATCH_LINES:
                batch.flush()

    def flush(self) -> None:
        """See AccessLog."""
        if self.counters is not None:
            self.counters.settle()
        for batch in self._batches.values():
            batch.flush()


def _tell_slow(
    events: EventLog, request: Request, facts: Facts, status: int, seconds: float, *, hide_query: bool
) -> None:
    if status == _SWITCHING or request.method == "CONNECT":
        return  # a tunnel takes as long as it takes
    events.warning(
        "slow request",
        method=request.method,
        host=request.authority,
        target=escape(request.target.partition(b"?")[0] if hide_query else request.target),
        status=status,
        seconds=round(seconds, 3),
        client=facts.client_address,
    )
