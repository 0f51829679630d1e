"""Which other origins may read answers, and which may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from securelight.filters.cors import CorsConfig, build, check
from securelight.model.errors import ConfigError
from securelight.model.limits import Limits
from securelight.model.response import Response
from securelight.pipeline.compile import CompiledSites, Route
from securelight.pipeline.run import run
from tests.helpers import field, make_context, make_facts, make_request

ANSWER = Response(200, ((b"vary", b"accept-encoding"),), b"data", shared=True)


def asked(
    origin: bytes | None, method: str = "GET", answer: Response = ANSWER, *, preflight: bool = False, **settings: Any
) -> Response:
    """What a script of `origin` gets."""
    context = make_context(Path())
    change = build(CorsConfig(**settings), context)
    sites = CompiledSites(Limits())
    sites.add(["a.test"], [Route("/", tuple(context.stages), lambda _request, _facts: answer, (change,))])
    headers = {} if origin is None else {b"origin": origin}
    if preflight:
        headers[b"access-control-request-method"] = b"PUT"
    response = run(sites, make_request(method, headers=headers), make_facts())
    assert isinstance(response, Response)
    return response


NAMED: dict[str, Any] = {
    "origins": ["https://app.example.org", "https://*.example.net"],
    "expose": ["x-total"],
    "credentials": True,
}


@pytest.mark.parametrize("origin", [b"https://app.example.org", b"https://a.example.net", b"https://b.a.example.net"])
def test_a_named_origin_reads_the_answer(origin: bytes) -> None:
    response = asked(origin, **NAMED)
    assert field(response, b"access-control-allow-origin") == origin
    assert field(response, b"access-control-allow-credentials") == b"true"
    assert field(response, b"access-control-expose-headers") == b"x-total"
    assert field(response, b"vary") == b"accept-encoding, origin"


@pytest.mark.parametrize(
    "origin",
    [
        b"https://app.example.org.evil.test",
        b"https://evil.test/.example.net",
        b"https://evil.test?.example.net",
        b"https://evil.test@x.example.net",
        b"https://evil.test#.example.net",
        b"https://example.net",
        b"http://app.example.org",
        b"https://app.example.org:444",
        b"null",
        b"",
        b"\xff",
    ],
)
def test_another_origin_gets_no_leave(origin: bytes) -> None:
    for response in (asked(origin, **NAMED), asked(origin, "OPTIONS", preflight=True, **NAMED)):
        assert not [name for name, _ in response.fields if name.startswith(b"access-control-allow-o")]
        assert b"origin" in (field(response, b"vary") or b"")


def test_without_an_origin_caches_are_told_that_there_could_be_one() -> None:
    assert field(asked(None, **NAMED), b"vary") == b"accept-encoding, origin"


def test_everybody_gets_the_same_answer() -> None:
    first, second = asked(b"https://a.test", origins=["*"]), asked(None, origins=["*"])
    assert field(first, b"access-control-allow-origin") == field(second, b"access-control-allow-origin") == b"*"
    assert field(first, b"vary") == b"accept-encoding"


def test_a_preflight_request_is_answered_before_any_handler() -> None:
    settings: dict[str, Any] = {**NAMED, "methods": ["GET", "PUT"], "headers": ["x-token"], "max_age_seconds": 60}
    response = asked(b"https://app.example.org", "OPTIONS", preflight=True, **settings)
    assert (response.status, response.body) == (204, b"")
    assert field(response, b"access-control-allow-origin") == b"https://app.example.org"
    assert field(response, b"access-control-allow-methods") == b"GET, PUT"
    assert field(response, b"access-control-allow-headers") == b"x-token"
    assert field(response, b"access-control-max-age") == b"60"


def test_other_options_requests_are_the_handlers() -> None:
    assert asked(b"https://app.example.org", "OPTIONS", **NAMED).body == b"data"
    assert asked(None, "OPTIONS", preflight=True, **NAMED).body == b"data"


def test_what_the_application_allows_is_replaced() -> None:
    own = Response(200, ((b"access-control-allow-origin", b"*"),))
    response = asked(b"https://app.example.org", answer=own, **NAMED)
    assert field(response, b"access-control-allow-origin") == b"https://app.example.org"


def test_no_end_of_origins_does_not_grow_what_is_kept() -> None:
    shared = Response(200, (), b"data", shared=True)
    change = build(CorsConfig(origins=["https://*.example.net"]), make_context(Path()))
    for number in range(500):
        origin = b"https://a%d.example.net" % number
        response = change(make_request(headers={b"origin": origin}), make_facts(), shared)
        assert field(response, b"access-control-allow-origin") == origin
    assert shared.heads is not None
    assert len(shared.heads) <= 64


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"origins": []}, "is empty"),
        ({"origins": ["*"], "credentials": True}, "act as its visitors"),
        ({"origins": ["example.org"]}, "not an origin"),
        ({"origins": ["https://example.org/"]}, "not an origin"),
        ({"origins": ["https://*"]}, "not an origin"),
        ({"origins": ["*"], "methods": ["GET,PUT"]}, "methods"),
        ({"origins": ["*"], "headers": ["a\r\nb"]}, "headers"),
    ],
)
def test_bad_settings_are_named_and_never_built(settings: dict[str, Any], fault: str) -> None:
    config = CorsConfig(**settings)
    assert [fault in message for message in check(config, Path())] == [True]
    with pytest.raises(ConfigError):
        build(config, make_context(Path()))
