"""Keys and certificates on disk: written whole or not at all, keys for their owner only.

Owns modes, atomic replacement and the lock that keeps two processes from issuing at once. Refuses keys that others
may read, and directories in which others could replace them.
"""

from __future__ import annotations

import contextlib
import errno
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
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Passphrase = Callable[[Path], bytes | None]
    """Asked for the passphrase of a key file, only if it has one; None if there is none to be had."""

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
_SIGNING_KEYS = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)

KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644
DIRECTORY_MODE = 0o700

MAXIMUM_FILE_BYTES = 1 << 20
"""Of a key or certificate file that is read."""

LOCK_SECONDS = 30.0
"""To wait for another process that issues certificates in the same directory; it takes far less than one."""

PASSPHRASE_VARIABLE = "SECURELIGHT_CERTS_PASSPHRASE"  # noqa: S105 - the name of a variable

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
    write_files([(path, content, mode)])


def write_files(files: Sequence[tuple[Path, bytes, int]]) -> None:
    """Replace several files (path, content, mode), in this order, once the contents of all of them are on disk.

    So a full disk or a read-only folder, which show while contents are written, leave every file as it was. Only who
    looks between two of the replacements sees some old and some new.

    Errors: CertificateError.
    """
    temporaries: list[tuple[Path, Path]] = []
    path = files[0][0]
    try:
        for path, content, mode in files:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE)
            temporaries.append((temporary, path))
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
        for temporary, path in temporaries:
            temporary.replace(path)
        for directory in {path.parent for path, _, _ in files}:
            _sync_directory(directory)
    except OSError as error:
        raise CertificateError(str(path), f"cannot be written: {error.strerror}") from error
    finally:
        for temporary, _ in temporaries:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, maximum: int = MAXIMUM_FILE_BYTES) -> bytes | None:
    """The content of a regular file of at most `maximum` bytes, or None if there is none.

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
        content = file.read(maximum + 1)
    if len(content) > maximum:
        raise CertificateError(str(path), f"is larger than {maximum} bytes, so not a certificate or key")
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


def read_key(path: Path, passphrase: Passphrase | None = None) -> SigningKey | None:
    """The private key in a PEM file for its owner only, or None if there is none.

    Args:
        path: the file.
        passphrase: asked for the passphrase if the key has one; by default the environment is.

    Errors: CertificateError.
    """
    refuse_shared_key(path)
    content = read_file(path)
    return None if content is None else load_key(content, path, passphrase)


def load_key(content: bytes, path: Path, passphrase: Passphrase | None = None) -> SigningKey:
    """The private key in PEM text; `path` is for messages. Otherwise as `read_key`."""
    secret = None
    if has_passphrase(content):
        secret = (passphrase or environment_passphrase)(path)
        if not secret:
            raise CertificateError(
                str(path), f"has a passphrase, and none was given; set {PASSPHRASE_VARIABLE} or give --passphrase-file"
            )
    try:
        key = serialization.load_pem_private_key(content, password=secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if secret is not None:
            raise CertificateError(str(path), "cannot be opened with this passphrase; it is wrong") from error
        raise CertificateError(str(path), "holds no private key in PEM form") from error
    if not isinstance(key, _SIGNING_KEYS):
        raise CertificateError(str(path), "holds a key that cannot sign certificates")
    return key


def environment_passphrase(_path: Path | None = None) -> bytes | None:
    """The passphrase in the environment, which is where one comes from if nothing else is said."""
    return os.environ.get(PASSPHRASE_VARIABLE, "").encode() or None


def has_passphrase(content: bytes) -> bool:
    """Whether the private key in PEM text is encrypted."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in content or b"Proc-Type: 4,ENCRYPTED" in content


def key_pem(key: SigningKey, passphrase: bytes | None = None) -> bytes:
    """A private key as PKCS #8 PEM. That of a server has no passphrase: it must be able to start by itself."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


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
