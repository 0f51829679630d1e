"""Keys and certificates on disk: written whole or not at all, keys for their owner only.

Owns modes, atomic replacement and the lock that keeps two processes from issuing at once. Refuses keys that others
may read, and directories in which others could replace them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from securelight.model.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
_SIGNING_KEYS = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)

KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644
DIRECTORY_MODE = 0o700

MAXIMUM_FILE_BYTES = 1 << 20
"""Of a key or certificate file that is read."""

LOCK_SECONDS = 30.0
"""To wait for another process that issues certificates in the same directory; it takes far less than one."""

_LOCK_RETRY_SECONDS = 0.05


def prepare_directory(directory: Path) -> None:
    """Make sure of a directory that is fit for keys: 0700 if it is made now, else not writable by others.

    Errors: CertificateError.
    """
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        status = directory.stat()
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            if status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX:
                raise CertificateError(
                    str(directory), "others may write here, and so replace keys; take a directory of your own"
                )
            # A checkout under umask 002, mostly. Who may read stays as it was.
            directory.chmod(stat.S_IMODE(status.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
    except OSError as error:
        raise CertificateError(str(directory), f"cannot be used for certificates: {error.strerror}") from error


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` with `content` in one step, on disk before this returns; at no time can others read a key.

    Errors: CertificateError, and `path` is what it was before.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise CertificateError(str(path), f"cannot be written: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes | None:
    """The content of a regular file, or None if there is none.

    Errors: CertificateError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CertificateError(str(path), f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CertificateError(str(path), "is not a file")
    with open(descriptor, "rb") as file:
        content = file.read(MAXIMUM_FILE_BYTES + 1)
    if len(content) > MAXIMUM_FILE_BYTES:
        raise CertificateError(str(path), f"is larger than {MAXIMUM_FILE_BYTES} bytes, so not a certificate or key")
    return content


def refuse_shared_key(path: Path) -> None:
    """See that a key file, if it is there, is for its owner only.

    Errors: CertificateError with the cure.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CertificateError(str(path), f"cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CertificateError(
            str(path),
            f"others may use this key (mode {mode:04o}): chmod 600 {path}; if somebody else may have read it, delete "
            "it and its certificate, so that both are made anew",
        )


def read_key(path: Path) -> SigningKey | None:
    """The private key in a PEM file for its owner only, or None if there is none.

    Errors: CertificateError.
    """
    refuse_shared_key(path)
    content = read_file(path)
    if content is None:
        return None
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(str(path), "holds no private key in PEM form without a password") from error
    if not isinstance(key, _SIGNING_KEYS):
        raise CertificateError(str(path), "holds a key that cannot sign certificates")
    return key


def key_pem(key: SigningKey) -> bytes:
    """A private key as PKCS #8 PEM, without a password: a server must be able to start by itself."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, waiting at most LOCK_SECONDS for another process.

    Errors: CertificateError.
    """
    path = directory / ".lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, KEY_MODE)
    except OSError as error:
        raise CertificateError(str(path), f"cannot be opened: {error.strerror}") from error
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise CertificateError(str(path), "another process holds this lock and does not let go") from error
                time.sleep(_LOCK_RETRY_SECONDS)
        yield
    finally:
        os.close(descriptor)
