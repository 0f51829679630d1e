"""Settings of a share, and what is refused of them. What clients see is in tests/wire/test_webdav.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from securelight.config.load import load
from securelight.features import FEATURES
from securelight.handlers import webdav
from securelight.handlers.webdav import WebDavConfig, check
from securelight.model.errors import ConfigError
from securelight.server import landlock
from securelight.server.confinement import plan
from tests.helpers import fetch, field, make_context, make_request, read_body
from tests.wire.server_process import write_config

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import TestCertificates


def settings(**values: Any) -> WebDavConfig:
    return msgspec.convert({"root": "share", **values}, WebDavConfig)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "f.html").write_text("page")
    return tmp_path


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"root": "nowhere"}, "does not exist"),
        ({"root": "share/{host}"}, "a share has one folder"),
        ({"state": "state"}, "state is of no use"),
        ({"state": "state", "writable": True}, "is not a directory"),
        ({"state": "share", "writable": True}, "lies below the root"),
        ({"lock_seconds": 20, "maximum_lock_seconds": 10}, "lock_seconds is more"),
        ({"locks": 1}, "locks_each is more"),
        ({"index": ["a/b"]}, "is not a file name"),
    ],
)
def test_settings_that_cannot_be_meant(base: Path, values: dict[str, Any], fault: str) -> None:
    [found] = check(settings(**values), base)
    assert fault in found
    with pytest.raises(ConfigError, match=r"test\.toml"):
        webdav.build(settings(**values), make_context(base))


def test_good_settings(base: Path) -> None:
    (base / "state").mkdir()
    assert check(settings(), base) == []
    assert check(settings(writable=True, state="state"), base) == []


@pytest.mark.parametrize(
    ("values", "policy"),
    [({}, None), ({"writable": True}, b"sandbox"), ({"writable": True, "active_content": True}, None)],
)
def test_scripts_of_others_do_nothing_in_our_name(base: Path, values: dict[str, Any], policy: bytes | None) -> None:
    handler = webdav.build(settings(**values), make_context(base))
    answer = fetch(handler, make_request(path="/f.html"))
    assert field(answer, b"content-security-policy") == policy
    assert read_body(answer) == b"page"


def test_what_another_program_changes_is_seen_at_once(base: Path) -> None:
    handler = webdav.build(settings(), make_context(base))
    for content in (b"one", b"two2", b"three"):
        (base / "share" / "f.txt").write_bytes(content)
        assert read_body(fetch(handler, make_request(path="/f.txt"))) == content


@pytest.mark.parametrize(("writable", "state"), [(False, ""), (True, ""), (True, 'state = "state"')])
def test_workers_may_write_to_a_share_that_is_writable_and_to_no_other(
    base: Path, certificates: TestCertificates, writable: bool, state: str
) -> None:
    if not landlock.version():
        pytest.skip("this kernel has no Landlock")
    (base / "state").mkdir()
    site = f'[site.webdav]\nroot = "share"\nwritable = {str(writable).lower()}\n{state}'
    confinement = plan(load(write_config(base, certificates, site), FEATURES))
    assert confinement.why_not == ""
    assert base / "share" in confinement.read
    assert confinement.write == tuple(base / name for name in (["share"] * writable + ["state"] * bool(state)))
