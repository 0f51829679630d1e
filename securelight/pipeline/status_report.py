"""All workers' reports together, and who may see them."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from securelight.model.errors import Refusal
from securelight.model.request import UNIX
from securelight.pipeline.scoreboard import HISTORY_SECONDS, Counts, Scoreboard, UpstreamReport, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.model.request import Facts, Request

LOOPBACK = ("127.0.0.0/8", "::1/128")
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})


class ServerStatus:
    """The server at this moment.

    Attributes:
        supervisor: its report.
        workers: their reports.
        counts: of all workers, those that have ended too.
        connections: by protocol.
        history: requests of all workers in each of the last seconds, the latest last.
        upstreams: by URL, each with (workers that think it is well, workers, requests on their way).
    """

    def __init__(self, board: Scoreboard) -> None:
        self.now = time.time()
        self.supervisor = board.supervisor()
        self.workers: list[WorkerReport] = board.workers()
        self.counts = Counts()
        self.counts.add(self.supervisor.ended)
        self.connections: dict[str, int] = {}
        self.history = [0] * HISTORY_SECONDS
        self.upstreams: dict[str, tuple[int, int, int]] = {}
        for worker in self.workers:
            self.counts.add(worker.counts)
            for protocol, number in worker.connections.items():
                self.connections[protocol] = self.connections.get(protocol, 0) + number
            for place, number in enumerate(reversed(worker.history), 1):
                self.history[-place] += number
            for upstream in worker.upstreams:
                self._add(upstream)

    def _add(self, upstream: UpstreamReport) -> None:
        up, workers, load = self.upstreams.get(upstream.url, (0, 0, 0))
        self.upstreams[upstream.url] = up + upstream.up, workers + 1, load + upstream.load

    @property
    def requests_per_second(self) -> float:
        """Over the last five seconds."""
        return sum(self.history[-5:]) / 5

    def values(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "version": self.supervisor.version,
            "started": self.supervisor.started,
            "now": self.now,
            "requests": self.counts.requests,
            "requests_per_second": self.requests_per_second,
            "statuses": {str(status): number for status, number in sorted(self.counts.statuses.items())},
            "sent_bytes": self.counts.sent_bytes,
            "connections": {protocol or "opening": number for protocol, number in self.connections.items()},
            "accepted": self.counts.accepted,
            "streams": sum(worker.streams for worker in self.workers),
            "cache": {
                "bytes": sum(worker.cache_bytes for worker in self.workers),
                "entries": sum(worker.cache_entries for worker in self.workers),
                "open_files": sum(worker.open_files for worker in self.workers),
            },
            "answers": {
                "bytes": sum(worker.answer_bytes for worker in self.workers),
                "entries": sum(worker.answer_entries for worker in self.workers),
            },
            "faults": dict(sorted(self.counts.faults.items())),
            "ended_workers": self.supervisor.ended_workers,
            "workers": [
                {
                    "number": worker.number,
                    "process": worker.process_id,
                    "started": worker.started,
                    "draining": worker.draining,
                    "connections": sum(worker.connections.values()),
                    "streams": worker.streams,
                    "requests": worker.counts.requests,
                    "threads": worker.threads,
                    "memory_bytes": worker.memory_bytes,
                }
                for worker in self.workers
            ],
            "upstreams": [
                {"url": url, "up": up, "workers": workers, "requests": load}
                for url, (up, workers, load) in sorted(self.upstreams.items())
            ],
            "certificates": [{"file": one.file, "not_after": one.not_after} for one in self.supervisor.certificates],
            "history": self.history,
        }


def network_faults(key: str, networks: Sequence[str]) -> list[str]:
    """What is wrong with a list of addresses and networks in the settings."""
    faults = []
    for text in networks:
        try:
            if text != UNIX:
                ip_network(text)
        except ValueError as error:
            faults.append(f"{key}: {error}; write an address or a network such as 192.0.2.0/24")
    return faults


def only_for(networks: Sequence[str]) -> Callable[[Request, Facts], None]:
    """A check that refuses (403) whoever is not in `networks`.

    A request that came through a proxy which is not trusted has that proxy's address, which is often the loopback's:
    it is refused too.
    """
    allowed = tuple(ip_network(text) for text in networks if text != UNIX)
    unix_too = UNIX in networks

    def check(request: Request, facts: Facts) -> None:
        address = facts.client_address
        if address == request.peer.address and not request.headers.isdisjoint(_FORWARDED) and address:
            raise Refusal(403, "This is not for you.", "it came through a proxy that is not trusted")
        if address == UNIX and unix_too:
            return
        try:
            client = ip_address(address)
        except ValueError:
            raise Refusal(403, "This is not for you.", f"no address: {address!r}") from None
        if not any(client in network for network in allowed):
            raise Refusal(403, "This is not for you.", f"{address} is not allowed")

    return check
