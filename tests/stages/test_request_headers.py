"""Changes to the fields of requests, as their handler sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.model.errors import ConfigError
from securelight.model.limits import Limits
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from securelight.pipeline.compile import CompiledSites, Route
from securelight.pipeline.run import run
from securelight.stages.request_headers import RequestHeadersConfig, build, check
from tests.helpers import make_context, make_facts, make_request


def seen(settings: dict[str, Any], request: Request, facts: Facts | None = None) -> dict[bytes, bytes]:
    """The fields that the handler meets."""
    met: dict[bytes, bytes] = {}

    def handler(request: Request, _facts: Facts) -> Response:
        met.update(request.headers.fields)
        return Response(200)

    sites = CompiledSites(Limits())
    stage = build(msgspec.convert(settings, RequestHeadersConfig), make_context(Path()))
    sites.add(["a.test"], [Route("/", (stage,), handler)])
    run(sites, request, facts or make_facts())
    return met


def test_set_replaces_append_adds_remove_takes_out() -> None:
    request = make_request(headers={b"x-user": b"forged", b"x-b": b"2", b"accept": b"*/*"})
    facts = make_facts()
    facts.user = "alice\r\nx-evil: 1"
    fields = seen(
        {"set": {"X-User": "{user}"}, "append": {"x-from": "{client_address}"}, "remove": ["X-B"]}, request, facts
    )
    assert fields == {b"accept": b"*/*", b"x-user": b"alice%0D%0Ax-evil: 1", b"x-from": b"192.0.2.7"}
    assert request.headers.get(b"x-user") == b"forged"  # the request that may come again is what it was


def test_nobody_is_nobody_and_not_who_the_client_says() -> None:
    fields = seen({"set": {"x-user": "{user}"}}, make_request(headers={b"x-user": b"admin"}))
    assert fields == {b"x-user": b""}


def test_each_rule_that_fits_has_its_say() -> None:
    settings = {
        "rule": [
            {"when": {"path_regex": "^/(?P<tenant>[a-z]+)/"}, "set": {"x-tenant": "{tenant}"}},
            {"when": {"header": {"x-tenant": "*"}}, "set": {"x-second": "yes"}},
            {"when": {"path": ["/none"]}, "set": {"x-third": "yes"}},
        ]
    }
    assert seen(settings, make_request(path="/acme/x")) == {b"x-tenant": b"acme", b"x-second": b"yes"}
    assert seen(settings, make_request(path="/1")) == {}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({}, "changes nothing"),
        ({"set": {"host": "b.test"}}, "has been acted on"),
        ({"remove": ["Transfer-Encoding"]}, "the server itself"),
        ({"set": {"a b": "c"}}, "not a field name"),
        ({"set": {"a": "c\r\n"}}, "visible ASCII"),
        ({"set": {"a": "{nothing}"}}, "which nothing sets"),
        ({"rule": [{"when": {"path_regex": "("}, "remove": ["a"]}]}, "rule[0].when.path_regex"),
    ],
)
def test_bad_settings_are_named_and_never_built(settings: dict[str, Any], fault: str) -> None:
    config = msgspec.convert(settings, RequestHeadersConfig)
    assert any(fault in message for message in check(config, Path()))
    with pytest.raises(ConfigError):
        build(config, make_context(Path()))
