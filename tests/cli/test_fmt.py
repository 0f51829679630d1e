"""`securelight fmt`: files in the usual layout, whole or untouched."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from securelight.cli.main import main

UGLY, FINE = "[server]\nworkers=1\n", "[server]\nworkers = 1\n"


def test_a_file_is_changed_in_place_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "securelight.toml"
    path.write_text(UGLY)
    path.chmod(0o640)
    result = CliRunner().invoke(main, ["fmt", str(path)])
    assert (result.exit_code, result.output) == (0, f"{path} changed\n")
    assert path.read_text() == FINE
    assert path.stat().st_mode & 0o777 == 0o640
    assert CliRunner().invoke(main, ["fmt", str(path)]).output == ""
    assert [one.name for one in tmp_path.iterdir()] == ["securelight.toml"]


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_looking_changes_nothing_and_tells_by_its_exit_code(tmp_path: Path, option: str) -> None:
    path = tmp_path / "securelight.toml"
    path.write_text(UGLY)
    result = CliRunner().invoke(main, ["fmt", option, str(path)])
    assert result.exit_code == 1
    assert path.read_text() == UGLY
    assert ("+workers = 1" in result.output) is (option == "--diff")
    path.write_text(FINE)
    assert CliRunner().invoke(main, ["fmt", option, str(path)]).exit_code == 0


@pytest.mark.parametrize("content", [b"a = \x1b[31m", b"\xff", b"a = "])
def test_what_is_no_toml_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    result = CliRunner().invoke(main, ["fmt", str(path)])
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert path.read_bytes() == content


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["fmt", str(tmp_path / "none.toml")])
    assert result.exit_code == 1
    assert "cannot be read" in result.output
