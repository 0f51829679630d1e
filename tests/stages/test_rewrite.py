"""Rewriting: what is asked for instead, once for each rule, and never for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.model.errors import ConfigError
from securelight.model.limits import Limits
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from securelight.pipeline.compile import CompiledSites, Route
from securelight.pipeline.run import run
from securelight.pipeline.stage import Rewritten, Stage
from securelight.stages.rewrite import RewriteConfig, build, check
from tests.helpers import make_context, make_facts, make_request


def stage_of(*rules: dict[str, Any], base: Path = Path()) -> Stage:
    return build(msgspec.convert({"rule": rules}, RewriteConfig), make_context(base))


def seen(stage: Stage, path: str, query: bytes = b"", facts: Facts | None = None) -> tuple[int, bytes]:
    """The status, and the target that the handler has met."""

    def handler(request: Request, _facts: Facts) -> Response:
        return Response(200, (), b" ".join((request.target, request.path.encode(), request.query)))

    sites = CompiledSites(Limits())
    sites.add(["a.test"], [Route("/", (stage,), handler)])
    answer = run(sites, make_request(path=path, query=query), facts or make_facts())
    assert isinstance(answer, Response)
    assert isinstance(answer.body, bytes)
    return answer.status, answer.body


def test_the_handler_sees_what_the_rule_has_made() -> None:
    stage = stage_of(
        {"when": {"path_regex": r"^/(?P<page>[a-z]+)\.html$"}, "to": "/index.php?page={page}"},
        {"when": {"path": ["/old*"]}, "to": "/new dir".replace(" ", "%20")},
    )
    assert seen(stage, "/about.html", b"x=1") == (200, b"/index.php?page=about /index.php page=about")
    assert seen(stage, "/old/x", b"x=1") == (200, b"/new%20dir?x=1 /new dir x=1")
    assert seen(stage, "/other")[1].endswith(b"/other ")


def test_a_single_page_application(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "app.js").write_text("js")
    rule = {"when": {"method": ["GET"], "not": {"file_exists": "dist"}}, "to": "/index.html"}
    stage = stage_of(rule, base=tmp_path)
    assert seen(stage, "/users/7", b"tab=2")[1] == b"/index.html?tab=2 /index.html tab=2"  # not there, and no loop
    assert seen(stage, "/app.js")[1].split() == [b"/app.js"]
    (tmp_path / "dist" / "index.html").write_text("page")
    assert seen(stage, "/users/8")[1].startswith(b"/index.html")


def test_a_rule_is_used_once_unless_it_repeats() -> None:
    rule = {"when": {"path_regex": "^/(?P<rest>.*)$"}, "to": "/x/{rest}"}
    assert seen(stage_of(rule), "/a")[1].startswith(b"/x/a ")
    once = {"when": {"path_regex": "^(?P<head>.*?)/a(?P<rest>/.*)$"}, "to": "/{head}{rest}"}
    assert seen(stage_of(once), "/1/a/a/2")[1].startswith(b"/1/a/2 ")
    assert seen(stage_of(once | {"repeat": True}), "/1/a/a/2")[1].startswith(b"/1/2 ")


def test_a_loop_ends_in_a_500_that_names_the_rule() -> None:
    rule = {"when": {"path_regex": "^/(?P<rest>.*)$"}, "to": "/x/{rest}", "repeat": True}
    facts = make_facts()
    status, page = seen(stage_of(rule), "/a", facts=facts)
    assert status == 500
    assert b"rule" not in page
    assert facts.refusal is not None
    assert facts.refusal.detail == "rewrite loop in rule test.toml.rule[0]"


def test_two_rules_that_undo_each_other_end_too() -> None:
    stage = stage_of(
        {"when": {"path": ["/a"]}, "to": "/b", "repeat": True}, {"when": {"path": ["/b"]}, "to": "/a", "repeat": True}
    )
    assert seen(stage, "/a")[0] == 500
    stage = stage_of({"when": {"path": ["/a"]}, "to": "/b"}, {"when": {"path": ["/b"]}, "to": "/a"})
    assert seen(stage, "/a")[0] == 200


def test_what_is_rewritten_is_the_stream_that_it_was() -> None:
    request = make_request("POST", "/a", {b"x": b"y"})
    request.has_body, request.stream_id, request.content_length = True, 7, 5
    answer = stage_of({"to": "/b"})(request, make_facts())
    assert isinstance(answer, Rewritten)
    made = answer.request
    assert (made.method, made.stream_id, made.has_body, made.content_length) == ("POST", 7, True, 5)
    assert made.headers is request.headers
    assert request.path == "/a"


@pytest.mark.parametrize("path", ["/x/../../etc/passwd", "/x/%2e%2e/%2e%2e/etc", "/x/..%2f..%2fetc"])
def test_captures_cannot_climb(path: str) -> None:
    stage = stage_of({"when": {"path_regex": "^/x/(?P<rest>.*)$"}, "to": "/files/{rest}"})
    status, seen_by_handler = seen(stage, path)
    assert status == 400 or b".." not in seen_by_handler.split()[1].split(b"/")


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ([{"to": "https://a.test/"}], "is not a path"),
        ([{"to": "/{nothing}"}], "which nothing sets"),
        ([{"to": "/a"}, {"to": "/b"}], "never reached"),
        ([{"to": "/a", "when": {}}], "rule[0].when is empty"),
    ],
)
def test_bad_rules_are_named_and_never_built(rules: list[dict[str, Any]], fault: str) -> None:
    settings = msgspec.convert({"rule": rules}, RewriteConfig)
    assert any(fault in message for message in check(settings, Path()))
    with pytest.raises(ConfigError):
        build(settings, make_context(Path()))
