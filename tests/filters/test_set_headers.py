"""Configured changes to response fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.filters.set_headers import SetHeadersConfig, build, check
from securelight.model.errors import ConfigError
from securelight.model.response import Response
from securelight.pipeline.stage import Filter
from tests.helpers import make_context, make_facts, make_request


def filter_of(**settings: Any) -> Filter:
    return build(SetHeadersConfig(**settings), make_context(Path()))


def applied(change: Filter, response: Response) -> Response:
    return change(make_request(), make_facts(), response)


def test_set_replaces_append_adds_remove_takes_out() -> None:
    change = filter_of(set={"X-A": "new"}, append={"Vary": "origin"}, remove=("X-B",))
    fields = ((b"x-a", b"1"), (b"vary", b"cookie"), (b"x-b", b"2"), (b"x-a", b"3"))
    response = applied(change, Response(404, fields, b"body"))
    assert response.fields == ((b"vary", b"cookie"), (b"x-a", b"new"), (b"vary", b"origin"))
    assert (response.status, response.body, response.content_length) == (404, b"body", 4)


def test_an_answer_sent_many_times_is_changed_once_and_stays_shared() -> None:
    first, second = filter_of(set={"X-A": "1"}), filter_of(set={"X-A": "2"})
    shared = Response(200, (), b"", content_length=7, shared=True)
    changed = applied(first, shared)
    assert applied(first, shared) is changed
    assert changed.heads is not None
    assert changed.content_length == 7
    assert applied(second, shared).fields == ((b"x-a", b"2"),)
    assert applied(second, changed).fields == ((b"x-a", b"2"),)
    assert shared.fields == ()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"set": {"a": "b\r\nset-cookie: c"}}, "visible ASCII"),
        ({"set": {"a": "b\0"}}, "visible ASCII"),
        ({"append": {"a\r\nb": "c"}}, "not a field name"),
        ({"set": {"": "c"}}, "not a field name"),
        ({"set": {"Content-Length": "1"}}, "server itself"),
        ({"append": {"Connection": "close"}}, "server itself"),
        ({"remove": ("Date",)}, "server itself"),
        ({"remove": ("a:",)}, "not a field name"),
    ],
)
def test_bad_settings_are_named_and_never_built(settings: dict[str, Any], fault: str) -> None:
    config = SetHeadersConfig(**settings)
    assert [fault in message for message in check(config, Path())] == [True]
    with pytest.raises(ConfigError, match=fault):
        build(config, make_context(Path()))


def test_rules_change_the_answers_that_they_fit_with_parts_of_the_request() -> None:
    rules = [
        {"when": {"path_regex": r"^/v(?P<version>\d+)/"}, "set": {"x-version": "{version}", "x-host": "{host}"}},
        {"when": {"header": {"accept": "*json*"}}, "append": {"vary": "accept"}},
        {"remove": ["x-b"]},
    ]
    change = build(msgspec.convert({"set": {"x-a": "1"}, "rule": rules}, SetHeadersConfig), make_context(Path()))
    answer = Response(200, ((b"x-b", b"2"),), b"", shared=True)
    plain = change(make_request(path="/"), make_facts(), answer)
    assert plain.fields == ((b"x-a", b"1"),)
    assert plain is change(make_request(path="/"), make_facts(), answer)
    request = make_request(path="/v2/x", headers={b"accept": b"application/json"})
    fields = change(request, make_facts(), answer).fields
    assert fields == ((b"x-a", b"1"), (b"x-version", b"2"), (b"x-host", b"a.test"), (b"vary", b"accept"))


def test_bad_rules_are_named_with_their_number() -> None:
    rules = [{"set": {"a": "b"}}, {"when": {"path_regex": "("}, "set": {"a b": "{nothing}"}}]
    faults = check(msgspec.convert({"rule": rules}, SetHeadersConfig), Path())
    assert len(faults) == 3
    assert all(fault.startswith("rule[1]") for fault in faults)
