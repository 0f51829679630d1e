"""nginx before the judge: what it fails is known and argued, line by line, and it fails nothing else.

The files of the other servers in expected/ are looked at by `make compare ARGS=--check`, which takes half an hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.compare import differences, expected_text, judge, read_expected
from tests.conformance.peers import PEERS

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "1.22"
"""What the table was made with."""
SUITES = ("h2", "hpack", "h1", "tls")
"""Those that need no quiet machine."""

pytestmark = pytest.mark.peer


def test_nginx_fails_what_is_known_and_nothing_else(tmp_path: Path) -> None:
    peer = PEERS["nginx"]
    if peer.find() is None:
        pytest.skip("nginx is not installed")
    version = peer.say_version()
    if not version.startswith(VERSION + "."):
        pytest.skip(f"the table was made with nginx {VERSION}, this is {version}")
    text = expected_text(peer)
    assert "Not looked at yet" not in text  # each line stands below its argument
    expected = read_expected(text)
    found = judge(peer, tmp_path, SUITES, expected, patience=10.0)
    assert differences(expected, found) == []
    assert len(found.cases()) > 80
