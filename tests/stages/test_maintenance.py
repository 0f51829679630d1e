"""A closed site: 503 for visitors, itself for those who work on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from securelight.model.errors import ConfigError, Refusal
from securelight.model.request import Facts
from securelight.pipeline.stage import Stage
from securelight.stages import maintenance
from securelight.stages.maintenance import MaintenanceConfig, build, check
from tests.helpers import make_context, make_request


def stage_of(base: Path = Path(), **settings: Any) -> Stage:
    return build(MaintenanceConfig(**settings), make_context(base))


def test_visitors_come_back_later_and_workers_come_in() -> None:
    stage = stage_of(allow=["192.0.2.0/24", "2001:db8::/32"], retry_after_seconds=60, message="soon")
    for address in ("192.0.2.9", "2001:db8::5", "::ffff:192.0.2.9"):
        assert stage(make_request(), Facts(address)) is None
    for address in ("198.51.100.1", "", "::1"):
        with pytest.raises(Refusal) as refused:
            stage(make_request(), Facts(address))
        assert (refused.value.status, refused.value.public) == (503, "soon")
        assert refused.value.fields == ((b"retry-after", b"60"),)


def test_a_file_closes_and_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(maintenance, "monotonic", lambda: now)
    stage = stage_of(tmp_path, flag_file="closed")
    assert stage(make_request(), Facts("::1")) is None
    (tmp_path / "closed").touch()
    now += 2
    with pytest.raises(Refusal):
        stage(make_request(), Facts("::1"))
    (tmp_path / "closed").unlink()
    now += 2
    assert stage(make_request(), Facts("::1")) is None


@pytest.mark.parametrize(
    ("settings", "fault"), [({"allow": ["nobody"]}, "allow: 'nobody'"), ({"flag_file": "no/such/x"}, "no folder")]
)
def test_bad_settings_are_named_and_never_built(tmp_path: Path, settings: dict[str, Any], fault: str) -> None:
    config = MaintenanceConfig(**settings)
    assert [fault in message for message in check(config, tmp_path)] == [True]
    with pytest.raises(ConfigError, match=r"allow|folder"):
        build(config, make_context(tmp_path))
