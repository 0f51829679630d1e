"""Token buckets: who may, who waits, and that what is kept has an end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.errors import ConfigError, Refusal
from securelight.model.request import Facts
from securelight.model.response import Response
from securelight.stages import rate_limit
from securelight.stages.rate_limit import Buckets, RateLimitConfig, RateLimitRule, build, check
from tests.helpers import field, make_context, make_request


class Site:
    """A stage with a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rules: dict[str, Any], **more: Any) -> None:
        self.now = 1000.0
        monkeypatch.setattr(rate_limit, "monotonic", lambda: self.now)
        self.context = make_context(Path())
        self.stage = build(msgspec.convert({"rule": rules, **more}, RateLimitConfig), self.context)

    def ask(self, address: str = "192.0.2.1", user: str | None = None, **headers: bytes) -> int:
        """0, or the seconds of Retry-After."""
        facts = Facts(address)
        facts.user = user
        request = make_request(headers={name.encode(): value for name, value in headers.items()})
        try:
            for stage in (self.stage, *self.context.by_user):
                assert stage is None or stage(request, facts) is None
        except Refusal as refusal:
            if refusal.status != 429:
                raise
            return int(dict(refusal.fields)[b"retry-after"])
        return 0


def test_a_burst_passes_and_then_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, {"requests": 10, "seconds": 60, "burst": 3})
    assert [site.ask() for _ in range(5)] == [0, 0, 0, 6, 6]
    assert site.ask("192.0.2.2") == 0
    site.now += 6
    assert [site.ask() for _ in range(2)] == [0, 6]
    site.now += 3600
    assert [site.ask() for _ in range(4)] == [0, 0, 0, 6]


def test_refused_requests_cost_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, {"requests": 1, "seconds": 10})
    assert site.ask() == 0
    for _ in range(100):
        assert site.ask() == 10
    site.now += 10
    assert site.ask() == 0


def test_an_ipv6_client_is_its_network(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, {"requests": 1, "seconds": 10})
    assert site.ask("2001:db8::1") == 0
    assert site.ask("2001:db8::ffff:1") == 10
    assert site.ask("2001:db8:0:1::1") == 0
    assert site.ask("::ffff:192.0.2.9") == 0
    assert site.ask("192.0.2.9") == 10


def test_users_fields_and_routes_are_counted_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, {"requests": 1, "seconds": 10, "by": "user"})
    assert [site.ask(user="alice"), site.ask("192.0.2.2", user="alice"), site.ask(user="bob")] == [0, 10, 0]
    assert [site.ask(), site.ask(), site.ask("192.0.2.2")] == [0, 10, 0]
    site = Site(monkeypatch, {"requests": 1, "seconds": 10, "by": "header:key"})
    assert [site.ask(key=b"a"), site.ask("::1", key=b"a"), site.ask(key=b"b" * 5000), site.ask(key=b"b" * 5001)] == [
        0, 10, 0, 0,
    ]  # fmt: skip
    site = Site(monkeypatch, {"requests": 1, "seconds": 10, "by": "route"})
    assert [site.ask(), site.ask("192.0.2.2", user="x")] == [0, 10]


def test_every_rule_that_fits_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(
        monkeypatch,
        {"requests": 5, "seconds": 10},
        {"requests": 1, "seconds": 10, "when": {"header": {"x": "*"}}},
    )
    assert [site.ask(x=b"1"), site.ask(x=b"1"), site.ask()] == [0, 10, 0]


def test_a_dry_run_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, {"requests": 1, "seconds": 10, "dry_run": True})
    seen: list[str] = []
    monkeypatch.setattr(site.context.events, "info", lambda event, **_values: seen.append(event))
    assert [site.ask() for _ in range(5)] == [0] * 5
    assert seen == ["rate limit would refuse"]


def test_answers_tell_where_a_client_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, {"requests": 10, "seconds": 60, "burst": 3})
    [apply] = site.context.filters
    for left in (3, 2, 1, 0, 0):
        response = apply(make_request(), Facts("192.0.2.1"), Response(200))
        assert (field(response, b"ratelimit") or b"").startswith(b'"r0";r=%d;t=' % left)
        assert field(response, b"ratelimit-policy") == b'"r0";q=3;w=18'
        site.ask()
    assert not Site(monkeypatch, {"requests": 1}, fields=False).context.filters


def test_what_is_kept_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "KEYS", 100)
    site = Site(monkeypatch, {"requests": 1, "seconds": 10})
    assert site.ask("198.51.100.1") == 0
    for number in range(99):
        assert site.ask(f"192.0.2.{number}") == 0
    assert site.ask("198.51.100.1") == 10
    for number in range(150):
        site.ask(f"203.0.113.{number}")
    buckets = Buckets(RateLimitRule(1, 10.0), "x")
    for number in range(500):
        buckets.take(str(number), 1.0)
    assert len(buckets._full_at) == 100


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_nobody_gets_more_than_the_burst_and_the_rate(gaps: list[float], requests: int, burst: int) -> None:
    buckets = Buckets(RateLimitRule(requests, 2.0, burst), "x")
    now, passed = 0.0, 0
    for gap in gaps:
        now += gap
        passed += buckets.take("key", now) == 0
        assert passed <= burst + now * requests / 2.0 + 1e-6


@pytest.mark.parametrize("by", ["ip", "header:", "header:a b", "cookie:x", ""])
def test_bad_settings_are_named_and_never_built(by: str) -> None:
    config = msgspec.convert({"rule": [{"requests": 1, "by": by}]}, RateLimitConfig)
    assert ["rule[0].by" in message for message in check(config, Path())] == [True]
    with pytest.raises(ConfigError):
        build(config, make_context(Path()))
