"""Strict-Transport-Security."""

from __future__ import annotations

from pathlib import Path

import pytest

from securelight.filters.hsts import HstsConfig, build, check
from securelight.model.errors import ConfigError
from securelight.model.response import Response
from tests.helpers import field, make_context, make_facts, make_request

NAME = b"strict-transport-security"


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        (HstsConfig(), b"max-age=86400"),
        (HstsConfig(max_age_seconds=0), b"max-age=0"),
        (HstsConfig(63_072_000, True, True), b"max-age=63072000; includeSubDomains; preload"),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_every_https_response_has_it_once(settings: HstsConfig, value: bytes, shared: bool) -> None:
    hsts = build(settings, make_context(Path()))
    response = Response(404, ((NAME, b"max-age=1"), (b"a", b"b")), b"body", shared=shared)
    for _ in range(2):
        answer = hsts(make_request(), make_facts(), response)
        assert field(answer, NAME) == value
        assert field(answer, b"a") == b"b"


def test_plain_http_never_has_it() -> None:
    response = Response(308)
    assert build(HstsConfig(), make_context(Path()))(make_request(scheme="http"), make_facts(), response) is response


@pytest.mark.parametrize("settings", [HstsConfig(preload=True), HstsConfig(300, True, True)])
def test_preload_is_refused_where_browsers_would_refuse_it(settings: HstsConfig) -> None:
    assert len(check(settings, Path())) == 1
    with pytest.raises(ConfigError, match="preload"):
        build(settings, make_context(Path()))
