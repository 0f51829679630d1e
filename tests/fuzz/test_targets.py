"""Every fuzz target on its seeds and a few hundred mutations; and the runner finds a fault that is there."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.runner import Target, load, mutated, names, run


@pytest.mark.parametrize("name", names())
def test_nothing_is_found(name: str) -> None:
    target = load(name)
    source = random.Random(name)
    for data in [*target.seeds, *(mutated(source, target.seeds) for _ in range(200))]:
        target.fuzz(data)


def test_the_runner_finds_a_planted_fault_and_keeps_its_input() -> None:
    def faulty(data: bytes) -> None:
        assert b"\xff" not in data

    outcome = run(Target(faulty, [b"harmless"]), seconds=60, seed=1)
    assert outcome.finding is not None
    assert b"\xff" in outcome.finding.read_bytes()
    assert outcome.runs > 1
