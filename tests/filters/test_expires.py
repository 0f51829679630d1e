"""How long answers may be kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.filters.expires import FEATURE, ExpiresConfig, build, check, has_hash
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from tests.helpers import field, make_context, make_facts, make_request


def kept(settings: dict[str, Any], path: str, kind: bytes | None = b"text/html", status: int = 200) -> bytes | None:
    change = build(msgspec.convert(settings, ExpiresConfig), make_context(Path()))
    fields = () if kind is None else ((b"content-type", kind),)
    return field(change(make_request(path=path), make_facts(), Response(status, fields)), b"cache-control")


FOR_EVER, ASK, HOUR = b"public, max-age=31536000, immutable", b"no-cache", b"max-age=3600"


@pytest.mark.parametrize(
    ("path", "kind", "expected"),
    [
        ("/", b"text/html; charset=utf-8", ASK),
        ("/index.html", b"text/html", ASK),
        ("/app.3f9c2b71.js", b"text/javascript", FOR_EVER),
        ("/assets/index-BxZ91k_q.css", b"text/css", FOR_EVER),
        ("/app.js", b"text/javascript", HOUR),
        ("/jquery-3.7.1.min.js", b"text/javascript", HOUR),
        ("/photo-holidays.jpg", b"image/jpeg", HOUR),
        ("/deadbeef", b"image/png", HOUR),
    ],
)
def test_the_preset_is_sane(path: str, kind: bytes, expected: bytes) -> None:
    assert kept({}, path, kind) == expected
    assert kept({}, path, None, status=304) in (expected, HOUR)  # "/deadbeef" has no type that its name tells


@pytest.mark.parametrize(
    "name", ["app.3f9c2b71.js", "main-4e7a1b2c9d.css", "index-BxZ91k_q.js", "a.0123456789abcdef.woff2"]
)
def test_hashes_are_seen(name: str) -> None:
    assert has_hash(name)


@pytest.mark.parametrize("name", ["app.js", "jquery-3.7.1.min.js", "report-20240131.pdf", "a.deadbeef.js", "", "a-b-c"])
def test_other_names_are_not_taken_for_hashes(name: str) -> None:
    assert not has_hash(name)


def test_rules_come_before_the_preset_and_the_first_one_decides() -> None:
    settings = {
        "rule": [
            {"types": ["image/*"], "max_age_seconds": 60},
            {"when": {"path": ["*.woff2"]}, "max_age_seconds": 100, "immutable": True},
            {"types": ["text/css"], "cache_control": "private, max-age=5"},
            {"when": {"path": ["/live/*"]}, "max_age_seconds": 0},
        ]
    }
    assert kept(settings, "/a.png", b"image/png") == b"max-age=60"
    assert kept(settings, "/a.png", None, status=304) == b"max-age=60"
    assert kept(settings, "/a.woff2", b"font/woff2") == b"max-age=100, immutable"
    assert kept(settings, "/a.css", b"text/css; charset=utf-8") == b"private, max-age=5"
    assert kept(settings, "/live/x", b"text/plain") == b"no-cache"
    assert kept(settings | {"preset": "none"}, "/x.js", b"text/javascript") is None


def test_what_an_answer_says_of_itself_is_left_alone_and_so_are_errors() -> None:
    change = build(ExpiresConfig(), make_context(Path()))
    own = Response(200, ((b"content-type", b"text/html"), (b"cache-control", b"no-store")))
    assert change(make_request(), make_facts(), own) is own
    cookie = Response(200, ((b"content-type", b"text/css"), (b"set-cookie", b"a=b")))
    assert change(make_request(path="/app.3f9c2b71.css"), make_facts(), cookie) is cookie
    assert kept({}, "/app.3f9c2b71.js", b"text/javascript", status=404) is None
    posted = Response(200, ((b"content-type", b"text/html"),))
    assert change(make_request("POST"), make_facts(), posted) is posted
    facts = make_facts()
    facts.refusal = Refusal(404)
    assert change(make_request(), facts, posted) is posted


def test_an_answer_sent_many_times_is_changed_once() -> None:
    change = build(ExpiresConfig(), make_context(Path()))
    shared = Response(200, ((b"content-type", b"text/html"),), b"page", shared=True)
    assert change(make_request(), make_facts(), shared) is change(make_request(), make_facts(), shared)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"preset": "none"}, "does nothing"),
        ({"rule": [{"types": ["a/b"]}]}, "says nothing"),
        ({"rule": [{"cache_control": "a\r\nb"}]}, "not a field value"),
        ({"rule": [{"cache_control": "no-store", "max_age_seconds": 1}]}, "keep one"),
        ({"rule": [{"max_age_seconds": 1, "when": {"path_regex": "("}}]}, "rule[0].when.path_regex"),
    ],
)
def test_bad_settings_are_named_and_never_built(settings: dict[str, Any], fault: str) -> None:
    config = msgspec.convert(settings, ExpiresConfig)
    assert [fault in message for message in check(config, Path())] == [True]
    with pytest.raises(ConfigError):
        build(config, make_context(Path()))


def test_only_a_rule_that_asks_for_the_client_is_asked_each_time() -> None:
    assert FEATURE.is_repeatable(ExpiresConfig())
    rule = {"when": {"client": ["::1"]}, "max_age_seconds": 1}
    assert not FEATURE.is_repeatable(msgspec.convert({"rule": [rule]}, ExpiresConfig))
