"""htpasswd files: what is taken, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from securelight.stages.password_file import hash_password, read_users, verify
from securelight.stages.user_file import UserFileError

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
    with pytest.raises(UserFileError) as refused:
        read_users(write(tmp_path / "users", text))
    assert fault in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_decoy_is_as_costly_as_the_costliest(tmp_path: Path) -> None:
    dear = CHEAP.replace("m=8", "m=64")
    assert read_users(write(tmp_path / "users", f"a:{BCRYPT}\nb:{CHEAP}\nc:{dear}\n")).decoy == dear
    assert read_users(write(tmp_path / "users", f"a:{BCRYPT}\n")).decoy == BCRYPT
