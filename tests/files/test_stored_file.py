"""Files read into memory: whole or not at all, and recognised as long as they stay the same."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

from securelight.files.stored_file import StoredFile, identity_of, store
from tests.helpers import open_descriptors


def stored_of(path: Path, keep_bytes: int = 1_000_000) -> StoredFile:
    descriptor = os.open(path, os.O_RDONLY)
    return store(descriptor, os.fstat(descriptor), keep_bytes, may_block=True)


def settle(path: Path) -> None:
    """Wait until the file's timestamps are old enough to be trusted."""
    while time.time_ns() - path.stat().st_ctime_ns < 60_000_000:
        time.sleep(0.01)


def test_a_small_file_is_read_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    settle(path)
    before = open_descriptors()
    stored = stored_of(path)
    assert (stored.content, stored.file, stored.size) == (b"content", None, 7)
    assert stored.identity == identity_of(path.stat())
    assert open_descriptors() == before


def test_a_large_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    stored = stored_of(path, keep_bytes=6)
    assert stored.content is None
    assert stored.file is not None
    assert os.pread(stored.file.descriptor, 9, 0) == b"content"
    stored.file.release()


def test_an_empty_file_is_content_too(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert stored_of(tmp_path / "a").content == b""


def test_a_file_written_this_very_moment_is_not_recognised_later(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert stored_of(path).identity is None


def test_every_change_changes_identity_and_tag(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1_000_000_001))
    first = stored_of(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1_000_000_002))
    second = stored_of(path)
    assert (first.modified_seconds, second.modified_seconds) == (1, 1)
    assert first.etag != second.etag


def test_a_modification_time_in_the_future_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    os.utime(path, (4_000_000_000, 4_000_000_000))
    assert stored_of(path).modified_seconds <= time.time()
    os.utime(path, (-5, -5))
    assert stored_of(path).last_modified == b"Thu, 01 Jan 1970 00:00:00 GMT"


def test_a_file_that_is_written_to_while_it_is_read_is_never_taken_for_settled(tmp_path: Path) -> None:
    path = tmp_path / "a"
    size = 500_000
    versions = [bytes([letter]) * size for letter in b"ab"]
    path.write_bytes(versions[0])
    done = threading.Event()

    def rewrite() -> None:
        with path.open("r+b", buffering=0) as file:
            while not done.is_set():
                for version in versions:
                    for start in range(0, size, 50_000):
                        os.pwrite(file.fileno(), version[start : start + 50_000], start)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(100):
            stored = stored_of(path)
            if stored.file is not None:
                stored.file.release()
            assert stored.content is None or stored.identity is None
    finally:
        done.set()
        writer.join()


def test_a_file_that_shrinks_before_it_is_read_is_not_announced_too_long(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    descriptor = os.open(path, os.O_RDONLY)
    status = os.fstat(descriptor)
    os.truncate(path, 3)
    stored = store(descriptor, status, 100, may_block=True)
    assert (stored.size, stored.content) == (3, b"con")


def test_without_waiting_a_file_is_read_or_left_to_a_thread_and_never_leaked(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    before = open_descriptors()
    descriptor = os.open(path, os.O_RDONLY)
    with contextlib.suppress(BlockingIOError):  # from a file system without RWF_NOWAIT
        assert store(descriptor, os.fstat(descriptor), 100, may_block=False).content == b"content"
    assert open_descriptors() == before


def test_a_file_that_is_not_in_the_page_cache_is_left_to_a_thread(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"c" * 200_000)
    before = open_descriptors()
    for _ in range(50):  # to look whether a file is in memory may begin to read it
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            stored = store(descriptor, os.fstat(descriptor), 1_000_000, may_block=False)
        except BlockingIOError:
            break
        assert stored.content == b"c" * 200_000
    else:
        pytest.skip("this file system keeps every file in memory")
    assert open_descriptors() == before
