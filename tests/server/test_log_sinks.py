"""Log files and pipes: full disks, readers that do not read, and lines that stay whole."""

from __future__ import annotations

import os
import resource
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from securelight.server.log_sinks import BACKLOG_BYTES, FileSink

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    yield opened
    os.close(opened)


@pytest.fixture(params=[False, True], ids=["non-blocking", "blocking"])
def pipe(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """As of a program's, or as a shell makes the one of standard output."""
    ends = os.pipe2(os.O_NONBLOCK)
    os.set_blocking(ends[1], request.param)
    yield ends
    os.close(ends[0])
    os.close(ends[1])


def test_a_disk_that_is_full_costs_lines_and_tears_none_later(tmp_path: Path, descriptor: int) -> None:
    """RLIMIT_FSIZE is a full disk that a test can make: part of a write succeeds, the next fails."""
    sink = FileSink(descriptor)
    sink.write(LINE * 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (350, before[1]))
    try:
        sink.write(LINE * 4)
        sink.write(LINE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sink.dropped == 4
    assert sink.trouble
    sink.write(b"again\n")
    lines = (tmp_path / "log").read_bytes().split(b"\n")
    assert lines == [LINE[:-1]] * 3 + [b"x" * 50, b"again", b""], "the torn line ended, and what follows is whole"


def test_dev_full_is_not_fatal() -> None:
    opened = os.open("/dev/full", os.O_WRONLY)
    try:
        assert stat.S_ISCHR(os.fstat(opened).st_mode)
        sink = FileSink(opened)
        sink.write(LINE * 3)
        assert (sink.dropped, sink.trouble) == (3, "No space left on device")
    finally:
        os.close(opened)


def test_a_pipe_that_nobody_reads_is_not_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = FileSink(writer)
    count = 0
    while not sink.dropped:
        sink.write(LINE * 1000)
        count += 1000
        assert count < 100_000, "the backlog is bounded"
    assert sink.trouble == "nobody reads it"
    read = b""
    while True:
        try:
            read += os.read(reader, 1 << 20)
        except BlockingIOError:
            before = len(read)
            sink.write(b"")
            try:
                read += os.read(reader, 1 << 20)
            except BlockingIOError:
                break
            assert len(read) > before
    assert len(read) <= BACKLOG_BYTES + (1 << 17)
    assert read == LINE * (count - sink.dropped), "what arrives is whole, and nothing else is missing"


def test_workers_that_share_a_pipe_do_not_mix_their_lines(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    first, second = FileSink(writer), FileSink(writer)
    for _ in range(20):
        first.write(b"a" * 700 + b"\n" + b"a" * 900 + b"\n")
        second.write(b"b" * 800 + b"\n")
    read = b""
    for _ in range(100):
        first.write(b"")
        second.write(b"")
        try:
            read += os.read(reader, 1 << 20)
        except BlockingIOError:
            break
    lines = read.splitlines()
    assert len(lines) == 60
    assert all(line in (b"a" * 700, b"a" * 900, b"b" * 800) for line in lines)


def test_workers_that_fill_a_pipe_together_do_not_wait_for_its_reader(pipe: tuple[int, int]) -> None:
    _reader, writer = pipe

    def fill() -> None:
        sink = FileSink(writer)
        while not sink.dropped:
            sink.write(LINE * 1000)

    workers = [threading.Thread(target=fill, daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert not any(worker.is_alive() for worker in workers)


def test_a_reader_that_is_gone_costs_its_lines_and_nothing_else() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        sink = FileSink(writer)
        sink.write(LINE * 2)
        assert (sink.dropped, sink.trouble) == (2, "Broken pipe")
    finally:
        os.close(writer)


def test_after_reopening_the_new_file_is_written(tmp_path: Path, descriptor: int) -> None:
    sink = FileSink(descriptor)
    sink.write(b"old\n")
    new = os.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        assert sink.reopen(new) == descriptor
        sink.write(b"new\n")
    finally:
        os.close(new)
    assert (tmp_path / "log").read_bytes() + (tmp_path / "new").read_bytes() == b"old\nnew\n"


def test_no_output_takes_anything() -> None:
    sink = FileSink(-1)
    sink.write(LINE)
    assert sink.dropped == 0
