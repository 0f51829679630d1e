from __future__ import annotations

import multiprocessing
import os
import stat
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from securelight.model.errors import CertificateError
from securelight.pki import key_files
from securelight.pki.key_files import KEY_MODE, key_pem, locked, prepare_directory, read_file, read_key, write_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("wanted", [0o600, 0o644])
def test_a_file_has_its_mode_whatever_the_umask(umask: int, wanted: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_file(tmp_path / "file", b"content", wanted)
    finally:
        os.umask(before)
    assert mode(tmp_path / "file") == wanted
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_is_replaced_and_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and long")
    with path.open("rb") as reader:
        write_file(path, b"new", 0o600)
        assert reader.read() == b"old and long"
    assert path.read_bytes() == b"new"


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    """Nobody who can plant a link gets a key written elsewhere."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "file").symlink_to(target)
    write_file(tmp_path / "file", b"new", 0o600)
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "file").is_symlink()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(CertificateError, match="cannot be written"):
        write_file(tmp_path / "file", b"new", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_new_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "a" / "certs")
    assert mode(tmp_path / "a" / "certs") == 0o700


def test_a_directory_that_others_may_read_stays_so_but_they_no_longer_write(tmp_path: Path) -> None:
    directory = tmp_path / "certs"
    directory.mkdir()
    directory.chmod(0o775)
    prepare_directory(directory)
    assert mode(directory) == 0o755


def test_a_directory_that_everybody_uses_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o1777)
    with pytest.raises(CertificateError, match="others may write here"):
        prepare_directory(directory)
    assert mode(directory) == 0o1777


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "certs").write_bytes(b"")
    with pytest.raises(CertificateError, match="cannot be used"):
        prepare_directory(tmp_path / "certs")


def test_a_key_comes_back(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    write_file(tmp_path / "key", key_pem(key), KEY_MODE)
    read = read_key(tmp_path / "key")
    assert read is not None
    assert read.public_key() == key.public_key()
    assert read_key(tmp_path / "other") is None


@pytest.mark.parametrize("shared", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_may_use_is_refused_with_the_cure(shared: int, tmp_path: Path) -> None:
    path = tmp_path / "ca.key"
    write_file(path, key_pem(ec.generate_private_key(ec.SECP256R1())), shared)
    with pytest.raises(CertificateError, match=f"chmod 600 {path}"):
        read_key(path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content in (b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        write_file(path, content, KEY_MODE)
        with pytest.raises(CertificateError, match="holds no private key"):
            read_key(path)
    exchange = x25519.X25519PrivateKey.generate()
    write_file(path, exchange.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), KEY_MODE)
    with pytest.raises(CertificateError, match="cannot sign"):
        read_key(path)


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(CertificateError, match="is not a file"):
            read_file(path)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(key_files.MAXIMUM_FILE_BYTES + 1)
    with pytest.raises(CertificateError, match="larger than"):
        read_file(tmp_path / "large")


def hold(directory: Path, held: Event, release: Event) -> None:
    with locked(directory):
        held.set()
        release.wait(10)


def test_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, held, release))
    other.start()
    try:
        assert held.wait(20)
        monkeypatch.setattr(key_files, "LOCK_SECONDS", 0.0)
        with pytest.raises(CertificateError, match="another process"), locked(tmp_path):
            pytest.fail("both have the lock")
        release.set()
        monkeypatch.setattr(key_files, "LOCK_SECONDS", 20.0)
        with locked(tmp_path):
            assert mode(tmp_path / ".lock") == 0o600
    finally:
        release.set()
        other.join()
    assert other.exitcode == 0
