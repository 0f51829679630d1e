"""`securelight convert`: from a file of another server to one of ours, and a list of what is missing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from securelight.cli.main import main
from tests.config.foreign.originals import LIGHTTPD, NGINX


@pytest.mark.parametrize(("name", "text"), [("nginx", NGINX), ("lighttpd", LIGHTTPD)])
def test_it_tells_whose_a_file_is_and_what_is_missing(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "old.conf").write_text(text)
    result = CliRunner().invoke(main, ["convert", str(tmp_path / "old.conf")])
    assert result.exit_code == 0, result.output
    assert f"({name})" in result.stdout.splitlines()[0]
    assert tomllib.loads(result.stdout)["site"]
    told = [line for line in result.stderr.splitlines() if line]
    assert told
    assert all(f"# {line}" in result.stdout.splitlines() for line in told)


def test_what_is_no_configuration_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text("server { \x1b[31m")
    result = CliRunner().invoke(main, ["convert", str(tmp_path / "x.conf")])
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "\x1b" not in result.output
    assert CliRunner().invoke(main, ["convert", str(tmp_path / "none")]).exit_code == 1
