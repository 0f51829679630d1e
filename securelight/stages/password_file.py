"""htpasswd files: `user:hash` lines, with argon2 and bcrypt hashes alone.

What is too weak to keep (MD5, SHA-1, crypt, plain text) is refused by name, with the command that makes a good one.
"""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from securelight.model.extras import install_command
from securelight.stages.user_file import MAXIMUM_USER_CHARACTERS, read_private

if TYPE_CHECKING:
    from pathlib import Path

_BCRYPT_BYTES: Final = 72
"""What bcrypt looks at of a password; its makers cut, so that old hashes stay good."""
_ARGON2: Final = re.compile(
    r"\$argon2(?:id|i|d)\$v=\d+\$m=(\d{1,8}),t=(\d{1,4}),p=(\d{1,3})\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
)
_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_MAXIMUM_MEMORY_KIB: Final = 1 << 20
_MAXIMUM_ROUNDS: Final = 16
"""Of bcrypt, as a power of two: some seconds."""
_MISSING: Final = f"passwords need two libraries; run: {install_command('auth')}"


class Users(NamedTuple):
    """What a file holds.

    Attributes:
        hashes: by user.
        decoy: a hash of no password, of the costliest kind in the file, for users that there are not.
    """

    hashes: dict[str, str]
    decoy: str


def libraries_missing() -> str | None:
    """What to say if passwords cannot be hashed here; None if they can."""
    found = all(importlib.util.find_spec(name) is not None for name in ("argon2", "bcrypt"))
    return None if found else _MISSING


def hash_password(password: str, *, bcrypt: bool = False) -> str:
    """A line's hash: argon2id with the parameters of RFC 9106, section 4 (second choice), or bcrypt."""
    if bcrypt:
        library: Any = importlib.import_module("bcrypt")
        return str(library.hashpw(password.encode()[:_BCRYPT_BYTES], library.gensalt(12)).decode())
    argon2: Any = importlib.import_module("argon2")
    return str(argon2.PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4).hash(password))


def verify(stored: str, password: str) -> bool:
    """Whether `password` has the hash `stored`. Takes tens of milliseconds: run it in a thread."""
    if stored.startswith("$2"):
        bcrypt: Any = importlib.import_module("bcrypt")
        try:
            return bool(bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], stored.encode()))
        except ValueError:
            return False
    argon2: Any = importlib.import_module("argon2")
    try:
        return bool(argon2.PasswordHasher().verify(stored, password))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def read_users(path: Path) -> Users:
    """Read the file.

    Errors: UserFileError for one that cannot be read, that others may open, or with a line that is no good.
    """
    return read_private(path, _parse)


def _parse(text: str) -> Users:
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, stored = line.strip().partition(":")
        if not colon or not user or len(user) > MAXIMUM_USER_CHARACTERS or not user.isprintable():
            raise ValueError(f"line {number} is not user:hash")
        if user in hashes:
            raise ValueError(f"line {number}: {user!r} is there twice")
        fault = _hash_fault(stored)
        if fault:
            raise ValueError(f"line {number}: the hash of {user!r} {fault}")
        hashes[user] = stored
    if not hashes:
        raise ValueError("has no users; make one: securelight hash-password --user NAME")
    bcrypted = all(stored.startswith("$2") for stored in hashes.values())
    return Users(hashes, next(iter(hashes.values())) if bcrypted else _argon2_of(hashes))


def _argon2_of(hashes: dict[str, str]) -> str:
    return max((stored for stored in hashes.values() if not stored.startswith("$2")), key=_memory)


def _memory(stored: str) -> int:
    match = _ARGON2.fullmatch(stored)
    return int(match[1]) * int(match[2]) if match else 0


def _hash_fault(stored: str) -> str:
    argon2 = _ARGON2.fullmatch(stored)
    if argon2 is not None:
        return "" if int(argon2[1]) <= _MAXIMUM_MEMORY_KIB else "needs more than a gigabyte of memory"
    bcrypt = _BCRYPT.fullmatch(stored)
    if bcrypt is not None:
        return (
            ""
            if 4 <= int(bcrypt[1]) <= _MAXIMUM_ROUNDS
            else f"has 2^{int(bcrypt[1])} rounds; 4 to {_MAXIMUM_ROUNDS} are taken"
        )
    kind = next(
        (name for start, name in (("$apr1$", "MD5"), ("{SHA}", "SHA-1"), ("$1$", "MD5"), ("$5$", "SHA-256 crypt"),
                                  ("$6$", "SHA-512 crypt")) if stored.startswith(start)),
        "of an unknown kind, or plain text",
    )  # fmt: skip
    return f"is {kind}; argon2 and bcrypt are taken: securelight hash-password --user NAME"
