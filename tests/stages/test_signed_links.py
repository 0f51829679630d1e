"""Links that are good for a time: what opens, and what must not."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest

from securelight.model.errors import ConfigError, Refusal
from securelight.model.request import Facts
from securelight.stages.signed_links import SignedLinksConfig, build, check
from tests.helpers import make_context, make_request

SECRET = b"0123456789abcdef0123456789abcdef"
NOW = 1_700_000_000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    monkeypatch.setattr("securelight.stages.signed_links.time.time", lambda: float(NOW))
    return tmp_path


def link(path: str, expires: int | str = NOW + 60, *more: str, secret: bytes = SECRET) -> bytes:
    """The query of a link, made as the documentation says, without our own code."""
    text = "\n".join((path, str(expires), *more))
    signature = urlsafe_b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).rstrip(b"=")
    return f"expires={expires}&signature={signature.decode()}".encode()


def status(base: Path, path: str, query: bytes, address: str = "192.0.2.7", **settings: Any) -> int:
    stage = build(msgspec.convert({"secret_file": "secret", **settings}, SignedLinksConfig), make_context(base))
    try:
        stage(make_request(path=path, query=query), Facts(address))
    except Refusal as refusal:
        return refusal.status
    return 200


def test_a_valid_link_opens(folder: Path) -> None:
    assert status(folder, "/a b/ü", link("/a b/ü")) == 200
    assert status(folder, "/a", link("/a") + b"&download=1") == 200
    assert status(folder, "/a", b"x=1&" + link("/a")) == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", 403),
        (b"expires=1&signature=", 403),
        (link("/b"), 403),
        (link("/a", NOW - 1), 410),
        (link("/a", NOW + 10_000_000), 403),
        (link("/a", secret=b"x" * 32), 403),
        (link("/a").replace(b"expires=", b"expires=0"), 403),
        (link("/a").replace(b"expires=17", b"expires=18"), 403),
        (link("/a")[:-1], 403),
        (link("/a") + b"=", 403),
        (link("/a") + b"&expires=9999999999", 403),
        (link("/a") + b"&signature=x", 403),
        (link("/a", "-1"), 403),
        (link("/a", "1e9"), 403),
        (link("/a", "9" * 5000), 403),
        (link("/a").replace(b"&signature", b";signature"), 403),
        (b"expires=%D9%A1&signature=%FF", 403),
        (link("/a").partition(b"&")[0] + b"&signature=%C3%A9", 403),
    ],
)
def test_every_other_link_does_not(folder: Path, query: bytes, expected: int) -> None:
    assert status(folder, "/a", query) == expected


def test_a_link_for_one_path_is_not_for_another_that_ends_in_its_lines(folder: Path) -> None:
    assert status(folder, "/a", link("/a", NOW + 60, "192.0.2.7")) == 403
    assert status(folder, "/a\n1", link("/a")) == 403


def test_a_link_may_be_for_one_address(folder: Path) -> None:
    query = link("/a", NOW + 60, "192.0.2.7")
    assert status(folder, "/a", query, bind_address=True) == 200
    assert status(folder, "/a", query, "192.0.2.8", bind_address=True) == 403
    assert status(folder, "/a", link("/a"), bind_address=True) == 403


def test_only_some_requests_need_one(folder: Path) -> None:
    assert status(folder, "/open", b"", when={"path_prefix": ["/closed"]}) == 200
    assert status(folder, "/closed/x", b"", when={"path_prefix": ["/closed"]}) == 403


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"secret_file": "none"}, "cannot be read"),
        ({"secret_file": "short"}, "32 to 4096 bytes"),
        ({"secret_file": "secret", "when": {"path_regex": "("}}, "when.path_regex"),
    ],
)
def test_bad_settings_are_named_and_never_built(folder: Path, settings: dict[str, Any], fault: str) -> None:
    (folder / "short").write_bytes(b"password\n")
    config = msgspec.convert(settings, SignedLinksConfig)
    assert [fault in message for message in check(config, folder)] == [True]
    with pytest.raises(ConfigError):
        build(config, make_context(folder))
