"""Custom error pages: for the server's own errors only, with their status and fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from securelight.filters.error_pages import ErrorPagesConfig, build, check
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from securelight.model.status import error_response
from tests.helpers import field, make_context, make_facts, make_request, read_body


@pytest.fixture
def pages(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "404.html").write_text("<h1>Lost</h1>")
    (tmp_path / "any.txt").write_text("{{status}} {{reason}} [{{reference}}] {{other}}")
    return {"404": "404.html", "4xx": "any.txt", "5xx": "any.txt"}


def page_for(base: Path, pages: dict[str, str], refusal: Refusal, error_id: str = "") -> Response:
    facts = make_facts()
    facts.refusal = refusal
    facts.error_id = error_id
    error_pages = build(ErrorPagesConfig(pages), make_context(base))
    return error_pages(make_request(), facts, error_response(refusal, error_id))


def test_a_page_replaces_body_and_type_and_keeps_the_rest(tmp_path: Path, pages: dict[str, str]) -> None:
    response = page_for(tmp_path, pages, Refusal(404))
    assert (response.status, response.body, response.content_length) == (404, b"<h1>Lost</h1>", 13)
    assert field(response, b"content-type") == b"text/html; charset=utf-8"
    assert field(response, b"cache-control") == b"no-store"
    assert field(response, b"x-content-type-options") == b"nosniff"


def test_the_fields_of_the_refusal_stay(tmp_path: Path, pages: dict[str, str]) -> None:
    response = page_for(tmp_path, pages, Refusal(405, fields=((b"allow", b"GET"),)))
    assert response.body == b"405 Method Not Allowed [] {{other}}"
    assert field(response, b"allow") == b"GET"
    assert field(response, b"content-type") == b"text/plain; charset=utf-8"


def test_the_client_can_still_name_our_failure(tmp_path: Path, pages: dict[str, str]) -> None:
    response = page_for(tmp_path, pages, Refusal(500), "e-123")
    assert response.body == b"500 Internal Server Error [e-123] {{other}}"


def test_a_status_without_page_keeps_the_server_s_own(tmp_path: Path) -> None:
    (tmp_path / "404.html").write_text("Lost")
    assert b"410 Gone" in read_body(page_for(tmp_path, {"404": "404.html"}, Refusal(410)))


def test_the_errors_of_an_application_are_left_alone(tmp_path: Path, pages: dict[str, str]) -> None:
    error_pages = build(ErrorPagesConfig(pages), make_context(tmp_path))
    response = Response(404, (), b"the application's own")
    assert error_pages(make_request(), make_facts(), response) is response


@pytest.mark.parametrize(
    ("pages", "fault"),
    [
        ({"200": "404.html"}, "not an error status"),
        ({"3xx": "404.html"}, "not an error status"),
        ({"404": "missing.html"}, "not a file"),
        ({"404": "."}, "not a file"),
        ({"404": "large.html"}, "larger than"),
    ],
)
def test_bad_settings_are_named_and_never_built(tmp_path: Path, pages: dict[str, str], fault: str) -> None:
    (tmp_path / "404.html").write_text("Lost")
    (tmp_path / "large.html").write_bytes(b"a" * 300_000)
    config = ErrorPagesConfig(pages)
    assert [fault in message for message in check(config, tmp_path)] == [True]
    with pytest.raises(ConfigError, match=fault):
        build(config, make_context(tmp_path))
