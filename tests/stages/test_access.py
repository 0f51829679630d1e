"""Who comes in, and who does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.model.errors import ConfigError, Refusal
from securelight.model.request import Facts
from securelight.pipeline.stage import Stage
from securelight.stages.access import FEATURE, AccessConfig, build, check
from tests.helpers import make_context, make_request


def stage_of(**settings: Any) -> Stage:
    return build(msgspec.convert(settings, AccessConfig), make_context(Path()))


def enters(stage: Stage, address: str, path: str = "/") -> bool:
    try:
        assert stage(make_request(path=path), Facts(address)) is None
    except Refusal as refusal:
        return refusal.status not in (403, 404)
    return True


def test_where_some_are_allowed_nobody_else_is() -> None:
    stage = stage_of(allow=["10.0.0.0/8", "::1"], deny=["10.6.6.0/24"])
    assert enters(stage, "10.1.2.3")
    assert enters(stage, "::ffff:10.1.2.3")
    assert enters(stage, "::1")
    for address in ("10.6.6.6", "::ffff:10.6.6.6", "192.0.2.1", "", "not an address"):
        assert not enters(stage, address), address


def test_where_some_are_denied_all_others_come_in() -> None:
    stage = stage_of(deny=["192.0.2.0/24"], status=404)
    assert enters(stage, "198.51.100.1")
    with pytest.raises(Refusal) as refused:
        stage(make_request(), Facts("192.0.2.1"))
    assert (refused.value.status, refused.value.public) == (404, "")


def test_the_first_rule_that_fits_decides_before_the_addresses() -> None:
    stage = stage_of(
        allow=["10.0.0.0/8"],
        rule=[
            {"action": "allow", "when": {"path": ["/public/*"]}},
            {"action": "deny", "when": {"path": ["*.bak"]}},
        ],
    )
    assert enters(stage, "192.0.2.1", "/public/x.bak")
    assert not enters(stage, "10.0.0.1", "/x.bak")
    assert enters(stage, "10.0.0.1", "/x")
    assert not enters(stage, "192.0.2.1", "/x")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({}, "lets everybody in"),
        ({"allow": ["10.0.0.1/8"]}, "allow: '10.0.0.1/8'"),
        ({"deny": ["all"]}, "deny: 'all'"),
        ({"rule": [{"action": "deny", "when": {"path_regex": "("}}]}, "rule[0].when.path_regex"),
    ],
)
def test_bad_settings_are_named_and_never_built(settings: dict[str, Any], fault: str) -> None:
    config = msgspec.convert(settings, AccessConfig)
    assert [fault in message for message in check(config, Path())] == [True]
    with pytest.raises(ConfigError):
        build(config, make_context(Path()))


def test_addresses_are_asked_for_each_request() -> None:
    assert not FEATURE.is_repeatable(AccessConfig(deny=["::1"]))
    assert FEATURE.is_repeatable(
        msgspec.convert({"rule": [{"action": "deny", "when": {"path": ["/x"]}}]}, AccessConfig)
    )
