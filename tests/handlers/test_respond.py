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
        ({"placeholders": True, "body": "{clientaddress}"}, "did you mean {client_address}"),
        ({"placeholders": True, "fields": {"x-a": "{"}}, "single {"),
        ({"placeholders": True, "body": "{path}", "content_type": "text/css"}, "is no type whose text can be made"),
    ],
)
def test_bad_settings_are_named_and_never_built(settings: dict[str, Any], fault: str) -> None:
    config = RespondConfig(**settings)
    assert [fault in message for message in check(config, Path())] == [True]
    with pytest.raises(ConfigError, match=fault):
        build(config, make_context(Path()))


@pytest.mark.parametrize(
    ("content_type", "written"),
    [
        ("text/plain; charset=utf-8", "</script><b>\"'&é"),
        ("text/html", "&lt;/script&gt;&lt;b&gt;&quot;&#x27;&amp;é"),
        ("application/atom+xml", "&lt;/script&gt;&lt;b&gt;&quot;&#x27;&amp;é"),
        ("application/problem+json", "\\u003c/script>\\u003cb>\\\"'&\\u00e9"),
    ],
)
def test_what_clients_say_is_text_in_a_body_of_any_type(content_type: str, written: str) -> None:
    settings = RespondConfig(body="{{[{path}] {method}}}", content_type=content_type, placeholders=True)
    assert check(settings, Path()) == []
    request = make_request("GET", "/</script><b>\"'&é")
    body = read_body(fetch(build(settings, make_context(Path())), request)).decode()
    assert body == "{[/" + written + "] GET}"


def test_a_field_stays_one_field() -> None:
    settings = RespondConfig(fields={"x-path": "at {path}"}, placeholders=True)
    response = fetch(build(settings, make_context(Path())), make_request("GET", "/a\r\nset-cookie: b"))
    assert response.fields == ((b"x-path", b"at /a%0D%0Aset-cookie: b"),)
    assert read_body(response) == b""


def test_without_placeholders_braces_are_braces() -> None:
    handler = build(RespondConfig(body='{"path": "{path}"}'), make_context(Path()))
    assert read_body(fetch(handler, make_request())) == b'{"path": "{path}"}'
