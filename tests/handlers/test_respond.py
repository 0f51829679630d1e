"""Fixed answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from securelight.handlers.respond import RespondConfig, build, check
from securelight.model.errors import ConfigError
from tests.helpers import fetch, field, make_context, make_request, read_body


def test_every_request_gets_the_same_answer() -> None:
    settings = RespondConfig(status=418, body="tea", content_type="text/x-tea", fields={"X-Pot": "short, stout"})
    handler = build(settings, make_context(Path()))
    for method in ("GET", "POST", "DELETE"):
        response = fetch(handler, make_request(method, "/any/where"))
        assert (response.status, read_body(response)) == (418, b"tea")
        assert response.fields == ((b"content-type", b"text/x-tea"), (b"x-pot", b"short, stout"))


def test_without_body_there_is_no_type() -> None:
    response = fetch(build(RespondConfig(status=204), make_context(Path())), make_request())
    assert (response.status, response.body, field(response, b"content-type")) == (204, b"", None)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"status": 204, "body": "a"}, "has no body"),
        ({"status": 304, "body": "a"}, "has no body"),
        ({"content_type": "a\r\nb: c"}, "content_type"),
        ({"content_type": ""}, "content_type"),
        ({"fields": {"a b": "c"}}, "not a field name"),
        ({"fields": {"a": "c\r\nset-cookie: d"}}, "visible ASCII"),
        ({"fields": {"Content-Length": "5"}}, "server itself"),
        ({"fields": {"Transfer-Encoding": "chunked"}}, "server itself"),
        ({"fields": {"Content-Type": "a/b"}}, "content_type"),
    ],
)
def test_bad_settings_are_named_and_never_built(settings: dict[str, Any], fault: str) -> None:
    config = RespondConfig(**settings)
    assert [fault in message for message in check(config, Path())] == [True]
    with pytest.raises(ConfigError, match=fault):
        build(config, make_context(Path()))
