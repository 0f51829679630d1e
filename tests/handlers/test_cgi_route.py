"""Which script a path names, and for how long that is believed without a look at the file system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from securelight.files.safe_path import DocumentRoot
from securelight.handlers.cgi_route import ScriptFinder
from securelight.model.errors import Refusal
from tests.server.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def finder(tmp_path: Path) -> ScriptFinder:
    (tmp_path / "hello.php").write_text("<?php")
    return ScriptFinder(DocumentRoot(tmp_path), (".php",), "index.php", "", "/shop")


def test_a_script_is_believed_for_a_moment_and_then_looked_for_again(finder: ScriptFinder, tmp_path: Path) -> None:
    assert finder.known("/shop/hello.php/x") is None
    found = finder.find("/shop/hello.php/x")
    assert (found.name, found.path_info) == ("/shop/hello.php", "/x")
    assert finder.known("/shop/hello.php/x") is found
    assert finder.known("/shop/hello.php") is None
    (tmp_path / "hello.php").unlink()
    wait_until(lambda: finder.known("/shop/hello.php/x") is None)
    with pytest.raises(Refusal):
        finder.find("/shop/hello.php/x")


def test_that_there_is_no_script_is_not_believed(finder: ScriptFinder, tmp_path: Path) -> None:
    with pytest.raises(Refusal):
        finder.find("/shop/")
    (tmp_path / "index.php").write_text("<?php")
    assert finder.find("/shop/").name == "/shop/index.php"


def test_what_is_believed_is_bounded(finder: ScriptFinder) -> None:
    for number in range(3_000):
        finder.find(f"/shop/hello.php/{number}")
    assert sum(finder.known(f"/shop/hello.php/{number}") is not None for number in range(3_000)) <= 1_024
    long = "/shop/hello.php/" + "x" * 1_000
    finder.find(long)
    assert finder.known(long) is None


def test_an_application_without_files_needs_no_look() -> None:
    script = ScriptFinder(None, (), "", "", "/app").known("/app/any/thing")
    assert script is not None
    assert script.path_info == "/any/thing"
