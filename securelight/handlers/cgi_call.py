"""One request on its way through an application that speaks FastCGI or one of its kin: streamed both ways.

Nothing is held but what one read gave. An answer that breaks off behind us breaks off in front of us too; before its
first byte is out it becomes 502 or 504. A body whose length was not announced is gathered first, up to one
buffer, since CONTENT_LENGTH must be told; 411 for more.

A request without a body is sent again, once, where a kept connection turned out to be dead and doing it twice is safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from securelight.model.body import PUSHED_BODY
from securelight.model.errors import BodyAborted, Refusal
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.pipeline.stage import RESPONDED
from securelight.upstream.cgi_response import CgiHead, split_head
from securelight.upstream.faults import ConnectFailed, PoolFull, UpstreamBroken, UpstreamFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.handlers.proxy_settings import ProxyTimeouts
    from securelight.model.limits import Limits
    from securelight.pipeline.compile import EventLog
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Responded
    from securelight.upstream.cgi_variables import Variable
    from securelight.upstream.pool import Pool

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


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


async def body_length(exchange: Exchange, limits: Limits) -> tuple[int | None, bytes]:
    """(length of the request body, what of it was taken already); 411 if it is long and its length was not told."""
    request = exchange.request
    if not request.has_body or request.content_length is not None:
        return (request.content_length or 0 if request.has_body else request.content_length), b""
    taken = bytearray()
    while data := await exchange.receive():
        taken += data
        if len(taken) > limits.upstream_buffer_bytes:
            raise Refusal(411, "Say how long the request body is.", "a long body without Content-Length")
    return len(taken), bytes(taken)


class CgiCall:
    """One request.

    Args:
        exchange: it, and its client.
        name: of the upstream, for the log.
        variables: of the request.
        taken: of its body, already.
        timeouts: as configured.
        limits: the server's bounds.
        events: where to report.
    """

    def __init__(
        self,
        exchange: Exchange,
        name: str,
        variables: Sequence[Variable],
        taken: bytes,
        timeouts: ProxyTimeouts,
        limits: Limits,
        events: EventLog,
    ) -> None:
        self._exchange = exchange
        self._name = name
        self._variables = variables
        self._taken = taken
        self._timeouts = timeouts
        self._limits = limits
        self._events = events
        self._scope = trio.CancelScope()
        self._total_deadline = 0.0
        self._begun = False
        self._answered = False
        self._client_fault: Exception | None = None

    async def run(self, pool: Pool[CgiConnection]) -> Responded:
        """Answer it over a connection of `pool`.

        Errors: Refusal, ClientDisconnected, BodyAborted.
        """
        self._total_deadline = self._scope.deadline = trio.current_time() + self._timeouts.total_seconds
        with self._scope:
            try:
                await self._ask(pool)
            except PoolFull as fault:
                raise Refusal(
                    503, "The application is busy.", f"{self._name}: {fault}", ((b"retry-after", b"1"),)
                ) from fault
            except ConnectFailed as fault:
                raise self._broken(str(fault), 504 if fault.late else 502) from fault
            except UpstreamFault as fault:
                raise self._broken(str(fault)) from fault
        if self._scope.cancelled_caught:
            raise self._broken("no answer in time", 504)
        return RESPONDED

    def _broken(self, detail: str, status: int = 502) -> Exception:
        self._events.warning("upstream failed", upstream=self._name, why=detail)
        if self._begun:
            return BodyAborted(f"{self._name}: {detail}")
        public = "The application did not answer in time." if status == 504 else "The application can't be reached."
        return Refusal(status, public, f"{self._name}: {detail}")

    async def _ask(self, pool: Pool[CgiConnection]) -> None:
        request = self._exchange.request
        connection, reused = await pool.acquire()
        try:
            await self._ask_one(pool, connection)
        except UpstreamBroken as fault:
            again = reused and not self._begun and not request.has_body
            if not again or not (fault.unprocessed or (fault.unread and request.method in _SAFE)):
                raise
            connection, _reused = await pool.acquire(fresh=True)
            await self._ask_one(pool, connection)

    async def _ask_one(self, pool: Pool[CgiConnection], connection: CgiConnection) -> None:
        try:
            self._scope.deadline = self._within(self._timeouts.idle_seconds)
            await connection.begin(self._variables)
            if self._taken:
                await connection.send(self._taken)
            self._scope.deadline = self._total_deadline
            if self._exchange.request.content_length and self._exchange.request.has_body:
                await self._answer_while_uploading(connection)
            else:
                await connection.finish()
                await self._answer(connection)
        finally:
            pool.release(connection, reusable=connection.reusable)

    async def _answer_while_uploading(self, connection: CgiConnection) -> None:
        fault: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upload, connection, nursery.cancel_scope)
            try:
                await self._answer(connection)
            except Exception as error:
                fault = error
            nursery.cancel_scope.cancel()
        if self._client_fault is not None and not self._answered:
            raise self._client_fault
        if fault is not None:
            raise fault

    async def _upload(self, connection: CgiConnection, both: trio.CancelScope) -> None:
        exchange = self._exchange
        left = exchange.request.content_length or 0
        try:
            while data := await exchange.receive():
                left -= len(data)
                if left < 0:
                    raise Refusal(400, "The request body is longer than announced.")
                with trio.move_on_after(self._timeouts.idle_seconds) as scope:
                    await connection.send(data)
                if scope.cancelled_caught:
                    raise self._broken("it takes no more of the request body", 504)
            if left:
                raise Refusal(400, "The request body is shorter than announced.")
            await connection.finish()
        except UpstreamFault:
            return  # the reading side sees the answer that was sent before, or why there is none
        except Exception as error:
            self._client_fault = error
            both.cancel()
            return
        if not self._begun:
            self._scope.deadline = self._within(self._timeouts.first_byte_seconds)

    def _within(self, seconds: float) -> float:
        return min(self._total_deadline, trio.current_time() + seconds)

    async def _head(self, connection: CgiConnection) -> tuple[CgiHead, bytes]:
        if not self._exchange.request.content_length:
            self._scope.deadline = self._within(self._timeouts.first_byte_seconds)
        buffer = bytearray()
        try:
            while (split := split_head(buffer, self._limits)) is None:
                data = await connection.receive()
                if not data:
                    raise UpstreamBroken("the answer ended before its head did")
                buffer += data
        except ValueError as error:
            raise UpstreamBroken(f"the head of the answer: {error}") from error
        return split

    async def _answer(self, connection: CgiConnection) -> None:
        exchange = self._exchange
        head, data = await self._head(connection)
        fields = tuple(head.fields)
        if exchange.request.method == "HEAD" or head.status in BODYLESS_STATUSES:
            body = PUSHED_BODY if head.length is None and head.status not in BODYLESS_STATUSES else b""
            self._begun = True
            await exchange.respond(Response(head.status, fields, body, content_length=head.length))
            self._answered = True
            return
        self._begun = True
        await exchange.begin(Response(head.status, fields, PUSHED_BODY, content_length=head.length))
        left = head.length
        while True:
            if left is not None:
                left -= len(data)
                if left < 0:
                    raise UpstreamBroken("the answer is longer than announced")
            if data:
                self._scope.deadline = self._total_deadline
                await exchange.send(data)
            self._scope.deadline = self._within(self._timeouts.idle_seconds)
            data = await connection.receive()
            if not data:
                break
        if left:
            raise UpstreamBroken("the answer is shorter than announced")
        self._scope.deadline = self._total_deadline
        await exchange.end()
        self._answered = True
