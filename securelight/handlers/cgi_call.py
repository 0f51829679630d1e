"""One request on its way through an application that speaks CGI, FastCGI or one of their kin: streamed both ways.

Nothing is held but what one read gave. An answer that breaks off behind us breaks off in front of us too; before its
first byte is out it becomes 502 or 504. A body whose length was not announced is gathered first, up to one
buffer, since CONTENT_LENGTH must be told; 411 for more, unless it is to be spooled.

A request is asked of another application, or again, where there was no connection, or where the application has said
that it did not look at it; and where a connection ended without a byte of an answer and doing it twice is safe. Never
once something of its body was taken from the client, and only as often as the route's budget allows.

A local redirect starts the request again with the path that it names (RFC 3875, section 6.2.2), which is bounded as
every rewrite is. A file that the answer names is sent by handlers/sendfile.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import trio

from securelight.handlers.both_ways import answer_while_uploading, pass_body
from securelight.handlers.cgi_back_end import receive_head
from securelight.handlers.upstream_group import HELD_SECONDS
from securelight.model.body import PUSHED_BODY
from securelight.model.errors import BodyAborted, Refusal
from securelight.model.headers import Headers
from securelight.model.request import Request
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.model.uri import parse_target
from securelight.pipeline.stage import RESPONDED, Responded, Rewritten
from securelight.upstream.faults import ConnectFailed, PoolFull, UpstreamBroken, UpstreamFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.handlers.cgi_back_end import BackEnd, CgiConnection
    from securelight.handlers.proxy_settings import ProxyTimeouts
    from securelight.handlers.sendfile import Sendfile
    from securelight.handlers.upstream_group import UpstreamGroup
    from securelight.model.limits import Limits
    from securelight.pipeline.compile import EventLog
    from securelight.pipeline.exchange import Exchange
    from securelight.upstream.cgi_response import CgiHead
    from securelight.upstream.cgi_variables import Variable
    from securelight.upstream.spool import Spool, SpoolRoom

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.25
"""Between attempts to reach applications none of which takes connections."""
_OF_THE_BODY = frozenset({b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"expect"})


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
        self._group: UpstreamGroup[BackEnd]
        self._back_end: BackEnd | None = None
        self._waiting = False
        self._held_seconds = 0.0
        self._begun = False
        self._body_taken = False
        self._upload_over = True

    async def run(self, group: UpstreamGroup[BackEnd]) -> Response | Rewritten | Responded:
        """Answer it by one of `group`.

        Errors: Refusal, ClientDisconnected, BodyAborted.
        """
        self._group = group
        self._total_deadline = trio.current_time() + self._timeouts.total_seconds
        head: CgiHead | None = None
        self._patient()
        with self._scope:
            head = await self._ask(group)
        if self._scope.cancelled_caught:
            raise self._broken("no answer in time", 504, blamed=self._waiting)
        return RESPONDED if head is None else await self._instead(head)

    async def _instead(self, head: CgiHead) -> Response | Rewritten:
        """The answer for a head that names another one."""
        request, sendfile = self._request, self._application.sendfile
        if head.redirect:
            return Rewritten(redirected(request, head.redirect), f"local redirect of {self._application.name}")
        assert sendfile is not None
        return await self._exchange.in_thread(lambda: sendfile.answer(request, head.status, head.fields))

    def _broken(self, detail: str, status: int = 502, *, blamed: bool = False) -> Exception:
        """What the client is told; the log too, and health if the application is `blamed`."""
        name = self._application.name
        if self._back_end is not None:
            name = self._back_end.name
            self._group.report(self._back_end, detail)
            if blamed:
                self._back_end.health.failed(detail)
        if self._begun:
            return BodyAborted(f"{name}: {detail}")
        public = "The application did not answer in time." if status == 504 else "The application can't be reached."
        return Refusal(status, public, f"{name}: {detail}")

    # How long it may take. Only what it can be blamed for counts against its health.

    def _patient(self) -> None:
        """Whatever happens next, it may take all of the time."""
        self._waiting = False
        self._scope.deadline = self._total_deadline

    def _wait_for(self, seconds: float) -> None:
        """The application is to do something within so many seconds. While an upload goes on it may wait for that."""
        now = trio.current_time()
        enough = min(seconds, self._timeouts.total_seconds) / 2  # else a client has used the total time up
        self._waiting = self._upload_over and self._total_deadline - now >= enough
        self._scope.deadline = min(self._total_deadline, now + seconds)

    # Which application, and how often.

    async def _ask(self, group: UpstreamGroup[BackEnd]) -> CgiHead | None:
        """None once the client has its answer, else the head that names another one."""
        group.budget.earn()
        tried: list[BackEnd] = []
        pause = FIRST_PAUSE_SECONDS
        give_up_at = trio.current_time() + group.try_seconds
        retries = 0
        fresh = False
        while True:
            back_end = self._back_end = group.choose(self._request, self._exchange.facts, tried)
            self._patient()
            try:
                connection, reused = await back_end.pool.acquire(fresh=fresh)
            except PoolFull as fault:
                tried.append(back_end)
                if len(tried) < group.size:
                    continue
                raise Refusal(
                    503, "The application is busy.", f"{back_end.name}: {fault}", ((b"retry-after", b"1"),)
                ) from fault
            except ConnectFailed as fault:  # nothing was sent: whatever was asked for may be asked again
                tried.append(back_end)
                if len(tried) >= group.size and trio.current_time() + pause > give_up_at:
                    raise self._broken(str(fault), 504 if fault.late else 502, blamed=True) from fault
                group.failed(back_end, str(fault))
                if len(tried) < group.size:
                    continue
                tried.clear()
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            try:
                head = await self._ask_one(back_end, connection)
            except UpstreamBroken as fault:
                blamed = not reused and not fault.unprocessed and self._held_seconds < HELD_SECONDS
                if not self._may_retry(fault) or retries >= group.retries or not group.budget.spend():
                    raise self._broken(str(fault), blamed=blamed) from fault
                if blamed:
                    group.failed(back_end, str(fault))
                retries += 1
                fresh = True
                if not reused:
                    tried.append(back_end)
                    if len(tried) >= group.size:
                        tried.clear()
                continue
            back_end.health.worked()
            return head

    def _may_retry(self, fault: UpstreamBroken) -> bool:
        if self._begun or self._body_taken:
            return False
        return fault.unprocessed or (fault.unread and self._request.method in _SAFE)

    async def _ask_one(self, back_end: BackEnd, connection: CgiConnection) -> CgiHead | None:
        request = self._request
        try:
            self._wait_for(self._timeouts.idle_seconds)
            await connection.begin(self._variables)
            if self._taken:
                await connection.send(self._taken)
            self._patient()
            if request.has_body and (request.content_length or self._application.unknown_length or self._spool):
                self._upload_over = False
                return await answer_while_uploading(
                    lambda: self._upload(connection), lambda: self._answer(back_end, connection)
                )
            await connection.finish()
            return await self._answer(back_end, connection)
        finally:
            back_end.pool.release(connection, reusable=connection.reusable)

    async def _upload(self, connection: CgiConnection) -> None:
        started = trio.current_time()
        try:
            if self._spool is not None:
                await self._pass_spooled(self._spool, connection)
            else:
                length = self._request.content_length
                self._body_taken = True
                await pass_body(
                    self._exchange, length, connection.send, self._timeouts.idle_seconds, self._takes_no_more
                )
            await connection.finish()
        finally:
            if self._spool is None:
                self._held_seconds += trio.current_time() - started
            self._upload_over = True
            if not self._begun:
                self._wait_for(self._timeouts.first_byte_seconds)

    async def _pass_spooled(self, spool: Spool, connection: CgiConnection) -> None:
        async with aclosing(spool.pieces()) as pieces:
            async for data in pieces:
                with trio.move_on_after(self._timeouts.idle_seconds) as scope:
                    await connection.send(data)
                if scope.cancelled_caught:
                    raise self._takes_no_more()

    def _takes_no_more(self) -> Exception:
        return self._broken("it takes no more of the request body", 504)

    async def _answer(self, back_end: BackEnd, connection: CgiConnection) -> CgiHead | None:
        exchange, request = self._exchange, self._request
        if self._upload_over:
            self._wait_for(self._timeouts.first_byte_seconds)
        head, data = await receive_head(connection, self._application.limits)
        self._patient()
        if not head.redirect:
            self._group.answered(back_end, head.status, request, head.fields)
        sendfile = self._application.sendfile
        if head.redirect or (sendfile is not None and sendfile.names_a_file(head.fields)):
            self._wait_for(self._timeouts.idle_seconds)
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
                self._patient()
                await self._send(data)
            self._wait_for(self._timeouts.idle_seconds)
            data = await connection.receive()
            if not data:
                break
        if left:
            raise UpstreamBroken("the answer is shorter than announced")
        self._patient()
        await exchange.end()
        return None

    async def _send(self, data: bytes) -> None:
        started = trio.current_time()
        await self._exchange.send(data)
        self._held_seconds += trio.current_time() - started

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
