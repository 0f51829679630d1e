"""Conditions of routes and rules: what fits, what does not, and what tries to slip by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from securelight.config.conditions import Condition, condition_faults
from securelight.model.client_certificate import ClientCertificate
from securelight.model.errors import Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts, Request
from securelight.pipeline.conditions import captured_names, compile_condition, depends_on_head_only, glob_test
from tests.helpers import PEER, make_facts, make_request


def condition(settings: dict[str, Any]) -> Condition:
    return msgspec.convert(settings, Condition)


def fits(settings: dict[str, Any], request: Request, facts: Facts | None = None, base: Path = Path()) -> bool:
    return compile_condition(condition(settings), base).test(request, facts or make_facts())


@pytest.mark.parametrize(
    ("settings", "yes", "no"),
    [
        ({"path": ["/a"]}, ["/a"], ["/a/", "/ab", "/"]),
        ({"path": ["/a/*"]}, ["/a/", "/a/b", "/a/b/c"], ["/a", "/ab"]),
        ({"path": ["*.php"]}, ["/x.php", "/a/b.php"], ["/x.php5", "/php"]),
        ({"path": ["/a/*/c"]}, ["/a/b/c", "/a/b/b/c"], ["/a/c", "/a/b/cc"]),
        ({"path": ["/aa*aa"]}, ["/aaaa", "/aaxaa"], ["/aaa"]),
        ({"path": ["*"]}, ["/", "/anything"], []),
        ({"path_prefix": ["/admin"]}, ["/admin", "/admin/", "/admin/x"], ["/administrator", "/"]),
        ({"path_prefix": ["/"]}, ["/", "/a"], []),
        ({"path_regex": r"^/\d+$"}, ["/1", "/23"], ["/a", "/1a", "x/1"]),
        ({"path_prefix": ["/a"], "path": ["*.php"]}, ["/a/x.php"], ["/a/x", "/b/x.php"]),
        ({"any": [{"path": ["/a"]}, {"path": ["/b"]}]}, ["/a", "/b"], ["/c"]),
        ({"all": [{"path": ["/a*"]}, {"path": ["*b"]}, {"path": ["*x*"]}]}, ["/axb"], ["/ab", "/ax"]),
        ({"not": {"path": ["/a"]}}, ["/b"], ["/a"]),
    ],
)
def test_paths(settings: dict[str, Any], yes: list[str], no: list[str]) -> None:
    assert [path for path in yes if not fits(settings, make_request(path=path))] == []
    assert [path for path in no if fits(settings, make_request(path=path))] == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"method": ["GET"]}, True),
        ({"method": ["get"]}, False),
        ({"method": ["POST", "PUT"]}, False),
        ({"scheme": "https"}, True),
        ({"scheme": "http"}, False),
        ({"host": ["A.test"]}, True),
        ({"host": ["*.test"]}, True),
        ({"host": ["b.test"]}, False),
        ({"query": {"debug": "1"}}, True),
        ({"query": {"debug": "*"}}, True),
        ({"query": {"debug": "2"}}, False),
        ({"query": {"none": "*"}}, False),
        ({"query": {"q": "a b"}}, True),
        ({"query_regex": "(?:^|&)q="}, True),
        ({"header": {"User-Agent": "curl/*"}}, True),
        ({"header": {"user-agent": "curl"}}, False),
        ({"header": {"x-none": "*"}}, False),
        ({"header_regex": {"user-agent": r"^curl/\d"}}, True),
        ({"cookie": {"session": "*"}}, True),
        ({"cookie": {"ession": "*"}}, False),
        ({"cookie": {"b": "two"}}, True),
        ({"client": ["192.0.2.0/24"]}, True),
        ({"client": ["198.51.100.0/24", "::1"]}, False),
        ({"certificate": True}, False),
        ({"certificate": False}, True),
        ({"user": ["*"]}, False),
    ],
)
def test_everything_else_of_a_request(settings: dict[str, Any], expected: bool) -> None:
    headers = {b"user-agent": b"curl/8.1", b"cookie": b'session=x; b="two"'}
    request = make_request(headers=headers, query=b"debug=1&q=a%20b")
    assert fits(settings, request) is expected
    assert fits({"not": settings}, request) is not expected


def test_the_client_is_who_the_stages_before_say_that_it_is() -> None:
    facts = Facts("10.1.2.3")
    facts.user, facts.certificate = "alice", ClientCertificate(b"")
    wanted = {"client": ["10.0.0.0/8"], "user": ["al*"], "certificate": True}
    assert fits(wanted, make_request(), facts)
    assert not fits({"client": ["10.0.0.0/8"]}, make_request(), Facts(""))
    assert fits({"client": ["10.0.0.0/8"]}, make_request(), Facts("::ffff:10.0.0.1"))


def test_captures_are_facts_only_of_what_fits_as_a_whole() -> None:
    facts = make_facts()
    half = {"path_regex": "^/(?P<first>[a-z]+)", "client": ["203.0.113.1"]}
    assert not fits(half, make_request(path="/abc"), facts)
    assert facts.captures is None
    assert not fits({"not": {"path_regex": "^/(?P<first>[a-z]+)"}}, make_request(path="/abc"), facts)
    assert facts.captures is None
    both = {"path_regex": "^/(?P<first>[a-z]+)(/x)?", "header_regex": {"x-a": "(?P<second>.*)"}}
    assert fits(both, make_request(path="/abc", headers={b"x-a": b"v"}), facts)
    assert facts.captures == {"first": "abc", "second": "v", "1": "v"}


def test_padding_is_no_way_around_an_expression() -> None:
    slow = {"path_regex": r".*\.php$"}
    with pytest.raises(Refusal) as refused:
        fits(slow, make_request(path="/" + "a" * 5000 + ".php"))
    assert refused.value.status == 414
    with pytest.raises(Refusal) as refused:
        fits({"header_regex": {"x-a": r".*bot"}}, make_request(headers={b"x-a": b"a" * 5000}))
    assert refused.value.status == 431
    with pytest.raises(Refusal) as refused:
        fits({"query": {"a": "1"}}, make_request(query=b"&".join([b"b=1"] * 500)))
    assert refused.value.status == 400


def test_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "a.txt").write_text("a")
    (tmp_path / "secret").write_text("b")
    (tmp_path / "root" / "out").symlink_to(tmp_path / "secret")
    test = compile_condition(condition({"file_exists": "root"}), tmp_path).test

    def is_there(path: str) -> bool:
        return test(make_request(path=path), make_facts())

    assert is_there("/a.txt")
    assert is_there("/a.txt")
    for path in ("/b.txt", "/", "/sub", "/sub/", "/a.txt/", "/../secret", "/out", "/a.txt\0", "/" + "x" * 5000):
        assert not is_there(path), path


def test_a_condition_knows_whether_the_head_alone_decides() -> None:
    assert depends_on_head_only(condition({"path": ["/a"], "any": [{"header": {"x": "*"}}]}))
    for more in ({"client": ["::1"]}, {"user": ["*"]}, {"certificate": True}, {"file_exists": "x"}):
        assert not depends_on_head_only(condition({"path": ["/a"], "any": [{"not": more}]}))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({}, "when is empty"),
        ({"path_regex": "("}, "when.path_regex: '(' is not a regular expression"),
        ({"path_regex": "(a+)+"}, "possessive"),
        ({"header_regex": {"x-a": "(a+)+"}}, "when.header_regex.x-a"),
        ({"path": ["a"]}, "begin with a slash"),
        ({"path_prefix": ["*"]}, "begin with a slash"),
        ({"client": ["10.0.0.1/8"]}, "when.client: '10.0.0.1/8' is not an address or network"),
        ({"client": ["localhost"]}, "is not an address"),
        ({"header": {"a b": "*"}}, "not a field name"),
        ({"any": [{"path": ["/a"]}, {"not": {"path_regex": "["}}]}, "when.any[1].not.path_regex"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(settings: dict[str, Any], fault: str) -> None:
    faults = condition_faults(condition(settings))
    assert len(faults) == 1
    assert fault in faults[0]
    with pytest.raises(ValueError, match="when"):
        compile_condition(condition(settings), Path())


def test_conditions_are_not_nested_for_ever() -> None:
    settings: dict[str, Any] = {"path": ["/a"]}
    for _ in range(20):
        settings = {"not": settings}
    assert "nested more than 8" in condition_faults(condition(settings))[0]


def test_the_names_of_captures_are_known_beforehand() -> None:
    settings = {"path_regex": "(?P<a>.)(.)", "any": [{"query_regex": "(?P<b>.)"}], "not": {"path_regex": "(?P<c>.)"}}
    assert captured_names(condition(settings)) == {"a", "b", "1", "2"}


@settings(max_examples=300, deadline=None)
@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=10))
def test_globs_are_what_a_regular_expression_says(pattern: str, text: str) -> None:
    import re

    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert glob_test([pattern])(text) is expected
    assert glob_test([pattern, "never", "nor this*"])(text) is expected


def test_hostile_fields_are_looked_at_all_the_same() -> None:
    headers = Headers(((b"cookie", b";;=;a=1;" * 300), (b"user-agent", b"\xff\xfe")))
    request = Request("GET", "/\udcff", headers, peer=PEER)
    assert fits({"cookie": {"a": "1"}}, request)
    assert not fits({"cookie": {"b": "1"}}, request)
    assert fits({"header": {"user-agent": "*"}, "path": ["/*"], "path_regex": "^/."}, request)
