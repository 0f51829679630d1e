"""What workers tell each other to forget: every digest once, and everything to whoever comes too late."""

from __future__ import annotations

import os

from hypothesis import given, settings, strategies

from securelight.pipeline.purge_board import RING, PurgeBoard, digest_of


def marks(*numbers: int) -> list[bytes]:
    return [digest_of(b"url", b"%d" % number) for number in numbers]


def test_each_worker_hears_of_each_digest_once_and_not_of_its_own() -> None:
    board = PurgeBoard(2)
    mine, theirs = board.counts(), board.counts()
    for mark in marks(1, 2):
        board.add(1, mark, mine)
    assert board.since(mine) == []
    assert board.since(theirs) == marks(1, 2)
    assert board.since(theirs) == []
    assert board.since(board.counts()) == []


def test_kinds_are_told_apart() -> None:
    assert digest_of(b"url", b"a") != digest_of(b"tag", b"a")


def test_who_comes_too_late_forgets_everything() -> None:
    board = PurgeBoard(1)
    seen = board.counts()
    for number in range(RING):
        board.add(1, digest_of(b"url", b"%d" % number))
    late = list(seen)
    assert board.since(seen) == marks(*range(RING))
    board.add(1, digest_of(b"url", b"one more"))
    assert board.since(late) is None
    assert board.since(late) == []


def test_who_has_no_row_makes_all_forget_everything() -> None:
    board = PurgeBoard(1)
    for slot in (-1, 0, 2):
        seen, own = board.counts(), board.counts()
        board.add(slot, digest_of(b"url", b"a"), own)
        assert board.since(seen) is None
        assert board.since(own) == []


def test_it_is_shared_with_forked_processes() -> None:
    board = PurgeBoard(1)
    seen = board.counts()
    child = os.fork()
    if not child:
        board.add(1, digest_of(b"tag", b"a"))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert board.since(seen) == [digest_of(b"tag", b"a")]


@settings(max_examples=50, deadline=None)
@given(strategies.lists(strategies.tuples(strategies.integers(1, 3), strategies.booleans()), max_size=60))
def test_nothing_is_lost_and_nothing_told_twice(steps: list[tuple[int, bool]]) -> None:
    board = PurgeBoard(3)
    seen = board.counts()
    said: list[bytes] = []
    heard: list[bytes] = []
    for number, (slot, looks) in enumerate(steps):
        said += marks(number)
        board.add(slot, said[-1])
        if looks:
            heard += board.since(seen) or []
    heard += board.since(seen) or []
    assert sorted(heard) == sorted(said)
