from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from securelight.model.errors import CertificateError
from securelight.pki import trust_commands
from securelight.pki.trust_commands import Command, change, command_line, find_program, look, may_write, reason
from tests.pki.trust_machine import path_with, put_program


def test_a_command_is_shown_as_one_would_type_it() -> None:
    nasty = Command(("rm", "-f", "it's; rm -rf $HOME"), sudo=True)
    assert str(nasty).startswith("sudo rm -f ")
    assert shlex.split(str(nasty)) == ["sudo", "rm", "-f", "it's; rm -rf $HOME"]
    assert command_line([Command(("a",)), Command(("b", "c"))]) == "a && b c"


def test_nothing_goes_through_a_shell(tmp_path: Path) -> None:
    name = "a b; touch $(echo other)"
    change(Command(("touch", str(tmp_path / name))))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_command_that_fails_says_why_and_how_to_do_it_by_hand(tmp_path: Path) -> None:
    missing = str(tmp_path / "no" / "file")
    with pytest.raises(CertificateError) as caught:
        change(Command(("rm", missing)))
    assert caught.value.where == "rm"
    assert "No such file" in caught.value.what
    assert caught.value.what.endswith(f"by hand: rm {missing}")


def test_a_program_that_is_not_there_is_named() -> None:
    for run in (lambda: change(Command(("no-such-program",))), lambda: look("no-such-program")):
        with pytest.raises(CertificateError, match="no-such-program"):
            run()


def test_without_sudo_it_says_what_to_run_as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CertificateError, match=r"sudo is not installed; as root, run: update-ca-trust$"):
        change(Command(("update-ca-trust",), sudo=True))


def test_a_refused_sudo_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put_program(tmp_path / "bin", "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    with pytest.raises(CertificateError) as caught:
        change(Command(("update-ca-trust",), sudo=True))
    assert str(caught.value) == "update-ca-trust: sudo: a password is required; by hand: sudo update-ca-trust"


def test_with_sudo_the_very_command_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put_program(tmp_path / "bin", "sudo", f'echo "$@" > {tmp_path}/asked; exec "$@"')
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    change(Command(("touch", str(tmp_path / "done")), sudo=True))
    assert (tmp_path / "done").exists()
    assert (tmp_path / "asked").read_text() == f"touch {tmp_path}/done\n"


def test_what_only_looks_cannot_ask_questions() -> None:
    code = "import os, sys; sys.stdin.read(); os.open('/dev/tty', os.O_RDWR)"
    done = look(sys.executable, "-c", code)
    assert done.returncode != 0
    assert b"OSError" in done.stderr


def test_what_takes_too_long_is_ended_with_its_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trust_commands, "LOOK_SECONDS", 0.5)
    # The child inherits the pipes: with it alive, nobody would see their end.
    put_program(tmp_path / "bin", "slow", "sleep 600 & sleep 600")
    with pytest.raises(CertificateError, match="did not end within"):
        look(str(tmp_path / "bin" / "slow"))
    monkeypatch.setattr(trust_commands, "CHANGE_SECONDS", 0.5)
    with pytest.raises(CertificateError, match="did not end within"):
        change(Command(("sleep", "600")))


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (b"", ""),
        (b"\n\n  \nfirst\nsecond\n", "first"),
        (b"W: a warning\nUsage: x\n\tat java.lang\nthe error", "the error"),
        (b"\x1b[31mred\x1b[0m \xff", "[31mred[0m \ufffd"),
        (b"x" * 5000, "x" * 300),
    ],
)
def test_the_reason_is_one_printable_line(output: bytes, line: str) -> None:
    assert reason(output) == line


def test_programs_of_the_superuser_are_found_without_being_in_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_program("no-such-program") is None
    sbin = next((Path(folder) for folder in ("/usr/sbin", "/sbin") if any(Path(folder).iterdir())), None)
    assert sbin is not None
    program = next(path for path in sbin.iterdir() if path.is_file() and os.access(path, os.X_OK))
    assert find_program(program.name) is not None


def test_the_superuser_needs_no_sudo_and_others_need_it_where_they_may_not_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert may_write(tmp_path)
    monkeypatch.setattr(trust_commands, "is_superuser", lambda: False)
    assert may_write(tmp_path)
    assert not may_write(tmp_path, tmp_path / "not-there")
