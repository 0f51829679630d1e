"""What goes on beside the requests for as long as a worker lives: checks of the servers, and the end of connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from securelight.upstream.faults import UpstreamFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.upstream.endpoint import Endpoint

LEAST_SWEEP_SECONDS = 0.5
CHECK_BODY_BYTES = 1 << 20
"""As much of the answer to a check is read; a page that is longer is no page for checks."""


@dataclass(frozen=True, slots=True)
class CheckRules:
    """Active checks.

    Attributes:
        path: what is asked for; empty for no checks.
        host: the Host field; that of the address by default.
        statuses: the first and last status that is good.
        seconds: between two checks of one server.
        timeout_seconds: for one check.
    """

    path: str = ""
    host: str = ""
    statuses: tuple[int, int] = (200, 399)
    seconds: float = 10.0
    timeout_seconds: float = 5.0


class UpstreamService:
    """A service of the worker (pipeline.compile.Service).

    Args:
        endpoints: the servers of one route.
        checks: how they are checked.
        idle_seconds: after which idle connections are closed.
    """

    def __init__(self, endpoints: Sequence[Endpoint], checks: CheckRules, idle_seconds: float) -> None:
        self._endpoints = self.endpoints = endpoints
        self._checks = checks
        self._idle_seconds = idle_seconds

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for endpoint in self._endpoints:
                    endpoint.read_in(nursery)
                if self._checks.path:
                    for endpoint in self._endpoints:
                        nursery.start_soon(self._check, endpoint)
                ready()
                while True:
                    await trio.sleep(max(LEAST_SWEEP_SECONDS, self._idle_seconds / 2))
                    for endpoint in self._endpoints:
                        endpoint.sweep()
        finally:
            for endpoint in self._endpoints:
                endpoint.read_in(None)
                endpoint.close()

    async def _check(self, endpoint: Endpoint) -> None:
        checks = self._checks
        while True:
            started = trio.current_time()
            why = f"no answer to a check within {checks.timeout_seconds:g} s"
            good = False
            with trio.move_on_after(checks.timeout_seconds):
                try:
                    status = await self._status_of(endpoint)
                    good = checks.statuses[0] <= status <= checks.statuses[1]
                    why = f"a check was answered with {status}"
                except UpstreamFault as fault:
                    why = f"a check failed: {fault}"
            endpoint.health.checked(good=good, why=why)
            await trio.sleep_until(started + checks.seconds)

    async def _status_of(self, endpoint: Endpoint) -> int:
        checks = self._checks
        exchange, _reused = await endpoint.acquire(fresh=True)
        try:
            host = (checks.host or endpoint.address.authority).encode("ascii")
            fields = ((b"host", host), (b"user-agent", b"securelight"), (b"accept", b"*/*"))
            await exchange.send_head("GET", checks.path.encode("ascii"), fields, length=None, has_body=False)
            head = await exchange.receive_head()
            while head.status < 200:
                head = await exchange.receive_head()
            size = len(exchange.take())
            while size < CHECK_BODY_BYTES and (data := await exchange.receive()):
                size += len(data)
            return head.status
        finally:
            endpoint.release(exchange)
