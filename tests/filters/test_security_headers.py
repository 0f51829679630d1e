"""Presets of careful fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from securelight.filters.security_headers import SecurityHeadersConfig, build, check
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from tests.helpers import field, make_context, make_facts, make_request


def fields_of(response: Response | None = None, scheme: str = "https", **settings: Any) -> Response:
    change = build(SecurityHeadersConfig(**settings), make_context(Path()))
    return change(make_request(scheme=scheme), make_facts(), response or Response(200))


def test_strict_leaves_nothing_open() -> None:
    response = fields_of(preset="strict")
    assert b"default-src 'self'" in (field(response, b"content-security-policy") or b"")
    assert b"frame-ancestors 'none'" in (field(response, b"content-security-policy") or b"")
    assert field(response, b"cross-origin-opener-policy") == b"same-origin"
    assert field(response, b"cross-origin-resource-policy") == b"same-origin"
    assert b"camera=()" in (field(response, b"permissions-policy") or b"")
    assert field(response, b"x-content-type-options") == b"nosniff"
    assert field(response, b"x-frame-options") == b"DENY"
    assert field(response, b"strict-transport-security") == b"max-age=31536000"


def test_balanced_breaks_no_page_that_loads_from_elsewhere() -> None:
    response = fields_of()
    assert b"default-src" not in (field(response, b"content-security-policy") or b"")
    assert field(response, b"cross-origin-resource-policy") is None
    assert field(response, b"strict-transport-security") == b"max-age=86400"


def test_each_field_can_be_another_or_none() -> None:
    response = fields_of(
        preset="strict",
        content_security_policy="default-src 'none'",
        report_only=True,
        permissions_policy="",
        cross_origin_embedder_policy="require-corp",
        hsts_seconds=0,
    )
    assert field(response, b"content-security-policy") is None
    assert field(response, b"content-security-policy-report-only") == b"default-src 'none'"
    assert field(response, b"permissions-policy") is None
    assert field(response, b"cross-origin-embedder-policy") == b"require-corp"
    assert field(response, b"strict-transport-security") is None


def test_what_an_answer_says_of_itself_wins() -> None:
    own = Response(200, ((b"content-security-policy", b"default-src *"), (b"referrer-policy", b"origin")))
    response = fields_of(own, preset="strict")
    assert field(response, b"content-security-policy") == b"default-src *"
    assert field(response, b"referrer-policy") == b"origin"


def test_without_tls_nothing_is_said_of_it() -> None:
    assert field(fields_of(scheme="http"), b"strict-transport-security") is None


def test_the_servers_own_pages_keep_their_style() -> None:
    change = build(SecurityHeadersConfig(preset="strict"), make_context(Path()))
    facts = make_facts()
    facts.refusal = Refusal(404)
    policy = field(change(make_request(), facts, Response(404)), b"content-security-policy") or b""
    assert b"style-src 'unsafe-inline'" in policy
    assert b"default-src 'none'" in policy


def test_an_answer_sent_many_times_is_changed_once() -> None:
    change = build(SecurityHeadersConfig(), make_context(Path()))
    shared = Response(200, (), b"page", shared=True)
    assert change(make_request(), make_facts(), shared) is change(make_request(), make_facts(), shared)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"content_security_policy": "a\r\nset-cookie: b"}, "content_security_policy"),
        ({"permissions_policy": "ü"}, "permissions_policy"),
        ({"preset": "none"}, "does nothing"),
    ],
)
def test_bad_settings_are_named_and_never_built(settings: dict[str, Any], fault: str) -> None:
    config = SecurityHeadersConfig(**settings)
    assert [fault in message for message in check(config, Path())] == [True]
    with pytest.raises(ConfigError):
        build(config, make_context(Path()))
