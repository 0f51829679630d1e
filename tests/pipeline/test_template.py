"""Texts with parts of the request in them: what the client sent never changes their shape."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from securelight.pipeline.template import field_template, template_faults, url_template
from tests.helpers import make_facts, make_request

CAPTURES = frozenset({"slug", "1"})


def url(text: str, *, path: str = "/a b/ü", query: bytes = b"", **captures: str) -> str:
    facts = make_facts()
    facts.captures = captures or None
    return url_template(text, CAPTURES)(make_request(path=path, query=query, headers={b"x-a": b"v w"}), facts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/fixed", "/fixed"),
        ("https://www.{host}{path}", "https://www.a.test/a%20b/%C3%BC"),
        ("/x{?query}", "/x?p=1&q=%20"),
        ("/x?old={path}&{query}", "/x?old=/a%20b/%C3%BC&p=1&q=%20"),
        ("/{slug}/{1}", "/s%3Fl%20/"),
        ("/{{literal}}", "/{literal}"),
        ("/{header:x-a}/{query:p}", "/v%20w/1"),
        ("{scheme}://{authority}/", "/https://a.test/"),
        ("/{user}{client_address}", "/192.0.2.7"),
    ],
)
def test_what_a_template_makes(text: str, expected: str) -> None:
    assert url(text, query=b"p=1&q=%20", slug="s?l ") == expected


@pytest.mark.parametrize(
    ("text", "captured", "expected"),
    [
        ("/{slug}", "/evil.test", "/evil.test"),
        ("/{slug}", "//evil.test", "/evil.test"),
        ("/{slug}", "\\evil.test", "/%5Cevil.test"),
        ("https://{slug}.a.test/", "evil.test/", "https://evil.test%2F.a.test/"),
        ("https://{slug}.a.test/", "u@evil.test:1#", "https://u%40evil.test%3A1%23.a.test/"),
        ("/{slug}", "a\r\nset-cookie: b", "/a%0D%0Aset-cookie:%20b"),
        ("/{slug}", "%2e%2e", "/%252e%252e"),
        ("/{slug}", "a?b#c", "/a%3Fb%23c"),
    ],
)
def test_what_a_client_chose_stays_in_its_place(text: str, captured: str, expected: str) -> None:
    assert url(text, slug=captured) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_nothing_that_is_captured_makes_an_invalid_field_or_another_host(captured: str) -> None:
    facts = make_facts()
    facts.captures = {"slug": captured.encode("utf-8", "ignore").decode("utf-8")}
    request = make_request(path="/")
    for text in ("/{slug}", "https://a.test/{slug}"):
        made = url_template(text, CAPTURES)(request, facts)
        assert made.isascii()
        assert all(" " < character < "\x7f" for character in made)
        assert made.startswith("https://a.test/" if "a.test" in text else "/")
        assert not made.startswith("//")
    value = field_template("x {slug}", CAPTURES)(request, facts)
    assert all(" " <= character < "\x7f" for character in value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("/{slog}", "did you mean {slug}"),
        ("/{pathh}", "did you mean {path}"),
        ("/{nothing like it}", "there are host"),
        ("/{", "write {{ for one"),
        ("/}", "write }} for one"),
        ("/{}", "which nothing sets"),
        ("/{header:a b}", "which nothing sets"),
        ("/{query:}", "which nothing sets"),
    ],
)
def test_names_that_nothing_sets_are_faults(text: str, fault: str) -> None:
    assert [fault in found for found in template_faults(text, CAPTURES)] == [True]
    with pytest.raises(ValueError, match=r"nothing sets|for one"):
        url_template(text, CAPTURES)
