"""How many requests somebody may make: a token bucket for each, 429 beyond it (RFC 6585, section 4).

Somebody is an address (with IPv6, its /64), a user, the value of a field such as an API key, or everybody on the route
together. Each worker counts for itself: with several, a client may get as many times the rate. What is kept is bounded;
when there is no room, those who have not come for longest are forgotten, which gives them a full bucket.

The fields RateLimit and RateLimit-Policy tell clients where they stand (draft-ietf-httpapi-ratelimit-headers).

It is the generic cell rate algorithm: of each key only the time is kept at which its bucket would be full again.
"""

from __future__ import annotations

import hashlib
import math
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from securelight.config.conditions import Condition, conditions_in
from securelight.model.errors import Refusal
from securelight.model.field_syntax import is_field_name
from securelight.pipeline.compile import BuildContext, Feature
from securelight.stages.rules import client_key, refuse_faults, test_of, when_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.compile import EventLog
    from securelight.pipeline.conditions import Test
    from securelight.pipeline.stage import Filter, Stage

    _Rule = tuple[Test, "Buckets"]

KEYS: Final = 10_000
"""Of one rule in each worker, about 1.5 MB."""
_LONG_KEY: Final = 64
"""Characters of a key; longer ones are hashed."""


class RateLimitRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.rate_limit.rule]]`: how many requests, of whom."""

    requests: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 1.0
    """So many requests in so many seconds, on average."""
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    """How many at once; as many as `requests` by default."""
    by: str = "address"
    """`address`, `user`, `route` for all together, or `header:NAME`. A request without user or field counts for its
    address."""
    when: Condition | None = None
    """Which requests; all of them without it."""
    dry_run: bool = False
    """Refuse nobody, but put on record who would have been."""


class RateLimitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rate_limit`: how many requests somebody may make. Every rule that fits counts."""

    rule: list[RateLimitRule]
    fields: bool = True
    """Tell clients where they stand, in the fields RateLimit and RateLimit-Policy of all answers."""


def check(settings: RateLimitConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults: list[str] = []
    for number, rule in enumerate(settings.rule):
        key = f"rule[{number}]"
        faults += when_faults(rule.when, key)
        kind, colon, name = rule.by.partition(":")
        if rule.by not in ("address", "user", "route") and not (colon and kind == "header" and is_field_name(name)):
            faults.append(f'{key}.by: {rule.by!r} is not "address", "user", "route" or "header:NAME"')
    return faults


def build(settings: RateLimitConfig, context: BuildContext) -> Stage | None:
    """The stage of those rules that need no user, which keep guesses of passwords away too; None without any.

    That of the others, and the filter that adds fields, go to the context.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    first: list[_Rule] = []
    by_user: list[_Rule] = []
    for number, rule in enumerate(settings.rule):
        made = test_of(rule.when, f"rule[{number}]", context), Buckets(rule, f"r{number}")
        (by_user if _asks_for_user(rule) else first).append(made)
    if by_user:
        context.by_user.append(_limiting(by_user, context.events))
    if settings.fields:
        context.filters.append(_telling((*first, *by_user)))
    return _limiting(first, context.events) if first else None


def _asks_for_user(rule: RateLimitRule) -> bool:
    return rule.by == "user" or any(one.user for one in conditions_in(rule.when))


def _limiting(rules: Sequence[_Rule], events: EventLog) -> Stage:
    rules = tuple(rules)

    def rate_limit(request: Request, facts: Facts) -> None:
        for test, buckets in rules:
            if not test(request, facts):
                continue
            key = buckets.key_of(request, facts)
            wait_seconds = buckets.take(key, monotonic())
            if wait_seconds <= 0:
                continue
            if buckets.dry_run:
                if buckets.first_excess(key):
                    events.info("rate limit would refuse", address=facts.client_address, rule=buckets.name)
                continue
            fields = ((b"retry-after", b"%d" % math.ceil(wait_seconds)),)
            raise Refusal(429, "Too many requests. Please wait a little.", f"rate limit {buckets.name}", fields)

    return rate_limit


class Buckets:
    """The buckets of one rule.

    Args:
        rule: its settings.
        name: the policy's name for clients.
    """

    __slots__ = ("_burst", "_excess", "_full_at", "_interval", "_tolerance", "dry_run", "key_of", "name", "policy")

    def __init__(self, rule: RateLimitRule, name: str) -> None:
        self._burst = rule.burst or rule.requests
        self._interval = rule.seconds / rule.requests
        self._tolerance = (self._burst - 1) * self._interval
        self._full_at: dict[str, float] = {}
        self._excess: set[str] = set()
        self.dry_run = rule.dry_run
        self.name = name
        self.key_of = _key_of(rule.by)
        self.policy = f'"{name}";q={self._burst};w={math.ceil(self._burst * self._interval)}'.encode()

    def take(self, key: str, now: float) -> float:
        """Take one from the bucket; 0, or the seconds until there will be one."""
        known = self._full_at
        full_at = known.pop(key, now)
        full_at = max(full_at, now)
        wait_seconds = full_at - now - self._tolerance
        if wait_seconds <= 1e-9:
            full_at += self._interval
            self._excess.discard(key)
        known[key] = full_at  # at the end: the order is that of their last request
        if len(known) > KEYS:
            del known[next(iter(known))]
        return wait_seconds if wait_seconds > 1e-9 else 0.0

    def left(self, key: str, now: float) -> tuple[int, int]:
        """(how many may come now, in how many seconds the bucket is full)."""
        behind = max(self._full_at.get(key, now) - now, 0.0)
        return max(int((self._tolerance + self._interval - behind) / self._interval + 1e-9), 0), math.ceil(behind)

    def first_excess(self, key: str) -> bool:
        """Whether this is the first time since the bucket last had something; a flood is one event."""
        if key in self._excess or len(self._excess) >= KEYS:
            return False
        self._excess.add(key)
        return True


def _key_of(by: str) -> Callable[[Request, Facts], str]:
    if by == "route":
        return lambda _request, _facts: ""
    if by == "address":
        return lambda _request, facts: client_key(facts.client_address)
    if by == "user":
        return lambda _request, facts: (
            client_key(facts.client_address) if facts.user is None else "user " + _short(facts.user)
        )
    name = by.partition(":")[2].lower().encode()

    def by_field(request: Request, facts: Facts) -> str:
        value = request.headers.get(name)
        return client_key(facts.client_address) if value is None else "field " + _short(value.decode("latin-1"))

    return by_field


def _short(text: str) -> str:
    if len(text) <= _LONG_KEY:
        return text
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=24).hexdigest()


def _telling(rules: Sequence[_Rule]) -> Filter:
    def rate_limit_fields(request: Request, facts: Facts, response: Response) -> Response:
        now = monotonic()
        limits, policies = [], []
        for test, buckets in rules:
            if not buckets.dry_run and test(request, facts):
                left, seconds = buckets.left(buckets.key_of(request, facts), now)
                limits.append(f'"{buckets.name}";r={left};t={seconds}'.encode())
                policies.append(buckets.policy)
        if not limits:
            return response
        return response.with_fields((b"ratelimit-policy", b", ".join(policies)), (b"ratelimit", b", ".join(limits)))

    return rate_limit_fields


FEATURE = Feature(name="rate_limit", kind="stage", config_class=RateLimitConfig, build=build, check=check)
