"""htpasswd files: what is taken, what is refused, and what happens when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from securelight.stages import password_file
from securelight.stages.password_file import PasswordFile, PasswordFileError, hash_password, read_users, verify

CHEAP = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + "A" * 43
BCRYPT = "$2y$04$" + "a" * 53


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o640)
    return path


def test_a_hash_that_is_made_is_a_hash_that_is_read(tmp_path: Path) -> None:
    for bcrypt in (False, True):
        stored = hash_password("pässword", bcrypt=bcrypt)
        assert read_users(write(tmp_path / "users", f"# ours\n\nalice:{stored}\n")).hashes == {"alice": stored}
        assert verify(stored, "pässword")
        assert not verify(stored, "password")
        assert not verify(stored, "")


def test_a_long_password_is_cut_by_bcrypt_and_by_nothing_else() -> None:
    stored = hash_password("x" * 100, bcrypt=True)
    assert verify(stored, "x" * 100)
    assert verify(stored, "x" * 72)
    assert not verify(hash_password("x" * 100), "x" * 72)


def test_a_broken_hash_lets_nobody_in() -> None:
    assert not verify("$2y$04$" + "." * 53, "\0")
    assert not verify(CHEAP, "anything")
    assert not verify("$argon2id$nonsense", "anything")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("alice:$apr1$x$y\n", "line 1: the hash of 'alice' is MD5"),
        ("alice:{SHA}xxx\n", "SHA-1"),
        ("alice:secret\n", "plain text"),
        ("alice:$6$x$y\n", "SHA-512 crypt"),
        ("alice\n", "line 1 is not user:hash"),
        (f"bob:{BCRYPT}\n:{BCRYPT}\n", "line 2 is not user:hash"),
        (f"a\x1b[31m:{BCRYPT}\n", "line 1 is not user:hash"),
        (f"a:{BCRYPT}\na:{BCRYPT}\n", "line 2: 'a' is there twice"),
        ("", "has no users"),
        ("a:$2y$31$" + "a" * 53, "2^31 rounds"),
        ("a:$argon2id$v=19$m=99999999,t=1,p=1$c29tZXNhbHQ$AAAA", "more than a gigabyte"),
    ],
)
def test_what_is_weak_or_broken_is_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(PasswordFileError) as refused:
        read_users(write(tmp_path / "users", text))
    assert fault in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "users", f"a:{BCRYPT}\n")
    path.chmod(0o644)
    with pytest.raises(PasswordFileError, match="open to everybody"):
        read_users(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "none", tmp_path, tmp_path / "fifo"):
        with pytest.raises(PasswordFileError):
            read_users(path)


def test_the_decoy_is_as_costly_as_the_costliest(tmp_path: Path) -> None:
    dear = CHEAP.replace("m=8", "m=64")
    assert read_users(write(tmp_path / "users", f"a:{BCRYPT}\nb:{CHEAP}\nc:{dear}\n")).decoy == dear
    assert read_users(write(tmp_path / "users", f"a:{BCRYPT}\n")).decoy == BCRYPT


def test_a_changed_file_is_taken_up_and_a_broken_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(password_file, "monotonic", lambda: now)
    path = write(tmp_path / "users", f"alice:{BCRYPT}\n")
    file = PasswordFile(path)
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
