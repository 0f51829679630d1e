"""One request on its way through us: sent to a server behind, answered by it, streamed both ways.

Nothing is held but what one read gave: the next is made when the client, or the server, has taken it. An answer that
breaks off behind us breaks off in front of us too; before its first byte is out, it becomes 502 or 504.

A request is sent again only while nothing of its body was taken from the client, and only if no server can have
done anything with it (it was never sent, or the server said so), or doing it twice is the same as once (RFC 9110,
section 9.2.2); and only as often as the route's budget allows, so that a failing server isn't asked twice as much.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

import trio

from securelight.handlers.both_ways import answer_while_uploading, pass_body
from securelight.handlers.proxy_fields import response_fields, upstream_target
from securelight.handlers.upstream_group import HELD_SECONDS
from securelight.model.body import PUSHED_BODY
from securelight.model.errors import BodyAborted, Refusal
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.pipeline.stage import RESPONDED
from securelight.upstream.faults import ConnectFailed, PoolFull, UpstreamBroken, UpstreamLate

if TYPE_CHECKING:
    from securelight.handlers.proxy_route import ProxyRoute
    from securelight.model.headers import Field
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Responded
    from securelight.protocol.response_head import ResponseHead
    from securelight.upstream.endpoint import Endpoint
    from securelight.upstream.exchange import UpstreamExchange
    from securelight.upstream.spool import Spool

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
CONTENT_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""Of which servers want to hear that there is no body (RFC 9110, section 8.6)."""
CONTINUE_SECONDS = 1.0
"""What a client that asked for 100 (Continue) waits for the server behind before its body is asked for anyhow."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.25
"""Between attempts to reach servers none of which takes connections."""


class AskedAlready(NamedTuple):
    """A request without a body that was sent before its ProxyCall was there (proxy_direct).

    Attributes:
        endpoint, upstream: asked; released by the call.
        total_deadline: of the request, by trio.current_time(). That of the wait under way is set.
        head: of the response, if it was read and nothing of it passed on.
        data: of the body, to be passed on first, if the head was.
        fault: why there will be no answer.
    """

    endpoint: Endpoint
    upstream: UpstreamExchange
    total_deadline: float
    head: ResponseHead | None
    data: bytes
    fault: UpstreamBroken | None


class ProxyCall:
    """One request.

    Args:
        route: where it goes.
        exchange: it, and its client.
        first: the server that it is for, if that was chosen already.
    """

    __slots__ = (
        "_answering", "_asked", "_begun", "_body_taken", "_continue", "_endpoint", "_exchange", "_first",
        "_held_seconds", "_route", "_spool", "_total_deadline", "_upload_over",
    )  # fmt: skip

    def __init__(self, route: ProxyRoute, exchange: Exchange, first: Endpoint | None = None) -> None:
        self._route = route
        self._exchange = exchange
        self._body_taken = False
        self._begun = False
        self._answering = False
        self._upload_over = True
        self._continue: trio.Event | None = None
        self._asked: AskedAlready | None = None
        self._spool: Spool | None = None
        self._endpoint: Endpoint | None = None
        self._first = first
        self._held_seconds = 0.0
        self._total_deadline = 0.0

    async def run(self) -> Responded:
        """Answer it.

        Errors: Refusal, ClientDisconnected, BodyAborted.
        """
        room = self._route.spool
        request = self._exchange.request
        if room is None or not request.has_body or not room.wants(length=request.content_length):
            await self._ask()
            return RESPONDED
        self._spool = await room.collect(self._exchange, request.content_length)
        try:
            await self._ask()
        finally:
            self._spool.close()
        return RESPONDED

    async def go_on(self, asked: AskedAlready, *, begun: bool) -> None:
        """Answer a request that was sent already; `begun` if the head of the response was passed on.

        Errors: as `run`.
        """
        self._asked = asked
        self._begun = begun
        self._total_deadline = asked.total_deadline
        await self._ask()

    def _broken(self, detail: str, status: int = 502) -> Exception:
        name = f"{self._endpoint.name}: " if self._endpoint is not None else ""
        if self._begun:
            return BodyAborted(f"{name}{detail}")
        public = "The application did not answer in time." if status == 504 else "The application can't be reached."
        return Refusal(status, public, f"{name}{detail}")

    # Which server, and how often.

    async def _ask(self) -> None:
        route = self._route
        now = trio.current_time()
        asked = self._asked
        if asked is None:
            self._total_deadline = now + route.timeouts.total_seconds
            route.budget.earn()
        tried: list[Endpoint] = []
        pause = FIRST_PAUSE_SECONDS
        give_up_at = now + route.try_seconds
        retries = 0
        fresh = False
        request = self._exchange.request
        while True:
            asked = self._asked
            chosen = self._first if asked is None else asked.endpoint
            endpoint = chosen or route.choose(request, self._exchange.facts, tried)
            self._endpoint, self._first = endpoint, None
            reused = True
            try:
                if asked is not None:
                    upstream: UpstreamExchange | None = asked.upstream
                else:
                    upstream = None if fresh or route.greeting is not None else endpoint.take()
                if upstream is None:
                    greeting = b"" if route.greeting is None else route.greeting(request, self._exchange.facts)
                    upstream, reused = await endpoint.acquire(fresh=fresh, greeting=greeting)
            except PoolFull as fault:
                tried.append(endpoint)
                if len(tried) < route.size:
                    continue
                raise Refusal(
                    503, "The application is busy.", f"{endpoint.name}: {fault}", ((b"retry-after", b"1"),)
                ) from fault
            except ConnectFailed as fault:
                route.failed(endpoint, str(fault))
                tried.append(endpoint)
                if len(tried) < route.size:
                    continue
                if trio.current_time() + pause > give_up_at:
                    raise self._broken(str(fault), 504 if fault.late else 502) from fault
                tried.clear()
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            try:
                try:
                    if asked is None:
                        await self._ask_one(endpoint, upstream)
                    elif asked.fault is not None:
                        raise asked.fault
                    elif self._begun:
                        await self._pass_on(upstream, asked.data)
                    else:
                        await self._answer(upstream, asked.head)
                finally:
                    self._asked = None
                    endpoint.release(upstream)
            except UpstreamLate as fault:
                over = trio.current_time() >= self._total_deadline and self._held_seconds >= HELD_SECONDS
                if self._upload_over and not over:  # else it may be the client that was waited for
                    route.failed(endpoint, "no answer in time")
                else:
                    route.report(endpoint, "no answer in time")
                raise self._broken("the upstream did not answer in time", 504) from fault
            except UpstreamBroken as fault:
                if not reused and not fault.unprocessed:
                    (route.failed if self._held_seconds < HELD_SECONDS else route.report)(endpoint, str(fault))
                if not self._may_retry(fault) or retries >= route.retries or not route.budget.spend():
                    raise self._broken(str(fault)) from fault
                retries += 1
                fresh = True
                if not reused:
                    tried.append(endpoint)
                    if len(tried) >= route.size:
                        tried.clear()
                continue
            endpoint.health.worked()
            return

    def _may_retry(self, fault: UpstreamBroken) -> bool:
        if self._begun or self._body_taken:
            return False
        return fault.unprocessed or (fault.unread and self._exchange.request.method in IDEMPOTENT)

    # One attempt.

    async def _ask_one(self, endpoint: Endpoint, upstream: UpstreamExchange) -> None:
        exchange, route = self._exchange, self._route
        request = exchange.request
        fields = route.fields.of(request, exchange.facts, endpoint.address.authority)
        if route.prefix:
            fields.append((b"x-forwarded-prefix", route.prefix.encode("utf-8", "replace")))
        target = upstream_target(request, route.prefix)
        length = request.content_length
        if not request.has_body:
            if length is None and request.method in CONTENT_METHODS:
                length = 0
            await upstream.send_head(request.method, target, fields, length=length, has_body=False)
            await self._answer(upstream)
            return
        self._continue = None
        spool = self._spool
        if spool is not None:
            if not exchange.trailers():
                length = spool.length
        elif request.expects_continue:
            fields.append((b"expect", b"100-continue"))
            self._continue = trio.Event()
        await upstream.send_head(request.method, target, fields, length=length, has_body=True)
        self._upload_over = False
        await answer_while_uploading(lambda: self._upload(upstream), lambda: self._answer(upstream))

    async def _upload(self, upstream: UpstreamExchange) -> None:
        """Pass the request body on. A server that takes no more of it may still answer."""
        if self._continue is not None:
            with trio.move_on_after(CONTINUE_SECONDS):
                await self._continue.wait()
        exchange = self._exchange
        if self._spool is not None:
            await self._pass_spooled(self._spool, upstream)
        else:
            self._body_taken = True
            started = trio.current_time()
            try:
                await pass_body(
                    exchange,
                    exchange.request.content_length,
                    upstream.send_rest,
                    self._route.timeouts.idle_seconds,
                    self._takes_no_more,
                    upstream.send_now,
                )
            finally:
                self._held_seconds += trio.current_time() - started
        await upstream.finish(exchange.trailers())
        self._upload_over = True
        if not self._answering:
            upstream.set_deadline(self._within(self._route.timeouts.first_byte_seconds))

    async def _pass_spooled(self, spool: Spool, upstream: UpstreamExchange) -> None:
        async with aclosing(spool.pieces()) as pieces:
            async for piece in pieces:
                with trio.move_on_after(self._route.timeouts.idle_seconds) as scope:
                    await upstream.send(piece)
                if scope.cancelled_caught:
                    raise self._takes_no_more()

    def _takes_no_more(self) -> Exception:
        return self._broken("it takes no more of the request body", 504)

    def _within(self, seconds: float) -> float:
        return min(self._total_deadline, trio.current_time() + seconds)

    # The answer.

    async def _answer(self, upstream: UpstreamExchange, head: ResponseHead | None = None) -> None:
        exchange = self._exchange
        request = exchange.request
        if head is None or head.status < 200:
            head = await self._final_head(upstream, head)
        fields = self._response_fields(head)
        status = head.status
        sendfile = self._route.sendfile
        if sendfile is not None and sendfile.names_a_file(fields):
            await exchange.respond(await exchange.in_thread(lambda: sendfile.answer(request, status, fields)))
            self._begun = True
            return
        if request.method == "HEAD" or status in BODYLESS_STATUSES or not head.has_body:
            body = PUSHED_BODY if head.length is None and status not in BODYLESS_STATUSES else b""
            await exchange.respond(Response(status, tuple(fields), body, content_length=head.length))
            self._begun = True
            return
        data = upstream.take()
        if upstream.whole and not upstream.trailers:
            await exchange.respond(Response(status, tuple(fields), data))
            self._begun = True
            return
        self._begun = True
        await exchange.begin(Response(status, tuple(fields), PUSHED_BODY, content_length=head.length))
        await self._pass_on(upstream, data)

    async def _pass_on(self, upstream: UpstreamExchange, data: bytes) -> None:
        """The body, beginning with `data`."""
        exchange = self._exchange
        idle_seconds = self._route.timeouts.idle_seconds
        while True:
            if data:
                started = trio.current_time()
                await exchange.send(data)
                self._held_seconds += trio.current_time() - started
            if upstream.whole:
                break
            upstream.set_deadline(self._within(idle_seconds))
            data = await upstream.receive()
        await exchange.end(upstream.trailers)

    async def _final_head(self, upstream: UpstreamExchange, head: ResponseHead | None = None) -> ResponseHead:
        """The head of the final response; interim ones, of which `head` may be the first, are passed on."""
        if self._asked is None:
            upstream.set_deadline(
                self._within(self._route.timeouts.first_byte_seconds) if self._upload_over else self._total_deadline
            )
        while True:
            if head is None:
                head = await upstream.receive_head()
            if head.status >= 200:
                self._answering = True
                return head
            if head.status == 100:
                if self._continue is not None:
                    self._continue.set()
            else:
                self._exchange.inform(head.status, tuple(response_fields(head.fields)))
            head = None

    def _response_fields(self, head: ResponseHead) -> list[Field]:
        route, endpoint = self._route, self._endpoint
        assert endpoint is not None
        fields = route.fields_of(endpoint, head)
        route.answered(endpoint, head.status, self._exchange.request, fields)
        return fields
