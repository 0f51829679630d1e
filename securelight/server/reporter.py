"""Counts a worker's requests, and writes its report on the scoreboard once a second.

Counting is a few additions for each request where something shows the status, and nothing at all where nothing does.
Answers that are given again are counted by their lines in the access log, many in one call, and told apart later.
"""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from securelight.pipeline.scoreboard import (
    HISTORY_SECONDS,
    SECONDS_BOUNDS,
    Counts,
    Scoreboard,
    UpstreamReport,
    WorkerReport,
)
from securelight.upstream.service import UpstreamService

if TYPE_CHECKING:
    from securelight.files.content_cache import ContentCache
    from securelight.server.fence import Fence
    from securelight.server.listener import Listener

REPORT_SECONDS = 1.0
_MOST_FAULTS = 100
_MOST_UPSTREAMS = 100
_STATUS_AND_BYTES = re.compile(r' HTTP/[0-9.]+" ([0-9]{3}) ([0-9]+) "')
"""In a line of the access log; the target before it has its quotes escaped."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Counters:
    """What the access log counts.

    Attributes:
        repeated: answers that were given again, by their line.
    """

    __slots__ = ("_classes", "_seconds", "_sent_bytes", "_statuses", "repeated")

    def __init__(self) -> None:
        self._statuses = [0] * 1000
        self._classes = [0] * (len(SECONDS_BOUNDS) + 1)
        self._seconds = 0.0
        self._sent_bytes = 0
        self.repeated: dict[str, int] = {}

    def count(self, status: int, sent_bytes: int, seconds: float) -> None:
        """A request has ended."""
        self._statuses[status] += 1
        self._sent_bytes += sent_bytes
        self._seconds += seconds
        self._classes[bisect_left(SECONDS_BOUNDS, seconds)] += 1

    def settle(self) -> None:
        """Add up `repeated`."""
        for line, number in self.repeated.items():
            match = _STATUS_AND_BYTES.search(line)
            if match is not None:
                self._statuses[int(match[1])] += number
                self._sent_bytes += number * int(match[2])
        self.repeated.clear()

    def counts(self, accepted: int, faults: dict[str, int]) -> Counts:
        """All of it so far, with what others have counted."""
        self.settle()
        statuses = {status: number for status, number in enumerate(self._statuses) if number}
        return Counts(statuses, self._sent_bytes, self._seconds, list(self._classes), accepted, faults)


class Reporter:
    """Writes the reports of one worker.

    Args:
        board: with the slot of this worker.
        number: of the worker.
        counters: of the access log.
        listeners: those that serve, once there are any.
        services: what runs beside the requests.
    """

    def __init__(
        self,
        board: Scoreboard,
        number: int,
        counters: Counters,
        listeners: Callable[[], Sequence[Listener]],
        services: Sequence[object],
    ) -> None:
        self._board = board
        self._number = number
        self._counters = counters
        self._listeners = listeners
        self._services = [service for service in services if isinstance(service, UpstreamService)]
        self._started = time.time()
        self._history: deque[int] = deque(maxlen=HISTORY_SECONDS)
        self._requests = 0

    async def run(self, fence: Fence, cache: ContentCache, threads: trio.CapacityLimiter) -> None:
        """Write a report every second until cancelled, and once more then."""
        try:
            while True:
                self._write(fence, cache, threads)
                await trio.sleep(REPORT_SECONDS)
        finally:
            self._write(fence, cache, threads)

    def _write(self, fence: Fence, cache: ContentCache, threads: trio.CapacityLimiter) -> None:
        listeners = self._listeners()
        connections: dict[str, int] = {}
        streams = 0
        for listener in listeners:
            for protocol, open_requests in listener.open_connections():
                connections[protocol] = connections.get(protocol, 0) + 1
                streams += open_requests
        faults = dict(fence.counts.most_common(_MOST_FAULTS))
        counts = self._counters.counts(sum(listener.accepted for listener in listeners), faults)
        self._history.append(counts.requests - self._requests)
        self._requests = counts.requests
        report = WorkerReport(
            number=self._number,
            process_id=os.getpid(),
            started=self._started,
            written=time.time(),
            draining=self._board.draining,
            connections=connections,
            streams=streams,
            cache_bytes=cache.used_bytes,
            cache_entries=len(cache),
            open_files=cache.descriptors,
            answer_bytes=sum(held.used_bytes for held in self._board.answers),
            answer_entries=sum(len(held) for held in self._board.answers),
            threads=threads.borrowed_tokens,
            memory_bytes=_memory_bytes(),
            history=list(self._history),
            upstreams=self._upstreams(),
            counts=counts,
        )
        self._board.write(report, self._board.slot)

    def _upstreams(self) -> list[UpstreamReport]:
        now = time.monotonic()
        found = [
            UpstreamReport(endpoint.name, endpoint.health.is_up(now), endpoint.load)
            for service in self._services
            for endpoint in service.endpoints
        ]
        return found[:_MOST_UPSTREAMS]


def _memory_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
