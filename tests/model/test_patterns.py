"""Regular expressions that never take long, whatever they are matched against."""

from __future__ import annotations

import re
from time import perf_counter

import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.patterns import MAXIMUM_INPUT_CHARACTERS, PatternTooLong, compile_pattern

GOOD = [
    r"^/blog/(?P<slug>[a-z-]+)$",
    r"^/(\d{4})/(\d+)/([^/]+)/?$",
    r"\.(?:jpg|png)$",
    r"^/~([^/]+)(?:/(.*))?$",
    r"^(?:/a|/b)(?:/|$)",
    r"^(.*)/old/(.*)$",
    r"(?i)^/Shop/",
    r"(?i:bot|crawler|spider)",
    r"^/(?:[a-z]+/)*+$",
    r"\bbot\b",
    r"^/(?!api/)",
]
NEVER = [
    r"(a+)+$",
    r"^(?:a*)*b",
    r"^(?:a|a)*b",
    r"^(?:a|ab|b)+c",
    r"^(.*)(.*)(.*)x",
    r".*.*x",
    r"(a?){30}a{30}",
    "a?" * 30 + "a" * 30,
    r"(x)\1",
    r"\s+\s+\s+$",
    r"^(?:(?:a{1,3}){1,3}){1,9}b",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_people_write_is_taken(text: str) -> None:
    assert compile_pattern(text).expression.pattern == text


@pytest.mark.parametrize("text", NEVER)
def test_what_can_take_for_ever_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"can take very long|possessive|refers back"):
        compile_pattern(text)


@pytest.mark.parametrize("text", ["(", "a**", "[z-a]", "(?P<1>a)", "a{9999999999999}", "x" * 1001])
def test_what_is_no_expression_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a regular expression|longer than"):
        compile_pattern(text)


@pytest.mark.parametrize("text", [*GOOD, r".*\.(jpg|png)$", r"^(.*)(.*)x$", r"\s+$", r"[0-9a-f]{8,}\.css"])
def test_what_is_taken_is_done_soon_with_the_longest_texts_made_against_it(text: str) -> None:
    pattern = compile_pattern(text)
    began = perf_counter()
    for piece in ("a", "/", "/a", "0", " ", "/old", "jpg."):
        pattern.search(("/" + piece * pattern.longest)[: pattern.longest - 1] + "!")
    assert perf_counter() - began < 5  # each takes about 10 ms at the most; without the bound, minutes


def test_a_longer_text_than_it_can_do_is_no_mismatch() -> None:
    pattern = compile_pattern(r".*\.(jpg|png)$")
    assert pattern.longest < MAXIMUM_INPUT_CHARACTERS
    with pytest.raises(PatternTooLong):
        pattern.search("a" * (pattern.longest + 1))


def test_names_are_those_of_groups_and_their_numbers() -> None:
    assert compile_pattern(r"^/(?P<year>\d+)/(\d+)").names == {"year", "1", "2"}


@pytest.mark.parametrize(
    ("text", "literal"), [("^/blog/(.*)", "/blog/"), ("/blog", ""), ("(?i)^/b", ""), ("^(?:/a|b)", ""), ("^/a?", "/")]
)
def test_the_literal_beginning_is_what_every_match_begins_with(text: str, literal: str) -> None:
    assert compile_pattern(text).literal == literal


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab/.*+?()[]{}|^$\\d0-9,", max_size=24))
def test_any_text_is_judged_and_never_crashes_the_judge(text: str) -> None:
    try:
        pattern = compile_pattern(text)
    except ValueError:
        return
    assert re.compile(text).search("/ab/") is None or pattern.search("/ab/") is not None
    began = perf_counter()
    pattern.search("a" * (min(pattern.longest, 3000) - 1) + "!")
    assert perf_counter() - began < 5
