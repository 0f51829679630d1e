"""Several servers behind one route: which is asked for a request, and what they are remembered for.

What is shared by the proxy and by FastCGI and its kin: the way over a protocol is theirs.
"""

from __future__ import annotations

import hashlib
import hmac
from time import monotonic
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from securelight.model.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.model.headers import Field
    from securelight.model.request import Facts, Request
    from securelight.pipeline.compile import EventLog
    from securelight.upstream.balance import Balancer
    from securelight.upstream.health import Health

RETRY_SHARE = 0.2
"""Retries for each request, in the long run."""
RETRIES_IN_HAND = 10.0
REPORT_SECONDS = 5.0
"""Between two reports of the failures of one server."""
HELD_SECONDS = 1.0
"""A client that has kept a server waiting for so long, by a slow upload or download, may be why that gave up: health
must not suffer from what any client can do."""


class Member(Protocol):
    """One server. What it has beside is for a balancer (upstream.balance.Candidate)."""

    health: Health

    @property
    def name(self) -> str: ...  # noqa: D102 - never changes
    @property
    def load(self) -> int: ...  # noqa: D102 - see Candidate
    def share(self) -> float: ...  # noqa: D102 - see Candidate


M = TypeVar("M", bound=Member)


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


class StickyCookie(Generic[M]):
    """Sends a client back to the server that it had, by a cookie that nobody else can make.

    Args:
        name: of the cookie.
        secret: signs it; the same in all workers.
        members: the servers.
    """

    __slots__ = ("_by_token", "_name", "_tokens")

    def __init__(self, name: str, secret: bytes, members: Sequence[M]) -> None:
        self._name = name.encode("ascii")
        self._tokens = {
            member.name: hmac.digest(secret, member.name.encode(), hashlib.sha256).hex()[:32].encode("ascii")
            for member in members
        }
        self._by_token = {self._tokens[member.name]: member for member in members}

    def member_of(self, request: Request) -> M | None:
        """The server that the client had."""
        value = cookie_value(request, self._name)
        return None if value is None else self._by_token.get(value)

    def remember(self, member: M, request: Request, fields: list[Field]) -> None:
        """Append the cookie to the response `fields`, unless the client has it."""
        token = self._tokens[member.name]
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


class UpstreamGroup(Generic[M]):
    """The servers of one route.

    Args:
        members: at least one.
        balancer: chooses among those that are up.
        key_of: what a hash is made of.
        sticky: the cookie, None without one.
        failure_statuses: which answers count as failures of the server.
        retries: for one request.
        try_seconds: for how long servers that take no connection are tried.
        events: where to report.
    """

    def __init__(
        self,
        members: Sequence[M],
        balancer: Balancer,
        key_of: Callable[[Request, Facts], bytes],
        *,
        sticky: StickyCookie[M] | None,
        failure_statuses: Sequence[int],
        retries: int,
        try_seconds: float,
        events: EventLog,
    ) -> None:
        self.members = tuple(members)
        self.size = len(self.members)
        self.retries = retries
        self.try_seconds = try_seconds
        self.budget = RetryBudget()
        self._balancer = balancer
        self._key_of = key_of
        self._failure_statuses = frozenset(failure_statuses)
        self._sticky = sticky
        self._events = events
        self._reported: dict[str, tuple[float, int]] = {}

    def choose(self, request: Request, facts: Facts, tried: Sequence[M]) -> M:
        """The server for `request`, none of `tried` if there is another.

        Errors: Refusal 503 with Retry-After if all of them are down.
        """
        now = monotonic()
        if self.size == 1 and self.members[0].health.is_up(now):
            return self.members[0]
        up = [member for member in self.members if member.health.is_up(now)]
        if not up:
            seconds = min(member.health.seconds_down(now) for member in self.members)
            raise Refusal(
                503,
                "The application is not there.",
                "all upstreams are down",
                ((b"retry-after", b"%d" % (seconds + 1)),),
            )
        if self._sticky is not None:
            member = self._sticky.member_of(request)
            if member is not None and member in up and member not in tried:
                return member
        if tried:
            up = [member for member in up if member not in tried] or up
        if len(up) == 1:
            return up[0]
        return up[self._balancer.choose(up, self._key_of(request, facts))]

    @property
    def sticks(self) -> bool:
        """Whether a cookie decides which server is asked."""
        return self._sticky is not None

    def answered(self, member: M, status: int, request: Request, fields: list[Field]) -> None:
        """A server has answered with `status`; its cookie is put into `fields`."""
        if status in self._failure_statuses:
            member.health.failed(f"answered with {status}")
        if self._sticky is not None:
            self._sticky.remember(member, request, fields)

    def failed(self, member: M, why: str) -> None:
        """A server did not answer as it should, and it is its fault."""
        self.report(member, why)
        member.health.failed(why)

    def report(self, member: M, why: str) -> None:
        """A request was not answered as it should be: for the log, not too often."""
        now = monotonic()
        since, unreported = self._reported.get(member.name, (0.0, 0))
        if now - since >= REPORT_SECONDS:
            self._events.warning("upstream failed", upstream=member.name, why=why, unreported=unreported)
            self._reported[member.name] = (now, 0)
        else:
            self._reported[member.name] = (since, unreported + 1)
