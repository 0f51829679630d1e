"""103 Early Hints: who gets them, and that the answer comes all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.model.errors import ConfigError
from securelight.model.headers import Fields
from securelight.pipeline.stage import Deferred, Stage
from securelight.stages.early_hints import EarlyHintsConfig, build, check
from tests.helpers import make_context, make_facts, make_request

STYLE = "</style.css>; rel=preload; as=style"


class Interim:
    """An exchange that remembers what it was told to send first."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Fields]] = []

    def inform(self, status: int, fields: Fields) -> None:
        self.sent.append((status, fields))


def stage_of(**settings: Any) -> Stage:
    settings.setdefault("rule", [{"when": {"path": ["/page*"]}, "link": [STYLE, "<https://cdn.test>; rel=preconnect"]}])
    return build(msgspec.convert(settings, EarlyHintsConfig), make_context(Path()))


async def test_a_page_has_its_hints_before_its_answer() -> None:
    request = make_request(path="/page", headers={b"sec-fetch-mode": b"navigate"})
    request.http_version = "2"
    answer = stage_of()(request, make_facts())
    assert isinstance(answer, Deferred)
    exchange: Any = Interim()
    assert await answer.run(exchange) is None
    assert exchange.sent == [(103, ((b"link", STYLE.encode()), (b"link", b"<https://cdn.test>; rel=preconnect")))]


@pytest.mark.parametrize(
    ("method", "path", "version", "mode"),
    [
        ("POST", "/page", "2", None),
        ("HEAD", "/page", "2", None),
        ("GET", "/other", "2", None),
        ("GET", "/page", "1.1", None),
        ("GET", "/page", "1.0", None),
        ("GET", "/page", "2", b"cors"),
    ],
)
def test_who_has_no_use_for_them_gets_none(method: str, path: str, version: str, mode: bytes | None) -> None:
    request = make_request(method, path, {b"sec-fetch-mode": mode} if mode else {})
    request.http_version = version
    assert stage_of()(request, make_facts()) is None


def test_http1_gets_them_where_that_is_asked_for() -> None:
    assert isinstance(stage_of(http1=True)(make_request(path="/page"), make_facts()), Deferred)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"link": []}, "has 0 links"),
        ({"link": [STYLE] * 33}, "has 33 links"),
        ({"link": ["/style.css"]}, "is not a link"),
        ({"link": ["</a>; rel=preload\r\nx: y"]}, "is not a link"),
        ({"link": [STYLE], "when": {}}, "when is empty"),
    ],
)
def test_bad_settings_are_named_and_never_built(rule: dict[str, Any], fault: str) -> None:
    config = msgspec.convert({"rule": [rule]}, EarlyHintsConfig)
    assert [fault in message for message in check(config, Path())] == [True]
    with pytest.raises(ConfigError):
        build(config, make_context(Path()))
