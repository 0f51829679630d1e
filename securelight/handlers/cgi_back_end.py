"""One application behind a route that speaks CGI, FastCGI or one of their kin: its connections, weight and health."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol

from securelight.handlers.upstream_group import UpstreamGroup
from securelight.upstream.balance import RoundRobin
from securelight.upstream.cgi_response import CgiHead, split_head
from securelight.upstream.faults import UpstreamBroken
from securelight.upstream.health import Health, HealthRules

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import trio

    from securelight.model.limits import Limits
    from securelight.pipeline.compile import EventLog
    from securelight.upstream.cgi_variables import Variable
    from securelight.upstream.health import CheckRules
    from securelight.upstream.pool import Pool

CHECK_BODY_BYTES = 1 << 20
"""As much of the answer to a check is read; a page that is longer is no page for checks."""


class CgiConnection(Protocol):
    """A connection to an application. Every method raises UpstreamBroken where that is gone or breaks its protocol."""

    async def begin(self, variables: Sequence[Variable]) -> None: ...  # noqa: D102 - the head of a request
    async def send(self, data: bytes) -> None: ...  # noqa: D102 - more of its body, not empty
    async def finish(self) -> None: ...  # noqa: D102 - the body is whole
    async def receive(self) -> bytes: ...  # noqa: D102 - more of the answer; b"" at its proper end
    @property
    def reusable(self) -> bool: ...  # noqa: D102 - another request may follow
    def is_quiet(self) -> bool: ...  # noqa: D102 - see upstream.pool
    def close(self) -> None: ...  # noqa: D102 - at once


async def receive_head(connection: CgiConnection, limits: Limits) -> tuple[CgiHead, bytes]:
    """The head of an answer, and what came of its body with it.

    Errors: UpstreamBroken.
    """
    buffer = bytearray()
    try:
        while (split := split_head(buffer, limits)) is None:
            data = await connection.receive()
            if not data:
                raise UpstreamBroken("the answer ended before its head did")
            buffer += data
    except ValueError as error:
        raise UpstreamBroken(f"the head of the answer: {error}") from error
    return split


class BackEnd:
    """One application. Implements handlers.upstream_group.Member.

    Args:
        name: as it was written in the configuration; names it in logs and reports.
        pool: of connections to it.
        weight: its share among others.
        health: whether it is asked; by default always.

    Attributes:
        pool: as given.
        health: as given.
    """

    def __init__(self, name: str, pool: Pool[CgiConnection], weight: int = 1, health: Health | None = None) -> None:
        self.name = name
        self.pool = pool
        self.health = health or Health(HealthRules(failures=0), lambda _change, _why: None)
        self._weight = weight

    @property
    def load(self) -> int:
        """Requests under way, or waiting for a connection."""
        return self.pool.active + self.pool.waiting

    def share(self) -> float:
        """Its weight, less while it starts slowly."""
        return self._weight * self.health.share(monotonic())


class CheckedBackEnd(BackEnd):
    """One that is looked after beside the requests. Implements upstream.service.Served.

    Args:
        name, pool, weight, health: see BackEnd.
        connect: opens a connection for a check, beside the pool: one that is full says nothing of the application.
        question: the variables of a check.
        limits: the server's bounds.
    """

    def __init__(
        self,
        name: str,
        pool: Pool[CgiConnection],
        weight: int,
        health: Health,
        *,
        connect: Callable[[], Awaitable[CgiConnection]],
        question: Callable[[CheckRules], Awaitable[Sequence[Variable]]],
        limits: Limits,
    ) -> None:
        super().__init__(name, pool, weight, health)
        self._connect = connect
        self._question = question
        self._limits = limits

    def read_in(self, nursery: trio.Nursery | None) -> None:
        """No connection is shared by several requests, so none is read beside them."""

    def sweep(self) -> None:
        """Close connections that nobody needs."""
        self.pool.sweep()

    def close(self) -> None:
        """Keep no connection from now on."""
        self.pool.close()

    async def try_connection(self) -> None:
        """See whether it takes one.

        Errors: ConnectFailed.
        """
        (await self._connect()).close()

    async def status_of(self, checks: CheckRules) -> int:
        """The status of its answer to a check, which is read so far as a page for checks may be long.

        Errors: UpstreamFault.
        """
        variables = await self._question(checks)
        connection = await self._connect()
        try:
            await connection.begin(variables)
            await connection.finish()
            head, data = await receive_head(connection, self._limits)
            size = len(data)
            while size < CHECK_BODY_BYTES and (data := await connection.receive()):
                size += len(data)
            return head.status
        finally:
            connection.close()


def alone(name: str, pool: Pool[CgiConnection], events: EventLog) -> UpstreamGroup[BackEnd]:
    """The group of an application that has no others beside it, and is asked whatever happens."""
    return UpstreamGroup(
        [BackEnd(name, pool)],
        RoundRobin(),
        lambda _request, _facts: b"",
        sticky=None,
        failure_statuses=(),
        retries=0,
        try_seconds=0.0,
        events=events,
    )
