"""Redirects: the first rule that fits, captures, queries, and what tries to lead elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.model.errors import ConfigError
from securelight.model.response import Response
from securelight.pipeline.stage import Stage
from securelight.stages.redirect import FEATURE, RedirectConfig, build, check
from tests.helpers import field, make_context, make_facts, make_request


def stage_of(*rules: dict[str, Any]) -> Stage:
    return build(msgspec.convert({"rule": rules}, RedirectConfig), make_context(Path()))


def location(stage: Stage, path: str, query: bytes = b"") -> tuple[int, str] | None:
    answer = stage(make_request(path=path, query=query), make_facts())
    if answer is None:
        return None
    assert isinstance(answer, Response)
    return answer.status, (field(answer, b"location") or b"").decode()


def test_the_first_rule_that_fits_decides() -> None:
    stage = stage_of(
        {"when": {"path": ["/old"]}, "to": "/new", "status": 301},
        {"when": {"path_regex": r"^/blog/(?P<year>\d{4})/(?P<slug>[a-z-]+)$"}, "to": "/posts/{slug}?y={year}"},
        {"when": {"path_prefix": ["/old", "/docs"]}, "to": "https://docs.example.org{path}", "status": 307},
    )
    assert location(stage, "/old") == (301, "/new")
    assert location(stage, "/old", b"a=1&b") == (301, "/new?a=1&b")
    assert location(stage, "/blog/2020/spring-is-here", b"a=1") == (308, "/posts/spring-is-here?y=2020")
    assert location(stage, "/docs/a b") == (307, "https://docs.example.org/docs/a%20b")
    assert location(stage, "/blog/20/x") is None
    assert location(stage, "/") is None


def test_the_query_stays_behind_where_the_rule_says_so() -> None:
    stage = stage_of({"when": {"path": ["/a"]}, "to": "/b", "keep_query": False})
    assert location(stage, "/a", b"x=1") == (308, "/b")


def test_another_name_is_sent_to_the_right_one() -> None:
    stage = stage_of({"when": {"not": {"host": ["www.example.org"]}}, "to": "https://www.example.org{path}"})
    assert location(stage, "/x/") == (308, "https://www.example.org/x/")


@pytest.mark.parametrize("path", ["/go/evil.test", "/go//evil.test", "/go/\\evil.test", "/go/%2fevil.test"])
def test_no_path_leads_to_another_host(path: str) -> None:
    stage = stage_of({"when": {"path_regex": "^/go(?P<rest>/.*)$"}, "to": "{path}"}, {"to": "https://a.test/"})
    assert check(msgspec.convert({"rule": [{"to": "{rest}"}]}, RedirectConfig), Path())
    found = location(stage, path)
    assert found is not None
    assert found[1].startswith("/go")
    stage = stage_of({"when": {"path_regex": "^/go(?P<rest>.*)$"}, "to": "/{rest}"})
    found = location(stage, path)
    assert found is not None
    assert found[1].startswith("/")
    assert found[1][1] not in "/\\"


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ([{"to": "ftp://a"}], "is not a path or a URL"),
        ([{"to": ""}], "is not a path or a URL"),
        ([{"to": "//evil.test", "when": {"path": ["/"]}}, {"to": "https:///x"}], "has no host"),
        ([{"to": "/a b", "when": {"path": ["/x"]}}], "characters that no URL has"),
        ([{"to": "/a\r\nb", "when": {"path": ["/x"]}}], "characters that no URL has"),
        ([{"to": "/{slug}", "when": {"path": ["/x"]}}], "rule[0].to: '/{slug}' has {slug}, which nothing sets"),
        ([{"to": "/x", "when": {"path_regex": "(a+)+"}}], "rule[0].when.path_regex"),
        ([{"to": "/x"}], "for ever"),
        ([{"to": "https://a.test/"}, {"to": "https://b.test/"}], "never reached"),
    ],
)
def test_bad_rules_are_named_and_never_built(rules: list[dict[str, Any]], fault: str) -> None:
    settings = msgspec.convert({"rule": rules}, RedirectConfig)
    assert any(fault in message for message in check(settings, Path()))
    with pytest.raises(ConfigError):
        build(settings, make_context(Path()))


def test_a_fixed_answer_is_made_once() -> None:
    stage = stage_of({"when": {"path": ["/old"]}, "to": "/new"})
    first, second = (stage(make_request(path="/old"), make_facts()) for _ in range(2))
    assert first is second


def test_it_stands_in_nobodys_way_whose_answer_is_the_same_for_the_same_head() -> None:
    rule = {"when": {"path": ["/old"]}, "to": "/new"}
    assert FEATURE.is_repeatable(msgspec.convert({"rule": [rule]}, RedirectConfig))
    rule = {"when": {"client": ["::1"]}, "to": "/new"}
    assert not FEATURE.is_repeatable(msgspec.convert({"rule": [rule]}, RedirectConfig))
