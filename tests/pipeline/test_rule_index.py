"""Many rules: those that are not met are those that do not fit, whatever the path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies

from securelight.config.conditions import Condition
from securelight.pipeline.conditions import compile_condition
from securelight.pipeline.rule_index import WORTH_IT, first_segments, rule_index
from tests.helpers import make_facts, make_request


def condition(**values: Any) -> Condition:
    return msgspec.convert({name.rstrip("_"): value for name, value in values.items()}, Condition)


@pytest.mark.parametrize(
    ("asks", "segments"),
    [
        ({"path": ["/a", "/b/*"]}, {"a", "b"}),
        ({"path": ["/a", "/b*"]}, None),
        ({"path": ["*.bak"]}, None),
        ({"path": ["/"]}, None),
        ({"path_prefix": ["/a/", "/b/c"]}, {"a", "b"}),
        ({"path_prefix": ["/"]}, None),
        ({"path_regex": "^/a/(?P<x>.*)$"}, {"a"}),
        ({"path_regex": "^/a(b|/)"}, None),
        ({"path_regex": "/a/"}, None),
        ({"path_regex": "(?i)^/a/"}, None),
        ({"path_regex": "^/a/|^/b/"}, None),
        ({"header": {"x": "*"}}, None),
        ({"header": {"x": "*"}, "path": ["/a/b"]}, {"a"}),
        ({"all": [{"path_prefix": ["/a", "/b"]}, {"path": ["/b/*", "/c/*"]}]}, {"b"}),
        ({"any": [{"path": ["/a/b"]}, {"path_prefix": ["/c"]}]}, {"a", "c"}),
        ({"any": [{"path": ["/a/b"]}, {"method": ["GET"]}]}, None),
        ({"not": {"path": ["/a/b"]}}, None),
    ],
)
def test_what_a_path_begins_with(asks: dict[str, Any], segments: set[str] | None) -> None:
    found = first_segments(condition(**asks))
    assert found == (None if segments is None else frozenset(segments))


texts = strategies.sampled_from(["/a", "/a/b", "/b", "/b/", "/b/c", "/", "/a*", "/b/*", "*c", "/c/*/d"])
paths = strategies.lists(strategies.sampled_from(["a", "b", "c", "ab", "d", ""]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
conditions = strategies.one_of(
    strategies.none(),
    strategies.lists(texts, min_size=1, max_size=2).map(lambda found: condition(path=found)),
    strategies.sampled_from(["/a", "/b/", "/a/b", "/"]).map(lambda found: condition(path_prefix=[found])),
    strategies.sampled_from(["^/a/", "^/b/c", "^/a", "b", "^/(a|b)/", "^/b/[a-z]$"]).map(
        lambda found: condition(path_regex=found)
    ),
    strategies.sampled_from(["/a", "/b"]).map(lambda found: condition(**{"not": {"path_prefix": [found]}})),
)


@settings(max_examples=150, deadline=None)
@given(strategies.lists(conditions, min_size=WORTH_IT, max_size=20), paths)
def test_the_first_rule_that_fits_is_the_same(whens: list[Condition | None], path: str) -> None:
    tests = [None if when is None else compile_condition(when, Path("/")).test for when in whens]
    request = make_request("GET", path)

    def fits(number: int) -> bool:
        test = tests[number]
        return test is None or test(request, make_facts())

    numbers = range(len(whens))
    met = rule_index(whens, numbers)(path)
    assert [number for number in met if fits(number)] == [number for number in numbers if fits(number)]
    assert list(met) == sorted(met)


def test_a_hundred_rules_of_other_paths_are_not_met() -> None:
    whens = [condition(path_prefix=[f"/old{number}"]) for number in range(100)]
    of_path = rule_index(whens, range(100))
    assert of_path("/new") == of_path("*") == of_path("") == ()
    assert of_path("/old7/x") == (7,)
