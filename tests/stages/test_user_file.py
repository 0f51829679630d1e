"""Files of users: which are taken, and what happens when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from securelight.stages import user_file
from securelight.stages.password_file import read_users
from securelight.stages.user_file import UserFile, UserFileError

BCRYPT = "$2y$04$" + "a" * 53


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o640)
    return path


def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "users", f"a:{BCRYPT}\n")
    path.chmod(0o644)
    with pytest.raises(UserFileError, match="open to everybody"):
        read_users(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "none", tmp_path, tmp_path / "fifo"):
        with pytest.raises(UserFileError):
            read_users(path)


def test_a_changed_file_is_taken_up_and_a_broken_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(user_file, "monotonic", lambda: now)
    path = write(tmp_path / "users", f"alice:{BCRYPT}\n")
    file = UserFile(path, read_users)
    assert not file.refresh()
    write(tmp_path / "users.new", f"bob:{BCRYPT}\n").replace(path)
    now += 2
    assert file.refresh()
    assert set(file.users.hashes) == {"bob"}
    write(tmp_path / "users.new", "broken").replace(path)
    now += 2
    assert file.refresh()
    assert "not user:hash" in file.fault
    assert set(file.users.hashes) == {"bob"}
    path.unlink()
    now += 2
    assert file.refresh()
    assert set(file.users.hashes) == {"bob"}
    write(path, f"carol:{BCRYPT}\n")
    now += 2
    assert file.refresh()
    assert (file.fault, set(file.users.hashes)) == ("", {"carol"})
