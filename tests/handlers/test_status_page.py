"""The status page: what it shows, to whom, and that nothing in it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securelight.handlers import status_html
from securelight.handlers.status_page import StatusPageConfig, build, check
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from securelight.pipeline.stage import Handler
from tests.handlers.status_boards import make_board
from tests.handlers.test_directory_listing import Page
from tests.handlers.test_metrics import request_from
from tests.helpers import field, make_context


@pytest.fixture
def status_page() -> Handler:
    context = make_context(Path())
    context.scoreboard = make_board()
    return build(StatusPageConfig(), context)


def get(handler: Handler, headers: dict[bytes, bytes] | None = None, query: bytes = b"") -> Response:
    request, facts = request_from("127.0.0.1", headers)
    request.query = query
    answer = handler(request, facts)
    assert isinstance(answer, Response)
    assert answer.status == 200
    return answer


def text_of(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def test_people_see_all_workers_together(status_page: Handler) -> None:
    answer = get(status_page)
    page = Page(text_of(answer))
    assert field(answer, b"content-type") == b"text/html; charset=utf-8"
    for text in ("1.2<3", "321", "up for 2 h 0 min", "connections: 2 opening, 4 h2", "up for 1 of 2 workers"):
        assert text in page.text, text
    assert "in 3 days" in page.text
    assert '<span class="bad">in 3 days</span>' in text_of(answer)


def test_programs_get_json(status_page: Handler) -> None:
    answer = get(status_page, {b"accept": b"application/json"})
    values = json.loads(text_of(answer))
    assert values["requests"] == 321
    assert values["faults"] == {"<script>": 4, "bad request": 1}
    assert [worker["process"] for worker in values["workers"]] == [4001, 4002]
    assert values["upstreams"] == [{"url": "http://a/", "up": 1, "workers": 2, "requests": 14}]
    assert values["history"][-3:] == [2, 4, 6]


def test_texts_are_escaped_and_only_our_script_runs(status_page: Handler) -> None:
    answer = get(status_page)
    page = Page(text_of(answer))
    assert page.suspicious == ["script"], "the one that keeps the page new, with a source"
    assert "<script>" not in text_of(answer)
    policy = field(answer, b"content-security-policy") or b""
    assert policy.startswith(b"default-src 'none'; style-src 'self'; script-src 'self';")
    assert b"unsafe" not in policy
    script = get(status_page, query=status_html.SCRIPT_QUERY)
    assert field(script, b"content-type") == b"text/javascript; charset=utf-8"
    style = get(status_page, query=status_html.STYLE_QUERY)
    assert field(style, b"content-type") == b"text/css; charset=utf-8"
    for query in (status_html.SCRIPT_QUERY, status_html.STYLE_QUERY):
        assert f"?{query.decode()}" in text_of(answer)


@pytest.mark.parametrize("query", [b"", status_html.STYLE_QUERY])
def test_only_the_machine_itself_may_see_it(status_page: Handler, query: bytes) -> None:
    request, facts = request_from("192.0.2.7")
    request.query = query
    with pytest.raises(Refusal, match="403"):
        status_page(request, facts)
    with pytest.raises(Refusal, match="405"):
        status_page(*request_from("::1", method="POST"))


def test_bad_networks_are_named() -> None:
    assert "allow" in check(StatusPageConfig(("x",)), Path())[0]
    with pytest.raises(ConfigError):
        build(StatusPageConfig(("x",)), make_context(Path()))
