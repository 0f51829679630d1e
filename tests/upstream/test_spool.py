"""Bodies that are collected: in memory, then in a file without a name; bounded, and gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest
import trio

from securelight.model.errors import Refusal
from securelight.upstream.spool import SpoolConfig, SpoolRoom, spool_faults

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")


class Upload:
    """The parts of an exchange that a spool uses."""

    def __init__(self, *pieces: bytes, announced: int | None = None) -> None:
        self.announced = announced
        self._pieces = list(pieces)
        self.threads = 0

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._pieces.pop(0) if self._pieces else b""

    async def in_thread(self, function: Callable[[], T]) -> T:
        self.threads += 1
        return await trio.to_thread.run_sync(function)


def room(directory: Path, **keys: Any) -> SpoolRoom:
    settings = msgspec.convert({"when": "always", "directory": str(directory), **keys}, SpoolConfig)
    assert spool_faults(settings, directory) == []
    return SpoolRoom(settings, directory)


async def collected(place: SpoolRoom, upload: Upload) -> bytes:
    spool = await place.collect(upload, upload.announced)
    try:
        first = b"".join([piece async for piece in spool.pieces()])
        assert b"".join([piece async for piece in spool.pieces()]) == first
        assert spool.length == len(first)
        return first
    finally:
        spool.close()
        spool.close()


async def test_a_small_body_needs_no_file(tmp_path: Path) -> None:
    upload = Upload(b"a" * 10, b"b" * 20, announced=30)
    assert await collected(room(tmp_path), upload) == b"a" * 10 + b"b" * 20
    assert upload.threads == 0
    assert await collected(room(tmp_path), Upload()) == b""


async def test_a_large_body_comes_back_as_it_was_and_leaves_nothing(tmp_path: Path) -> None:
    place = room(tmp_path, memory_bytes=1000)
    pieces = [os.urandom(size) for size in (1, 999, 1, 5000, 1000, 1000, 3)]
    before = len(os.listdir("/proc/self/fd"))

    assert await collected(place, Upload(*pieces)) == b"".join(pieces)
    assert place.used_bytes == 0
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_file_has_no_name_while_it_is_used(tmp_path: Path) -> None:
    place = room(tmp_path, memory_bytes=1000)
    spool = await place.collect(Upload(bytes(5000)), None)
    assert os.listdir(tmp_path) == []
    assert place.used_bytes == 5000
    spool.close()
    assert place.used_bytes == 0


@pytest.mark.parametrize(
    ("keys", "pieces", "announced", "status"),
    [
        ({"body_bytes": 100, "memory_bytes": 10}, [bytes(60), bytes(60)], None, 413),
        ({"body_bytes": 100, "memory_bytes": 10}, [], 101, 413),
        ({"total_bytes": 100, "memory_bytes": 10}, [bytes(60), bytes(60)], None, 503),
        ({}, [bytes(60)], 61, 400),
        ({}, [bytes(62)], 61, 400),
    ],
)
async def test_what_is_too_much_or_not_as_announced_is_refused_and_leaves_nothing(
    tmp_path: Path, keys: dict[str, int], pieces: list[bytes], announced: int | None, status: int
) -> None:
    place = room(tmp_path, **keys)
    with pytest.raises(Refusal) as refused:
        await collected(place, Upload(*pieces, announced=announced))
    assert refused.value.status == status
    assert place.used_bytes == 0


async def test_all_together_have_a_bound_and_who_ends_makes_room(tmp_path: Path) -> None:
    place = room(tmp_path, total_bytes=100, memory_bytes=10)
    first = await place.collect(Upload(bytes(80)), None)
    with pytest.raises(Refusal):
        await collected(place, Upload(bytes(80)))
    first.close()
    assert await collected(place, Upload(bytes(80))) == bytes(80)


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    place = room(tmp_path, memory_bytes=10)

    class Leaves(Upload):
        async def receive(self) -> bytes:
            data = await super().receive()
            if not data:
                raise ConnectionError
            return data

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConnectionError):
        await collected(place, Leaves(bytes(100)))
    assert place.used_bytes == 0
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"when": "always"}, "must name a folder"),
        ({"when": "always", "directory": "missing"}, "is not a folder"),
        ({"directory": "x"}, "with spool.when only"),
        ({"when": "always", "directory": ".", "memory_bytes": 100, "body_bytes": 10}, "more than spool.body_bytes"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, keys: dict[str, Any], part: str) -> None:
    (fault,) = spool_faults(msgspec.convert(keys, SpoolConfig), tmp_path)
    assert part in fault


def test_which_bodies_are_collected(tmp_path: Path) -> None:
    assert room(tmp_path).wants(length=5)
    unknown = room(tmp_path, when="unknown_length")
    assert unknown.wants(length=None)
    assert not unknown.wants(length=5)
    assert not SpoolRoom(SpoolConfig(), tmp_path).wants(length=None)
