"""WebSockets and other upgrades to a server behind us: asked for anew over HTTP/1.1, then bytes both ways.

The client may speak HTTP/1.1 (Upgrade) or HTTP/2 (extended CONNECT, RFC 8441). Our own request is made from its fields
as that of any other, hop-by-hop fields written anew, with a key of ours for WebSocket: what comes back has to prove
that a server has understood it before anything of it is passed on. A response that is no 101 goes to the client as it
is.

Off unless the configuration names protocols: what goes through a tunnel is seen by no rule of ours, and each holds a
connection for as long as its ends like. Never `h2c`, which would be HTTP past every one of them.

A tunnel holds one read in each direction (Limits.upstream_buffer_bytes), made when the one before has been taken. Once
one side ends, both do.
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING

import msgspec
import trio

from securelight.handlers.proxy_fields import response_fields, upstream_target
from securelight.handlers.proxy_settings import Count, Seconds
from securelight.model.body import PUSHED_BODY
from securelight.model.errors import BodyAborted, ClientDisconnected, Refusal, ServerLeaving
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.model.upgrade import wanted_protocols
from securelight.pipeline.stage import RESPONDED
from securelight.protocol.http1_responses import Http1Responses, request_head
from securelight.protocol.response_head import ResponseFault
from securelight.protocol.upgrade_response import UpgradeResponse
from securelight.protocol.websocket import VERSION, accept_key, handshake_fields, subprotocols_of
from securelight.upstream.faults import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from securelight.handlers.proxy_route import ProxyRoute
    from securelight.model.headers import Field
    from securelight.model.limits import Limits
    from securelight.model.request import Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Responded
    from securelight.upstream.endpoint import Endpoint
    from securelight.upstream.stream import ByteStream

WEBSOCKET = b"websocket"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,64}(?:/[!#$%&'*+.^_`|~0-9a-z-]{1,64})?")
_NEVER = frozenset({"h2c", "http", "tls"})
"""HTTP within HTTP, which the server behind would take for requests that we had let through."""
_OWN_FIELDS = frozenset({b"sec-websocket-key", b"sec-websocket-accept", b"sec-websocket-version"})

_LAST_WORD_SECONDS = 10.0
"""How long a server may take to answer the end of its client's side; RFC 6455 leaves it open, browsers wait so long."""


class ProxyUpgrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`proxy.upgrade`: WebSockets and the like."""

    protocols: tuple[str, ...] = ()
    """What a client may switch to, such as `["websocket"]`; nothing by default."""
    maximum: Count = 1024
    """Of them at a time, in each worker; 503 for more."""
    idle_seconds: Seconds = 300.0
    """Without a byte either way, after which one ends."""
    total_seconds: Seconds = 86_400.0
    """After which one ends in any case."""


def upgrade_faults(settings: ProxyUpgrade, upstreams: Sequence[str]) -> list[str]:
    """What is wrong with the settings, besides their types."""
    faults = []
    for protocol in settings.protocols:
        if not _TOKEN.fullmatch(protocol):
            faults.append(f"upgrade.protocols: {protocol!r} is not a protocol in lower case, such as 'websocket'")
        elif protocol.partition("/")[0] in _NEVER:
            faults.append(f"upgrade.protocols: {protocol!r} would carry requests past this server")
    if settings.protocols:
        faults += [
            f"upgrade.protocols: {url!r} speaks HTTP/2; upgrades need http://, https:// or unix:"
            for url in upstreams
            if url.startswith(("h2:", "h2c:"))
        ]
    return faults


class ProxyUpgrades:
    """The upgrades of one route.

    Args:
        route: the servers behind it.
        settings: what is allowed.
        limits: the server's bounds.

    Attributes:
        open: tunnels, and those that are about to be.
    """

    def __init__(self, route: ProxyRoute, settings: ProxyUpgrade, limits: Limits) -> None:
        self.route = route
        self.settings = settings
        self.limits = limits
        self.open = 0
        self._protocols = frozenset(protocol.encode("ascii") for protocol in settings.protocols)

    def of(self, request: Request) -> Callable[[Exchange], Awaitable[Responded]] | None:
        """Who answers a request that asks for an upgrade; None if it is to be answered as an ordinary one.

        Errors: Refusal 501 for an extended CONNECT that asks for what is not allowed.
        """
        for protocol in wanted_protocols(request):
            if protocol in self._protocols and (protocol == WEBSOCKET or request.method != "CONNECT"):

                async def run(exchange: Exchange, chosen: bytes = protocol) -> Responded:
                    return await self._run(exchange, chosen)

                return run
        if request.method == "CONNECT":
            raise Refusal(501, "The protocol is not supported.", "extended CONNECT to a protocol that is not allowed")
        return None

    async def _run(self, exchange: Exchange, protocol: bytes) -> Responded:
        if self.open >= self.settings.maximum:
            raise Refusal(503, "The server is busy.", f"{self.open} upgrades are open", ((b"retry-after", b"5"),))
        self.open += 1
        try:
            await _UpgradeCall(self, exchange, protocol).run()
        finally:
            self.open -= 1
        return RESPONDED


class _UpgradeCall:
    """One upgrade, from its request to the end of its tunnel."""

    def __init__(self, upgrades: ProxyUpgrades, exchange: Exchange, protocol: bytes) -> None:
        self._route = upgrades.route
        self._settings = upgrades.settings
        self._limits = upgrades.limits
        self._exchange = exchange
        self._protocol = protocol
        self._granted = list(handshake_fields(exchange.request)) if protocol == WEBSOCKET else []
        self._subprotocols = subprotocols_of(exchange.request) if protocol == WEBSOCKET else []
        self._key = base64.b64encode(os.urandom(16))
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Errors: Refusal, ClientDisconnected, BodyAborted."""
        endpoint, stream = await self._connect()
        try:
            response = UpgradeResponse(self._limits)
            try:
                with trio.fail_after(self._route.timeouts.first_byte_seconds):
                    await stream.send(self._request(endpoint))
                    while not response.feed(await _some(stream)):
                        pass
                if response.switched:
                    self._check(response)
            except (OSError, ResponseFault, trio.TooSlowError) as fault:
                late = isinstance(fault, trio.TooSlowError)
                why = "no answer to an upgrade in time" if late else f"upgrade: {fault}"
                raise self._failed(endpoint, why, 504 if late else 502) from fault
            endpoint.health.worked()
            if response.switched:
                await self._tunnel(endpoint, stream, response)
            else:
                await self._pass_on(endpoint, stream, response.rest)
        finally:
            stream.close()

    def _failed(self, endpoint: Endpoint, why: str, status: int) -> Refusal:
        self._route.failed(endpoint, why)
        return Refusal(status, "The application can't be reached.", f"{endpoint.name}: {why}")

    async def _connect(self) -> tuple[Endpoint, ByteStream]:
        """A connection of its own: what becomes a tunnel is never in a pool."""
        route, exchange = self._route, self._exchange
        tried: list[Endpoint] = []
        while True:
            endpoint = route.choose(exchange.request, exchange.facts, tried)
            try:
                greeting = b"" if route.greeting is None else route.greeting(exchange.request, exchange.facts)
                return endpoint, await endpoint.open_stream(greeting)
            except ConnectFailed as fault:
                refusal = self._failed(endpoint, str(fault), 504 if fault.late else 502)
                tried.append(endpoint)
                if len(tried) >= route.size:
                    raise refusal from fault

    def _request(self, endpoint: Endpoint) -> bytes:
        request, route = self._exchange.request, self._route
        made = route.fields.of(request, self._exchange.facts, endpoint.address.authority)
        fields: list[Field] = [field for field in made if field[0] not in _OWN_FIELDS]
        if route.prefix:
            fields.append((b"x-forwarded-prefix", route.prefix.encode("utf-8", "replace")))
        fields += [(b"connection", b"Upgrade"), (b"upgrade", self._protocol)]
        if self._protocol == WEBSOCKET:
            fields += [(b"sec-websocket-version", VERSION), (b"sec-websocket-key", self._key)]
        method = "GET" if request.method == "CONNECT" else request.method
        return request_head(method, upstream_target(request, route.prefix), tuple(fields))

    def _check(self, response: UpgradeResponse) -> None:
        response.check(self._protocol)
        if self._protocol == WEBSOCKET:
            offers = b"sec-websocket-extensions" in self._exchange.request.headers
            response.check_websocket(accept_key(self._key), self._subprotocols, extensions=offers)

    # No 101.

    async def _pass_on(self, endpoint: Endpoint, stream: ByteStream, beginning: bytes) -> None:
        """An ordinary response: the server does not want to."""
        exchange, responses = self._exchange, Http1Responses(self._limits)
        responses.begin(exchange.request.method)
        begun = False
        try:
            with trio.fail_after(self._route.timeouts.total_seconds):
                head = responses.head(beginning)
                while head is None:
                    head = responses.head(await _some(stream))
                fields = response_fields(head.fields)
                self._route.answered(endpoint, head.status, exchange.request, fields)
                if not head.has_body or head.status in BODYLESS_STATUSES:
                    await exchange.respond(Response(head.status, tuple(fields), b""))
                    return
                begun = True
                await exchange.begin(Response(head.status, tuple(fields), PUSHED_BODY, content_length=head.length))
                data = b"" if responses.whole else responses.body()
                while True:
                    if data:
                        await exchange.send(data)
                    if responses.whole:
                        break
                    with trio.fail_after(self._route.timeouts.idle_seconds):
                        received = await stream.receive()
                    if received:
                        data = responses.body(received)
                    else:
                        data = b""
                        responses.end_of_input()
                await exchange.end(responses.trailers)
        except (OSError, ResponseFault, trio.TooSlowError) as fault:
            if begun:
                raise BodyAborted(f"{endpoint.name}: {fault}") from fault
            raise self._failed(endpoint, str(fault), 502) from fault

    # The tunnel.

    async def _tunnel(self, endpoint: Endpoint, stream: ByteStream, response: UpgradeResponse) -> None:
        exchange = self._exchange
        fields = [field for field in response_fields(response.fields) if field[0] not in _OWN_FIELDS]
        self._route.answered(endpoint, 101, exchange.request, fields)
        await exchange.upgrade(self._protocol, (*self._granted, *fields))
        total_deadline = trio.current_time() + self._settings.total_seconds
        self._moved(total_deadline)
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_gone, nursery.cancel_scope)
                nursery.start_soon(self._up, stream, total_deadline, nursery.cancel_scope)
                await self._down(stream, response.rest, total_deadline)
                nursery.cancel_scope.cancel()
        try:
            await exchange.end()
        except ClientDisconnected:
            return

    def _moved(self, total_deadline: float) -> None:
        """Something came through."""
        self._scope.deadline = min(total_deadline, trio.current_time() + self._settings.idle_seconds)

    async def _until_gone(self, both: trio.CancelScope) -> None:
        """A client's leaving is seen here even where both directions wait for the server."""
        await self._exchange.disconnected()
        both.cancel()

    async def _up(self, stream: ByteStream, total_deadline: float, both: trio.CancelScope) -> None:
        """From the client to the server."""
        try:
            while True:
                try:
                    data = await self._exchange.receive()
                except ServerLeaving:
                    continue  # it may go on until graceful_stop_seconds are over
                if not data:
                    # Over HTTP/2 browsers end their side with their close frame; the server's is still to come.
                    self._scope.deadline = min(self._scope.deadline, trio.current_time() + _LAST_WORD_SECONDS)
                    return
                self._moved(total_deadline)
                await stream.send(data)
        except (OSError, ClientDisconnected):
            pass
        both.cancel()

    async def _down(self, stream: ByteStream, data: bytes, total_deadline: float) -> None:
        """From the server to the client, beginning with `data`."""
        try:
            while True:
                if data:
                    self._moved(total_deadline)
                    await self._exchange.send(data)
                data = await stream.receive()
                if not data:
                    return
        except (OSError, ClientDisconnected):
            return


async def _some(stream: ByteStream) -> bytes:
    """At least one byte.

    Errors: OSError, also at the end.
    """
    data = await stream.receive()
    if not data:
        raise OSError("the connection ended before the answer")
    return data
