"""The servers behind one route: which is asked for a request, how often again, and what they are remembered for."""

from __future__ import annotations

import hashlib
import hmac
from time import monotonic
from typing import TYPE_CHECKING

from securelight.handlers.proxy_fields import response_fields, with_own_location
from securelight.model.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.handlers.proxy_fields import RequestFields
    from securelight.handlers.proxy_settings import ProxyTimeouts
    from securelight.handlers.sendfile import Sendfile
    from securelight.model.headers import Field
    from securelight.model.request import Facts, Request
    from securelight.pipeline.compile import EventLog
    from securelight.protocol.response_head import ResponseHead
    from securelight.upstream.balance import Balancer
    from securelight.upstream.endpoint import Endpoint
    from securelight.upstream.spool import SpoolRoom

RETRY_SHARE = 0.2
"""Retries for each request, in the long run."""
RETRIES_IN_HAND = 10.0
REPORT_SECONDS = 5.0
"""Between two reports of the failures of one server."""


class RetryBudget:
    """Bounds retries to a part of the requests, so that a failing server is not asked twice as much as a good one."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = RETRIES_IN_HAND

    def earn(self) -> None:
        """A request came."""
        if self._left < RETRIES_IN_HAND:
            self._left += RETRY_SHARE

    def spend(self) -> bool:
        """Whether one more may be sent again."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class StickyCookie:
    """Sends a client back to the server that it had, by a cookie that nobody else can make.

    Args:
        name: of the cookie.
        secret: signs it; the same in all workers.
        endpoints: the servers.
    """

    __slots__ = ("_by_token", "_name", "_tokens")

    def __init__(self, name: str, secret: bytes, endpoints: Sequence[Endpoint]) -> None:
        self._name = name.encode("ascii")
        self._tokens = {
            endpoint.name: hmac.digest(secret, endpoint.name.encode(), hashlib.sha256).hex()[:32].encode("ascii")
            for endpoint in endpoints
        }
        self._by_token = {self._tokens[endpoint.name]: endpoint for endpoint in endpoints}

    def endpoint_of(self, request: Request) -> Endpoint | None:
        """The server that the client had."""
        value = cookie_value(request, self._name)
        return None if value is None else self._by_token.get(value)

    def remember(self, endpoint: Endpoint, request: Request, fields: list[Field]) -> None:
        """Append the cookie to the response `fields`, unless the client has it."""
        token = self._tokens[endpoint.name]
        if cookie_value(request, self._name) != token:
            secure = b"; Secure" if request.scheme == "https" else b""
            fields.append((b"set-cookie", self._name + b"=" + token + b"; Path=/; HttpOnly; SameSite=Lax" + secure))


def cookie_value(request: Request, name: bytes) -> bytes | None:
    """The value of the first cookie called `name`."""
    line = request.headers.get(b"cookie")
    if line is None:
        return None
    for pair in line.split(b";"):
        key, found, value = pair.strip().partition(b"=")
        if found and key == name:
            return value
    return None


class ProxyRoute:
    """The servers of one route.

    Args:
        endpoints: at least one.
        balancer: chooses among those that are up.
        key_of: what a hash is made of.
        fields: of the requests.
        timeouts: as configured.
        retries: for one request.
        try_seconds: for how long servers that take no connection are tried.
        prefix: what is taken off the path, "" for nothing.
        rewrites_location: whether a Location that names a server behind is turned into one of ours.
        failure_statuses: which answers count as failures of the server.
        sticky: the cookie, None without one.
        events: where to report.
        sendfile: answers with files that servers name; None where they may not.
        greeting: what the connection for a request begins with; None for nothing.
        spool: where request bodies are collected first; None for nowhere.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        balancer: Balancer,
        key_of: Callable[[Request, Facts], bytes],
        *,
        fields: RequestFields,
        timeouts: ProxyTimeouts,
        retries: int,
        try_seconds: float,
        prefix: str,
        rewrites_location: bool,
        failure_statuses: Sequence[int],
        sticky: StickyCookie | None,
        events: EventLog,
        sendfile: Sendfile | None = None,
        greeting: Callable[[Request, Facts], bytes] | None = None,
        spool: SpoolRoom | None = None,
    ) -> None:
        self.greeting = greeting
        self.spool = spool
        self.sendfile = sendfile
        self.endpoints = tuple(endpoints)
        self.size = len(self.endpoints)
        self.fields = fields
        self.timeouts = timeouts
        self.retries = retries
        self.try_seconds = try_seconds
        self.prefix = prefix
        self.rewrites_location = rewrites_location
        self.budget = RetryBudget()
        self._balancer = balancer
        self._key_of = key_of
        self._failure_statuses = frozenset(failure_statuses)
        self._sticky = sticky
        self._events = events
        self._reported: dict[str, tuple[float, int]] = {}
        self._urls = {endpoint.name: _urls(endpoint) for endpoint in self.endpoints}

    def choose(self, request: Request, facts: Facts, tried: Sequence[Endpoint]) -> Endpoint:
        """The server for `request`, none of `tried` if there is another.

        Errors: Refusal 503 with Retry-After if all of them are down.
        """
        now = monotonic()
        if self.size == 1 and self.endpoints[0].health.is_up(now):
            return self.endpoints[0]
        up = [endpoint for endpoint in self.endpoints if endpoint.health.is_up(now)]
        if not up:
            seconds = min(endpoint.health.seconds_down(now) for endpoint in self.endpoints)
            raise Refusal(
                503,
                "The application is not there.",
                "all upstreams are down",
                ((b"retry-after", b"%d" % (seconds + 1)),),
            )
        if self._sticky is not None:
            endpoint = self._sticky.endpoint_of(request)
            if endpoint is not None and endpoint in up and endpoint not in tried:
                return endpoint
        if tried:
            up = [endpoint for endpoint in up if endpoint not in tried] or up
        if len(up) == 1:
            return up[0]
        return up[self._balancer.choose(up, self._key_of(request, facts))]

    @property
    def sticks(self) -> bool:
        """Whether a cookie decides which server is asked."""
        return self._sticky is not None

    def fields_of(self, endpoint: Endpoint, head: ResponseHead) -> list[Field]:
        """The fields of a response of `endpoint` as the client gets them, but for the cookie of `answered`."""
        fields = response_fields(head.fields)
        if self.rewrites_location:
            prefix = self.prefix.encode("utf-8", "replace")
            fields = with_own_location(fields, self._urls[endpoint.name], prefix)
        return fields

    def answered(self, endpoint: Endpoint, status: int, request: Request, fields: list[Field]) -> None:
        """A server has answered with `status`; its cookie is put into `fields`."""
        if status in self._failure_statuses:
            endpoint.health.failed(f"answered with {status}")
        if self._sticky is not None:
            self._sticky.remember(endpoint, request, fields)

    def failed(self, endpoint: Endpoint, why: str) -> None:
        """A server did not answer as it should."""
        now = monotonic()
        since, unreported = self._reported.get(endpoint.name, (0.0, 0))
        if now - since >= REPORT_SECONDS:
            self._events.warning("upstream failed", upstream=endpoint.name, why=why, unreported=unreported)
            self._reported[endpoint.name] = (now, 0)
        else:
            self._reported[endpoint.name] = (since, unreported + 1)
        endpoint.health.failed(why)


def _urls(endpoint: Endpoint) -> tuple[bytes, ...]:
    address = endpoint.address
    if address.path:
        return ()
    scheme = "https" if address.scheme in ("https", "h2") else "http"
    host = f"[{address.host}]" if ":" in address.host else address.host
    names = {f"{scheme}://{address.authority}", f"{scheme}://{host}:{address.port}"}
    return tuple(sorted((name.encode("ascii") for name in names), key=len, reverse=True))
