"""htpasswd and htdigest files: only UserFileError is raised, in words that are safe to log."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from securelight.stages.digest_auth import DigestAuthConfig, reader_of
from securelight.stages.password_file import read_users
from securelight.stages.user_file import UserFileError

ARGON2 = b"$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21l$" + b"a" * 43
BCRYPT = b"$2b$12$" + b"a" * 53
SEEDS = [
    b"anna:" + ARGON2 + b"\n# nobody\n\nbob:" + BCRYPT + b"\n",
    b"anna:a realm:" + b"0" * 64 + b"\nbob:a realm:" + b"0" * 32 + b"\n",
    b"anna:{SHA}x\n",
]
WORDS = [ARGON2, BCRYPT, b"anna:", b"$2y$", b"m=99999999999", b":a realm:", b"\n", b"\xe2\x80\xa8"]
_PATH = Path(tempfile.mkdtemp(prefix="securelight-fuzz-users-")) / "users"
_DIGEST = reader_of(DigestAuthConfig(file="users", realm="a realm"))


def fuzz(data: bytes) -> None:
    _PATH.write_bytes(data)
    os.chmod(_PATH, 0o600)
    said = ""
    try:
        users = read_users(_PATH)
        assert users.hashes
        assert all(user.isprintable() and stored[:1] == "$" for user, stored in users.hashes.items())
    except UserFileError as error:
        said = str(error)
    try:
        hashes = _DIGEST(_PATH)
        assert all(len(stored) == 64 for stored in hashes.values())
    except UserFileError as error:
        said += str(error)
    assert said.isprintable()
