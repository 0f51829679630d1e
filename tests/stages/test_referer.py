"""Referer: who may embed, who may not, and who pretends."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings, strategies

from securelight.model.errors import ConfigError, Refusal
from securelight.stages.referer import FEATURE, RefererConfig, build, check
from tests.helpers import make_context, make_facts, make_request


def status(settings: RefererConfig, fields: dict[bytes, bytes], path: str = "/cat.jpg") -> int:
    """200 for who may; the host of the request is a.test."""
    try:
        assert build(settings, make_context(Path()))(make_request(path=path, headers=fields), make_facts()) is None
    except Refusal as refusal:
        return refusal.status
    return 200


FRIENDS = RefererConfig(["*.friend.test", "Blog.Example", "[2001:db8::1]"])


@pytest.mark.parametrize(
    "line",
    [
        b"https://a.test/", b"http://a.test", b"https://A.TEST:8443/page?x=https://evil.test/", b"HTTPS://a.test#x",
        b"https://www.friend.test/", b"https://a.b.friend.test/x", b"https://blog.example/", b"https://[2001:db8::1]:1/",
    ],
)  # fmt: skip
def test_our_own_pages_and_those_of_friends_may(line: bytes) -> None:
    assert status(FRIENDS, {b"referer": line}) == 200


@pytest.mark.parametrize(
    "line",
    [
        b"https://evil.test/", b"https://evil.test/a.test", b"https://evil.test/?https://a.test/", b"https://a.test.evil/",
        b"https://a.test@evil.test/", b"https://friend.test/", b"https://evilfriend.test/", b"https://xa.test/",
        b"a.test", b"//a.test/", b"https://", b"https:///a.test", b"ftp://a.test/", b"about:blank", b"null",
        b"javascript://a.test/", b"https://evil.test\\@a.test", b"https://evil.test\\.a.test/", b"\xff", b" https://a.test/",
        b"https://a.test evil.test/", b"https://evil.test%2f@b.test/", b"https://a.test:x/",
        b"https://a.test/, https://evil.test/ https://a.test".replace(b"https://a.test/,", b"https://evil.test/,"),
    ],
)  # fmt: skip
def test_no_other_page_may(line: bytes) -> None:
    assert status(FRIENDS, {b"referer": line}) == 403
    assert status(RefererConfig(), {b"referer": line}) == 403


@pytest.mark.parametrize(
    ("settings", "fields", "expected"),
    [
        (RefererConfig(), {}, 200),
        (RefererConfig(), {b"referer": b""}, 200),
        (RefererConfig(empty="deny"), {}, 403),
        (RefererConfig(empty="deny"), {b"referer": b""}, 403),
        (RefererConfig(empty="deny"), {b"referer": b"https://a.test/"}, 200),
        (RefererConfig(), {b"sec-fetch-site": b"cross-site", b"sec-fetch-dest": b"image"}, 403),
        (RefererConfig(), {b"sec-fetch-site": b"cross-site"}, 403),
        (RefererConfig(), {b"sec-fetch-site": b"cross-site", b"sec-fetch-dest": b"document"}, 200),
        (RefererConfig(), {b"sec-fetch-site": b"same-site", b"sec-fetch-dest": b"image"}, 200),
        (RefererConfig(), {b"sec-fetch-site": b"none"}, 200),
        (FRIENDS, {b"sec-fetch-site": b"cross-site", b"sec-fetch-dest": b"image"}, 200),
    ],
)
def test_who_says_nothing(settings: RefererConfig, fields: dict[bytes, bytes], expected: int) -> None:
    assert status(settings, fields) == expected


def test_only_what_the_condition_names_is_kept() -> None:
    pictures = msgspec.convert({"when": {"path": ["*.jpg"]}}, RefererConfig)
    foreign = {b"referer": b"https://evil.test/"}
    assert (status(pictures, foreign), status(pictures, foreign, "/page")) == (403, 200)
    assert FEATURE.is_repeatable(pictures)
    assert not FEATURE.is_repeatable(msgspec.convert({"when": {"client": ["10.0.0.0/8"]}}, RefererConfig))


@settings(max_examples=300)
@given(strategies.text("htps:/.@aevil[]?#test ", max_size=60))
def test_no_text_passes_for_a_page_of_ours(text: str) -> None:
    passes = status(RefererConfig(), {b"referer": text.encode()}) == 200
    rest = text.partition("://")[2].replace("?", "/").replace("#", "/")
    assert not passes or not text or rest.partition("/")[0].rpartition("@")[2].partition(":")[0] == "a.test"


@pytest.mark.parametrize("host", ["https://a.test", "a.test/x", "a b", "a..b", "", "*.a.test:80"])
def test_what_is_no_host_is_a_fault(host: str) -> None:
    settings = RefererConfig([host])
    (fault,) = check(settings, Path())
    assert "without https://" in fault
    with pytest.raises(ConfigError):
        build(settings, make_context(Path()))
