"""One request on its way through an application that speaks CGI, FastCGI or one of their kin: streamed both ways.

Nothing is held but what one read gave. An answer that breaks off behind us breaks off in front of us too; before its
first byte is out it becomes 502 or 504. A body whose length was not announced is gathered first, up to one
buffer, since CONTENT_LENGTH must be told; 411 for more, unless it is to be spooled.

A request without a body is sent again, once, where a kept connection turned out to be dead and doing it twice is safe.

A local redirect starts the request again with the path that it names (RFC 3875, section 6.2.2), which is bounded as
every rewrite is. A file that the answer names is sent by handlers/sendfile.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Protocol

import trio

from securelight.handlers.both_ways import answer_while_uploading, pass_body
from securelight.model.body import PUSHED_BODY
from securelight.model.errors import BodyAborted, Refusal
from securelight.model.headers import Headers
from securelight.model.request import Request
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.model.uri import parse_target
from securelight.pipeline.stage import RESPONDED, Responded, Rewritten
from securelight.upstream.cgi_response import CgiHead, split_head
from securelight.upstream.faults import ConnectFailed, PoolFull, UpstreamBroken, UpstreamFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.handlers.proxy_settings import ProxyTimeouts
    from securelight.handlers.sendfile import Sendfile
    from securelight.model.limits import Limits
    from securelight.pipeline.compile import EventLog
    from securelight.pipeline.exchange import Exchange
    from securelight.upstream.cgi_variables import Variable
    from securelight.upstream.pool import Pool
    from securelight.upstream.spool import Spool, SpoolRoom

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OF_THE_BODY = frozenset({b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"expect"})


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


@dataclass(frozen=True, slots=True)
class Application:
    """What all requests of one route share.

    Attributes:
        name: of the upstream, for the log.
        timeouts: as configured.
        limits: the server's bounds.
        events: where to report.
        sendfile: answers with files that the application names; None where it may not.
        unknown_length: bodies whose length was not announced are passed on, and end where the application's input does.
        spool: collects bodies before the application sees them; None for never.
    """

    name: str
    timeouts: ProxyTimeouts
    limits: Limits
    events: EventLog
    sendfile: Sendfile | None = None
    unknown_length: bool = False
    spool: SpoolRoom | None = None


async def body_length(exchange: Exchange, request: Request, limits: Limits) -> tuple[int | None, bytes]:
    """(length of the request body, what of it was taken already); 411 if it is long and its length was not told."""
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
        application: asked.
        exchange: with the client.
        request: what is asked for; after a rewrite that is not the one that the client sent.
        variables: of the request.
        taken: of its body, already.
        spool: all of its body; None if it is still to come.
    """

    def __init__(
        self,
        application: Application,
        exchange: Exchange,
        request: Request,
        variables: Sequence[Variable],
        taken: bytes,
        spool: Spool | None = None,
    ) -> None:
        self._spool = spool
        self._application = application
        self._exchange = exchange
        self._request = request
        self._variables = variables
        self._taken = taken
        self._timeouts = application.timeouts
        self._scope = trio.CancelScope()
        self._total_deadline = 0.0
        self._begun = False
        self._upload_over = True

    async def run(self, pool: Pool[CgiConnection]) -> Response | Rewritten | Responded:
        """Answer it over a connection of `pool`.

        Errors: Refusal, ClientDisconnected, BodyAborted.
        """
        name = self._application.name
        self._total_deadline = self._scope.deadline = trio.current_time() + self._timeouts.total_seconds
        head: CgiHead | None = None
        with self._scope:
            try:
                head = await self._ask(pool)
            except PoolFull as fault:
                raise Refusal(503, "The application is busy.", f"{name}: {fault}", ((b"retry-after", b"1"),)) from fault
            except ConnectFailed as fault:
                raise self._broken(str(fault), 504 if fault.late else 502) from fault
            except UpstreamFault as fault:
                raise self._broken(str(fault)) from fault
        if self._scope.cancelled_caught:
            raise self._broken("no answer in time", 504)
        return RESPONDED if head is None else await self._instead(head)

    async def _instead(self, head: CgiHead) -> Response | Rewritten:
        """The answer for a head that names another one."""
        request, sendfile = self._request, self._application.sendfile
        if head.redirect:
            return Rewritten(redirected(request, head.redirect), f"local redirect of {self._application.name}")
        assert sendfile is not None
        return await self._exchange.in_thread(lambda: sendfile.answer(request, head.status, head.fields))

    def _broken(self, detail: str, status: int = 502) -> Exception:
        name = self._application.name
        self._application.events.warning("upstream failed", upstream=name, why=detail)
        if self._begun:
            return BodyAborted(f"{name}: {detail}")
        public = "The application did not answer in time." if status == 504 else "The application can't be reached."
        return Refusal(status, public, f"{name}: {detail}")

    async def _ask(self, pool: Pool[CgiConnection]) -> CgiHead | None:
        """None once the client has its answer, else the head that names another one."""
        connection, reused = await pool.acquire()
        try:
            return await self._ask_one(pool, connection)
        except UpstreamBroken as fault:
            again = reused and not self._begun and not self._request.has_body
            if not again or not (fault.unprocessed or (fault.unread and self._request.method in _SAFE)):
                raise
            connection, _reused = await pool.acquire(fresh=True)
            return await self._ask_one(pool, connection)

    async def _ask_one(self, pool: Pool[CgiConnection], connection: CgiConnection) -> CgiHead | None:
        request = self._request
        try:
            self._scope.deadline = self._within(self._timeouts.idle_seconds)
            await connection.begin(self._variables)
            if self._taken:
                await connection.send(self._taken)
            self._scope.deadline = self._total_deadline
            if request.has_body and (request.content_length or self._application.unknown_length or self._spool):
                self._upload_over = False
                return await answer_while_uploading(lambda: self._upload(connection), lambda: self._answer(connection))
            await connection.finish()
            return await self._answer(connection)
        finally:
            pool.release(connection, reusable=connection.reusable)

    async def _upload(self, connection: CgiConnection) -> None:
        try:
            if self._spool is not None:
                await self._pass_spooled(self._spool, connection)
            else:
                length = self._request.content_length
                await pass_body(
                    self._exchange, length, connection.send, self._timeouts.idle_seconds, self._takes_no_more
                )
            await connection.finish()
        finally:
            self._upload_over = True
            if not self._begun:
                self._scope.deadline = self._within(self._timeouts.first_byte_seconds)

    async def _pass_spooled(self, spool: Spool, connection: CgiConnection) -> None:
        async with aclosing(spool.pieces()) as pieces:
            async for data in pieces:
                with trio.move_on_after(self._timeouts.idle_seconds) as scope:
                    await connection.send(data)
                if scope.cancelled_caught:
                    raise self._takes_no_more()

    def _takes_no_more(self) -> Exception:
        return self._broken("it takes no more of the request body", 504)

    def _within(self, seconds: float) -> float:
        return min(self._total_deadline, trio.current_time() + seconds)

    async def _head(self, connection: CgiConnection) -> tuple[CgiHead, bytes]:
        if self._upload_over:
            self._scope.deadline = self._within(self._timeouts.first_byte_seconds)
        buffer = bytearray()
        try:
            while (split := split_head(buffer, self._application.limits)) is None:
                data = await connection.receive()
                if not data:
                    raise UpstreamBroken("the answer ended before its head did")
                buffer += data
        except ValueError as error:
            raise UpstreamBroken(f"the head of the answer: {error}") from error
        return split

    async def _answer(self, connection: CgiConnection) -> CgiHead | None:
        exchange, request = self._exchange, self._request
        head, data = await self._head(connection)
        sendfile = self._application.sendfile
        if head.redirect or (sendfile is not None and sendfile.names_a_file(head.fields)):
            self._scope.deadline = self._within(self._timeouts.idle_seconds)
            await self._drop_body(connection, len(data))
            return head
        fields = tuple(head.fields)
        if request.method == "HEAD" or head.status in BODYLESS_STATUSES:
            body = PUSHED_BODY if head.length is None and head.status not in BODYLESS_STATUSES else b""
            self._begun = True
            await exchange.respond(Response(head.status, fields, body, content_length=head.length))
            await self._after_the_answer(connection, len(data))
            return None
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
        return None

    async def _drop_body(self, connection: CgiConnection, size: int) -> None:
        """Read a little of a body that nobody gets, so that a program can end and a kept connection stays of use."""
        while size <= self._application.limits.upstream_buffer_bytes and (data := await connection.receive()):
            size += len(data)

    async def _after_the_answer(self, connection: CgiConnection, size: int) -> None:
        """The client has its answer; what the application makes of this is nobody's affair any more."""
        self._scope.deadline = inf
        with trio.move_on_after(self._timeouts.idle_seconds), suppress(UpstreamFault):
            await self._drop_body(connection, size)


def redirected(request: Request, location: bytes) -> Request:
    """The request that a local redirect leads to: a GET, or HEAD, of `location`, without a body.

    Errors: Refusal 502 for a location that no client could ask for.
    """
    try:
        target = parse_target(location.partition(b"#")[0])
    except Refusal as refusal:
        raise Refusal(502, "The application can't be reached.", f"local redirect: {refusal.detail}") from refusal
    return Request(
        "HEAD" if request.method == "HEAD" else "GET",
        target.path,
        Headers(field for field in request.headers.fields if field[0] not in _OF_THE_BODY),
        peer=request.peer,
        scheme=request.scheme,
        authority=request.authority,
        host=request.host,
        target=location,
        query=target.query,
        http_version=request.http_version,
        stream_id=request.stream_id,
    )
