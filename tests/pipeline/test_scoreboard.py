"""The scoreboard: shared over a fork, never torn, totals that do not shrink."""

from __future__ import annotations

import os

from securelight.pipeline.scoreboard import SLOT_BYTES, Counts, Scoreboard, SupervisorReport, WorkerReport


def report(number: int, **counts: int) -> WorkerReport:
    return WorkerReport(number, number, 0.0, 0.0, counts=Counts({int(key[1:]): value for key, value in counts.items()}))


def test_what_a_forked_process_writes_is_seen_by_all() -> None:
    board = Scoreboard(2)
    slot = board.claim()
    child = os.fork()
    if child == 0:
        board.write(report(1, s200=5), slot)
        os._exit(0)
    os.waitpid(child, 0)
    assert [one.counts.statuses for one in board.workers()] == [{200: 5}]


def test_a_slot_is_empty_and_used_again_once_its_worker_has_ended() -> None:
    board = Scoreboard(1)
    slot = board.claim()
    assert board.claim() == -1
    board.write(report(1, s200=5), -1)
    assert board.workers() == [], "who has no slot is not seen"
    board.write(report(1, s200=5), slot)
    last = board.free(slot)
    assert last is not None
    assert last.counts.requests == 5
    assert board.workers() == []
    assert board.claim() == slot
    assert board.free(-1) is None


def test_a_torn_report_is_not_believed() -> None:
    board = Scoreboard(1)
    slot = board.claim()
    board.write(report(1, s200=5), slot)
    memory = board._memory
    memory[slot * SLOT_BYTES + 20] ^= 0xFF
    assert board.workers() == []
    board.write(report(1, s200=6), slot)
    assert board.workers()[0].counts.requests == 6
    memory[slot * SLOT_BYTES : slot * SLOT_BYTES + 4] = b"\xff\xff\xff\xff"
    assert board.workers() == []


def test_a_report_that_is_too_long_is_left_out() -> None:
    board = Scoreboard(1)
    board.write(SupervisorReport(version="a"), 0)
    board.write(SupervisorReport(version="b" * SLOT_BYTES), 0)
    assert board.supervisor().version == "a"


def test_counts_are_added() -> None:
    counts = Counts({200: 1}, 10, 0.5, [1, 2], 3, {"a": 1})
    counts.add(Counts({200: 2, 404: 1}, 5, 0.25, [0, 1, 4], 1, {"a": 1, "b": 2}))
    assert counts == Counts({200: 3, 404: 1}, 15, 0.75, [1, 3, 4], 4, {"a": 2, "b": 2})
    assert counts.requests == 4
