"""`securelight hash-password`: lines that basic_auth takes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from securelight.cli.main import main
from securelight.stages.digest_auth import Algorithm, DigestAuthConfig, reader_of
from securelight.stages.password_file import read_users, verify


@pytest.mark.parametrize("options", [[], ["--bcrypt"]])
def test_a_line_that_is_printed_is_a_line_that_is_read(tmp_path: Path, options: list[str]) -> None:
    arguments = ["hash-password", "--user", "alice", "--stdin", *options]
    result = CliRunner().invoke(main, arguments, input="s3cret\nmore\n")
    assert result.exit_code == 0, result.output
    path = tmp_path / "users"
    path.write_text(result.stdout)
    path.chmod(0o600)
    stored = read_users(path).hashes["alice"]
    assert verify(stored, "s3cret")
    assert stored.startswith("$2" if options else "$argon2id$")


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_a_line_for_digest_auth_is_read_too(tmp_path: Path, algorithm: Algorithm) -> None:
    arguments = ["hash-password", "--user", "alice", "--realm", "the: club", "--stdin"]
    result = CliRunner().invoke(main, arguments + ["--md5"] * (algorithm == "MD5"), input="s3cret\n")
    assert result.exit_code == 0, result.output
    path = tmp_path / "users"
    path.write_text(result.stdout)
    path.chmod(0o600)
    read = reader_of(DigestAuthConfig("users", "the: club", algorithm=algorithm))
    kind = hashlib.md5 if algorithm == "MD5" else hashlib.sha256
    assert read(path) == {"alice": kind(b"alice:the: club:s3cret").hexdigest()}


@pytest.mark.parametrize("options", [["--md5"], ["--realm", "r"], ["--realm", "r", "--user", "a", "--bcrypt"]])
def test_options_that_do_not_go_together(options: list[str]) -> None:
    assert CliRunner().invoke(main, ["hash-password", "--stdin", *options], input="x\n").exit_code == 2


def test_it_asks_twice_and_shows_nothing() -> None:
    result = CliRunner().invoke(main, ["hash-password"], input="s3cret\ns3cret\n")
    assert result.exit_code == 0
    assert result.stdout.startswith("$argon2id$")
    assert "s3cret" not in result.output
    assert CliRunner().invoke(main, ["hash-password"], input="one\ntwo\n").exit_code != 0


@pytest.mark.parametrize(
    ("user", "password"), [("a:b", "x"), ("", "x"), ("a\x1b", "x"), ("alice", ""), ("alice", "x" * 1025), ("a", "x\0y")]
)
def test_what_no_line_can_hold_is_refused(user: str, password: str) -> None:
    result = CliRunner().invoke(main, ["hash-password", "--user", user, "--stdin"], input=f"{password}\n")
    assert result.exit_code == 1
    assert "$" not in result.output
