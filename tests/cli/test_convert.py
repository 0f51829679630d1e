"""`securelight convert`: from a file of another server to one of ours, and a list of what is missing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from securelight.cli.main import main
from tests.certificates import make_test_certificates
from tests.config.foreign.originals import LIGHTTPD, NGINX, PHP_LIGHTTPD, WORDPRESS_NGINX


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


@pytest.mark.parametrize("text", [WORDPRESS_NGINX, PHP_LIGHTTPD])
def test_what_people_have_becomes_something_that_check_finds_good(tmp_path: Path, text: str) -> None:
    certificates = make_test_certificates(tmp_path)
    (tmp_path / "www").mkdir()
    (tmp_path / "www/.htpasswd").write_text("alice:$2y$04$" + "a" * 53 + "\n")
    (tmp_path / "www/.htpasswd").chmod(0o600)
    (tmp_path / "mime.types").write_text("types { text/html html htm; }\n")
    for name, path in (("WWW", tmp_path / "www"), ("CHAIN", certificates.chain), ("KEY", certificates.key)):
        text = text.replace(name, str(path))
    (tmp_path / "old.conf").write_text(text)
    made = CliRunner().invoke(main, ["convert", str(tmp_path / "old.conf")])
    assert made.exit_code == 0, made.output
    (tmp_path / "securelight.toml").write_text(made.stdout)
    result = CliRunner().invoke(main, ["check", "-c", str(tmp_path / "securelight.toml")])
    assert result.exit_code == 0, result.output
