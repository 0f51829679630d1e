"""Runs a target on its seeds and on mutations of them, for a bounded time; a finding is kept in a temporary folder."""

from __future__ import annotations

import importlib
import pkgutil
import random
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import targets

MAXIMUM_INPUT_BYTES = 4096
PIECES = [
    b"\r\n",
    b"\0",
    b"\xff",
    b"\x80",
    b":",
    b",",
    b";",
    b"/",
    b"..",
    b"%",
    b"=",
    b"-",
    b" ",
    b"0",
    b"\x7f\xff\xff\xff",
]


class Target(NamedTuple):
    """A parser's function, which raises for a finding, and inputs to begin with."""

    fuzz: Callable[[bytes], None]
    seeds: list[bytes]


class Outcome(NamedTuple):
    """How often the target was run, in how many seconds, and where the finding is kept, if there is one."""

    runs: int
    seconds: float
    finding: Path | None


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def load(name: str) -> Target:
    module = importlib.import_module(f"{targets.__name__}.{name}")
    return Target(module.fuzz, module.SEEDS)


def mutated(source: random.Random, seeds: list[bytes]) -> bytes:
    """A seed, or two joined, with up to eight small changes."""
    data = source.choice(seeds)
    if source.random() < 0.2:
        data += source.choice(seeds)
    for _ in range(source.randint(1, 8)):
        place = source.randint(0, len(data))
        removed = source.choice([0, 0, 1, 1, 2, 8])
        added = source.choice([b"", source.choice(PIECES), source.randbytes(source.randint(1, 4)), data[place:][:16]])
        data = data[:place] + added + data[place + removed :]
    return data[:MAXIMUM_INPUT_BYTES]


def run(target: Target, seconds: float, seed: int) -> Outcome:
    """Run the seeds, then mutations until the time is over or something is found."""
    source = random.Random(seed)
    started = time.monotonic()
    runs = 0
    while runs < len(target.seeds) or time.monotonic() - started < seconds:
        data = target.seeds[runs] if runs < len(target.seeds) else mutated(source, target.seeds)
        runs += 1
        try:
            target.fuzz(data)
        except Exception:
            traceback.print_exc()
            kept = Path(tempfile.mkdtemp(prefix="securelight-fuzz-")) / "input"
            kept.write_bytes(data)
            return Outcome(runs, time.monotonic() - started, kept)
    return Outcome(runs, time.monotonic() - started, None)
