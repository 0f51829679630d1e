"""Whether a server behind us is asked: what its answers say of it, and what checks of it said.

Two judges, and both must agree that it is well. The passive one counts failures of real requests in a window; past the
bound the server rests for as long again, and then one more failure is enough. The active one asks for a path now and
then, and believes a change only when it has seen it several times in a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_SHARE = 0.1
"""Of its weight, for a server that has just come back."""


@dataclass(frozen=True, slots=True)
class HealthRules:
    """When a server is down.

    Attributes:
        failures: of requests within `failure_seconds` after which it rests; 0 for never.
        failure_seconds: the window, and the rest.
        slow_start_seconds: after a rest, until it gets its whole share again.
        ups: good checks in a row that bring it back.
        downs: bad checks in a row that take it out.
    """

    failures: int = 3
    failure_seconds: float = 10.0
    slow_start_seconds: float = 0.0
    ups: int = 2
    downs: int = 3


@dataclass(frozen=True, slots=True)
class CheckRules:
    """Active checks.

    Attributes:
        path: what is asked for; empty for no questions.
        host: the Host field; that of the address by default.
        statuses: the first and last status that is good.
        seconds: between two checks of one server.
        timeout_seconds: for one check.
        connect: without a path: it is well if it takes a connection.
    """

    path: str = ""
    host: str = ""
    statuses: tuple[int, int] = (200, 399)
    seconds: float = 10.0
    timeout_seconds: float = 5.0
    connect: bool = False


class Health:
    """Of one server.

    Args:
        rules: as configured.
        report: is told ("down" or "up", why) when it changes.
    """

    __slots__ = ("_back_since", "_checks_in_row", "_down_until", "_failures", "_passed", "_report", "_rules",
                 "_window_since")  # fmt: skip

    def __init__(self, rules: HealthRules, report: Callable[[str, str], None]) -> None:
        self._rules = rules
        self._report = report
        self._failures = 0
        self._window_since = 0.0
        self._down_until = 0.0
        self._back_since = 0.0
        self._passed = True
        self._checks_in_row = 0

    def is_up(self, now: float) -> bool:
        """Whether requests may go there."""
        return self._passed and now >= self._down_until

    def seconds_down(self, now: float) -> float:
        """For how long no request goes there, at least."""
        return max(0.0, self._down_until - now)

    def share(self, now: float) -> float:
        """The part of its weight that it gets: less than 1 after a rest."""
        slow = self._rules.slow_start_seconds
        if not slow or not self._back_since:
            return 1.0
        return min(1.0, max(LEAST_SHARE, (now - max(self._back_since, self._down_until)) / slow))

    def failed(self, why: str) -> None:
        """A request could not be answered, and it is the server's fault."""
        rules = self._rules
        if not rules.failures:
            return
        now = monotonic()
        if now < self._down_until:
            return
        if now - self._window_since > rules.failure_seconds and not self._down_until:
            self._window_since = now
            self._failures = 0
        self._failures += 1
        if self._failures >= rules.failures:
            self._down_until = self._back_since = now + rules.failure_seconds
            self._failures = rules.failures - 1
            self._report("down", why)

    def worked(self) -> None:
        """A request was answered."""
        if self._down_until and monotonic() >= self._down_until:
            self._down_until = 0.0
            self._failures = 0
            self._report("up", "it answers again")

    def checked(self, *, good: bool, why: str) -> None:
        """An active check has ended."""
        if good == self._passed:
            self._checks_in_row = 0
            return
        self._checks_in_row += 1
        if self._checks_in_row >= (self._rules.ups if good else self._rules.downs):
            self._checks_in_row = 0
            self._passed = good
            if good:
                self._back_since = monotonic()
            self._report("up" if good else "down", why)
