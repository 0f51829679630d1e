"""What goes on beside the requests for as long as a worker lives: checks of the servers, and the end of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio

from securelight.upstream.faults import UpstreamFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.upstream.health import CheckRules, Health

LEAST_SWEEP_SECONDS = 0.5


class Served(Protocol):
    """A server, as this sees it."""

    health: Health

    @property
    def name(self) -> str: ...  # noqa: D102 - for the report
    @property
    def load(self) -> int: ...  # noqa: D102 - requests under way or in its queue
    def read_in(self, nursery: trio.Nursery | None) -> None: ...  # noqa: D102 - where shared connections are read
    def sweep(self) -> None: ...  # noqa: D102 - close connections that nobody needs
    def close(self) -> None: ...  # noqa: D102 - keep no connection from now on
    async def status_of(self, checks: CheckRules) -> int: ...  # noqa: D102 - of the answer to a check, or UpstreamFault
    async def try_connection(self) -> None: ...  # noqa: D102 - open one and close it, or ConnectFailed


S = TypeVar("S", bound=Served)


class UpstreamService(Generic[S]):
    """A service of the worker (pipeline.compile.Service).

    Args:
        endpoints: the servers of one route.
        checks: how they are checked.
        idle_seconds: after which idle connections are closed.
    """

    def __init__(self, endpoints: Sequence[S], checks: CheckRules, idle_seconds: float) -> None:
        self._endpoints = self.endpoints = endpoints
        self._checks = checks
        self._idle_seconds = idle_seconds

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for endpoint in self._endpoints:
                    endpoint.read_in(nursery)
                if self._checks.path or self._checks.connect:
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

    async def _check(self, endpoint: S) -> None:
        checks = self._checks
        while True:
            started = trio.current_time()
            why = f"no answer to a check within {checks.timeout_seconds:g} s"
            good = False
            with trio.move_on_after(checks.timeout_seconds):
                try:
                    if checks.path:
                        status = await endpoint.status_of(checks)
                        good = checks.statuses[0] <= status <= checks.statuses[1]
                        why = f"a check was answered with {status}"
                    else:
                        await endpoint.try_connection()
                        good, why = True, "it takes connections"
                except UpstreamFault as fault:
                    why = f"a check failed: {fault}"
            endpoint.health.checked(good=good, why=why)
            await trio.sleep_until(started + checks.seconds)
