"""The short way for a request without a body to a server that has a connection waiting: no task, no switch to one.

The request goes out in the turn in which it came; when the reactor finds its answer, that is written in the same turn
too. Whatever is not as simple as that (no connection is free, the head comes in pieces, the body is chunked or large,
the client has no room, something breaks) is left to ProxyCall, which goes on from the point that was reached: every
rule about failures, retries and slow ends is there, and only there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from securelight.handlers.proxy_call import AskedAlready, ProxyCall
from securelight.handlers.proxy_fields import upstream_target
from securelight.model.body import PUSHED_BODY
from securelight.model.errors import Refusal
from securelight.model.headers import CREDENTIALS
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.pipeline.stage import RESPONDED
from securelight.protocol.http1_responses import request_head
from securelight.protocol.response_head import ResponseFault
from securelight.upstream.faults import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from securelight.handlers.proxy_route import ProxyRoute
    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import DirectExchange, Exchange
    from securelight.pipeline.stage import Responded
    from securelight.protocol.response_head import ResponseHead
    from securelight.upstream.endpoint import Endpoint
    from securelight.upstream.http1_connection import Http1Connection
    from securelight.upstream.stream import PlainStream

DIRECT_METHODS = frozenset({"GET", "OPTIONS", "DELETE"})
"""Whose requests go without a Content-Length where there is no body, and whose responses may have one."""
DIRECT_BODY_BYTES = 262_144
"""Of longer bodies the task is a small part of the cost, and they must not hold the worker."""
HEADS_KEPT = 256
HEAD_BYTES = 1024
"""Of the request heads of a route that are kept as they went out."""


class DirectProxy:
    """What the short way of one route shares.

    Args:
        route: where requests go.
    """

    __slots__ = ("_heads", "route", "usable")

    def __init__(self, route: ProxyRoute) -> None:
        self.route = route
        self.usable = route.greeting is None and route.sendfile is None and not route.sticks
        """Whether any request may take it."""
        self._heads: dict[tuple[object, ...], bytes] = {}

    def begin(self, exchange: DirectExchange) -> bool:
        """Send the request of `exchange`, or have a task do it; False for a task that begins anew."""
        route = self.route
        request, facts = exchange.request, exchange.facts
        if request.content_length is not None:  # of a body of no bytes, which the server is told of
            return False
        try:
            endpoint = route.choose(request, facts, ())
        except Refusal:
            return False
        upstream = endpoint.take_plain()
        if upstream is None:
            return self._leave(exchange, endpoint)
        sent = False
        try:
            sent = upstream.ask_now(request.method, self._head(request, facts, endpoint))
        finally:
            if not sent:
                endpoint.discard(upstream)
        if not sent:
            return self._leave(exchange, endpoint)
        route.budget.earn()
        now = trio.current_time()
        timeouts = route.timeouts
        stream = upstream.plain
        call = _DirectCall(route, exchange, endpoint, upstream, stream, now + timeouts.total_seconds)
        stream.deadline = min(call.total_deadline, now + timeouts.first_byte_seconds)
        stream.follow(call)
        exchange.direct = call
        return True

    def _leave(self, exchange: DirectExchange, endpoint: Endpoint) -> bool:
        """As `begin`, where `endpoint` can't be asked at once: that it was chosen counts."""
        route = self.route
        if route.size == 1:
            return False

        async def run(_exchange: Exchange) -> Responded:
            return await ProxyCall(route, exchange, endpoint).run()

        exchange.go_on(run)
        return True

    def _head(self, request: Request, facts: Facts, endpoint: Endpoint) -> bytes:
        """The head as it goes out. What decides about it is in the key; clients repeat theirs."""
        route = self.route
        key = (
            request.headers, request.target, request.path, request.method, request.authority, request.scheme,
            request.peer.address, facts.client_address, endpoint,
        )  # fmt: skip
        head = self._heads.get(key)
        if head is not None:
            return head
        fields = route.fields.of(request, facts, endpoint.address.authority)
        if route.prefix:
            fields.append((b"x-forwarded-prefix", route.prefix.encode("utf-8", "replace")))
        head = request_head(request.method, upstream_target(request, route.prefix), fields)
        if len(head) <= HEAD_BYTES and route.fields.repeats and request.headers.isdisjoint(CREDENTIALS):
            if len(self._heads) >= HEADS_KEPT:
                self._heads.clear()
            self._heads[key] = head
        return head


class _DirectCall:
    """One request under way; implements upstream.stream.Follower and pipeline.exchange.DirectWork."""

    __slots__ = (
        "_endpoint", "_exchange", "_failure", "_head", "_left", "_released", "_route", "_stream", "_upstream",
        "total_deadline",
    )  # fmt: skip

    def __init__(
        self,
        route: ProxyRoute,
        exchange: DirectExchange,
        endpoint: Endpoint,
        upstream: Http1Connection,
        stream: PlainStream,
        total_deadline: float,
    ) -> None:
        self._route = route
        self._exchange = exchange
        self._endpoint = endpoint
        self._upstream = upstream
        self._stream = stream
        self._head: ResponseHead | None = None
        """Of the response, once it is on its way to the client."""
        self._released = False
        self._left = False
        """A task goes on with it, or will when it gets to it."""
        self._failure: Exception | None = None
        """What that task is to raise instead."""
        self.total_deadline = total_deadline

    # upstream.stream.Follower

    def readable(self) -> None:
        """The server has said something, or its last."""
        try:
            self._read()
        except ResponseFault as fault:
            self._go_on(fault=UpstreamBroken(str(fault)))
        except Exception as error:
            self.fail(error)

    def overdue(self) -> None:
        """The task that goes on finds it out again, and what follows from it."""
        self._go_on()

    # pipeline.exchange.DirectWork

    def fail(self, error: Exception) -> None:
        """See pipeline.exchange.DirectWork."""
        if self._exchange.direct is not self:
            return
        if not self._released:
            self._released = True
            self._stream.follower = None
            self._endpoint.discard(self._upstream)
        self._failure = error
        if not self._left:
            self._leave(self._failed)
        self._exchange.direct = None

    async def _failed(self, _exchange: Exchange) -> Responded:
        assert self._failure is not None
        raise self._failure

    def _leave(self, run: Callable[[Exchange], Awaitable[Responded]]) -> None:
        self._left = True
        self._exchange.go_on(run)

    def _go_on(
        self, head: ResponseHead | None = None, data: bytes = b"", *, fault: UpstreamBroken | None = None
    ) -> None:
        """Leave it to a task.

        Args:
            head: was read, and nothing of it passed on.
            data: of the body, not passed on yet.
            fault: why the answer is none.
        """
        if self._left or self._exchange.direct is not self:
            return  # the client was found gone meanwhile
        self._stream.follower = None
        call = ProxyCall(self._route, self._exchange)
        asked = AskedAlready(self._endpoint, self._upstream, self.total_deadline, head, data, fault)
        begun = self._head is not None

        async def run(exchange: Exchange) -> Responded:
            if self._failure is not None:  # before the task got to it; the connection is closed
                return await self._failed(exchange)
            self._exchange.direct = None
            await call.go_on(asked, begun=begun)
            return RESPONDED

        self._leave(run)

    def _read(self) -> None:
        stream, upstream = self._stream, self._upstream
        while True:
            try:
                received = stream.receive_now()
            except OSError:
                received = b""  # the next read says no more than that it has ended
            if received is None:
                return
            if not received:
                stream.give_back(b"")
                self._go_on()
                return
            if self._head is not None:
                over = self._pass_on(upstream.body_now(received))
            else:
                head = upstream.head_now(received)
                if head is None:
                    self._go_on()
                    return
                over = self._begin(head)
            if over or not stream.ready:
                return

    def _begin(self, head: ResponseHead) -> bool:
        """True if nothing more is to be done here."""
        upstream, length, status = self._upstream, head.length, head.status
        if length is None or not head.has_body or length > DIRECT_BODY_BYTES or status in BODYLESS_STATUSES:
            self._go_on(head)
            return True
        endpoint, exchange, route = self._endpoint, self._exchange, self._route
        kept: tuple[Fields, dict[str, Any]] | None = head.kept.get(endpoint)
        if kept is None:
            fields = tuple(route.fields_of(endpoint, head))
            kept = (fields, {})
            head.kept[endpoint] = kept
        data = upstream.body_now()
        route.answered(endpoint, status, exchange.request, [])
        if upstream.whole:
            exchange.answer(Response(status, kept[0], data, serialised=kept[1]))
            self._over()
            return True
        self._head = head
        response = Response(status, kept[0], PUSHED_BODY, content_length=length, serialised=kept[1])
        if not exchange.begin_now(response, data):
            self._go_on(data=data)
            return True
        return self._pass_on(b"")

    def _pass_on(self, data: bytes) -> bool:
        """A piece of the body. True if nothing more is to be done here."""
        exchange, upstream = self._exchange, self._upstream
        if data and not exchange.send_now(data, end=upstream.whole):
            self._go_on(data=data)
            return True
        if not upstream.whole:
            route = self._route
            self._stream.set_deadline(min(self.total_deadline, trio.current_time() + route.timeouts.idle_seconds))
            return False
        self._over()
        return True

    def _over(self) -> None:
        """All of the answer is on its way to the client."""
        endpoint = self._endpoint
        self._stream.follower = None
        self._released = True
        endpoint.release(self._upstream)
        endpoint.health.worked()
        self._exchange.direct = None
        self._exchange.over()
