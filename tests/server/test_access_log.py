"""The access log's lines: one a request, whatever a client sends, and the same text for the same value always."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import pytest

from securelight.model.headers import Headers
from securelight.model.request import Facts, Peer, Request
from securelight.server.access_log import AccessLog

PEER = Peer("192.0.2.1", 4711)


def lines_of(
    path: Path, targets: list[bytes], agent: bytes | None = None, form: Literal["combined", "json"] = "combined"
) -> list[str]:
    """The log of requests for `targets`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        log = AccessLog(descriptor, form)
        headers = Headers([] if agent is None else [(b"user-agent", agent)])
        for target in targets:
            request = Request("GET", "/", headers, peer=PEER, target=target, http_version="2")
            log.record(request, Facts(PEER.address), 200, 5, 0.0)
        log.flush()
    finally:
        os.close(descriptor)
    return path.read_text("ascii").splitlines()


def test_a_line_is_apaches_combined_form(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path / "log", [b"/a?b"], b"test/1.0 (x)")
    assert line.startswith("192.0.2.1 - - [")
    assert line.endswith('] "GET /a?b HTTP/2" 200 5 "-" "test/1.0 (x)"')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b'a"b', r"a\x22b"),
        (b"a\\b", r"a\x5cb"),
        (b"a\r\nb", r"a\x0d\x0ab"),
        (b"\x1b[2J\xff", r"\x1b[2J\xff"),
        (b"", "-"),
    ],
)
def test_what_a_client_sent_stays_within_its_quotes(tmp_path: Path, value: bytes, text: str) -> None:
    for line in lines_of(tmp_path / "log", [value, value], value):
        assert line.endswith(f'] "GET {text} HTTP/2" 200 5 "-" "{text}"')


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    first, second = map(json.loads, lines_of(tmp_path / "log", [b"/\n", b"/" + b"x" * 1000], None, "json"))
    assert (first["target"], second["target"], first["user_agent"]) == ("/\\x0a", "/" + "x" * 1000, "-")


def test_ever_new_values_are_told_apart_and_old_ones_stay_the_same(tmp_path: Path) -> None:
    targets = [b"/%d" % number for number in range(5000)] + [b"/0", b"/" + b"y" * 300]
    lines = lines_of(tmp_path / "log", targets)
    assert [line.split()[6].encode() for line in lines] == targets
