"""Runs a target for a bounded time, guided by coverage where atheris is installed, else on random mutations.

Both begin with the target's seeds and its kept corpus; a finding is kept in a temporary folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import corpus

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
STARTING_SECONDS = 120
"""How much longer than asked for a guided run may take: it begins by instrumenting what it imports."""
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)|^Done (\d+) in", re.MULTILINE)


_CHATTER = re.compile(r"^(?:#|INFO:|WARNING:).*\n", re.MULTILINE)
"""Of libFuzzer, about its progress."""


class Target(NamedTuple):
    """A parser's function, which raises for a finding, inputs to begin with, and words of its language."""

    fuzz: Callable[[bytes], None]
    seeds: list[bytes]
    words: list[bytes]


class Outcome(NamedTuple):
    """How often the target was run, in how many seconds, and where the finding is kept, if there is one."""

    runs: int
    seconds: float
    finding: Path | None


def _targets() -> str:
    """The package that they are in."""
    return os.environ.get("SECURELIGHT_FUZZ_TARGETS", "tests.fuzz.targets")


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(_targets()).__path__))


def load(name: str) -> Target:
    module = importlib.import_module(f"{_targets()}.{name}")
    return Target(module.fuzz, module.SEEDS, [*PIECES, *getattr(module, "WORDS", [])])


def can_be_guided() -> bool:
    return importlib.util.find_spec("atheris") is not None


def mutated(source: random.Random, seeds: list[bytes], words: list[bytes]) -> bytes:
    """A seed, or two joined, with up to eight small changes."""
    data = source.choice(seeds)
    if source.random() < 0.2:
        data += source.choice(seeds)
    for _ in range(source.randint(1, 8)):
        place = source.randint(0, len(data))
        removed = source.choice([0, 0, 1, 1, 2, 8])
        added = source.choice([b"", source.choice(words), source.randbytes(source.randint(1, 4)), data[place:][:16]])
        data = data[:place] + added + data[place + removed :]
    return data[:MAXIMUM_INPUT_BYTES]


def run(target: Target, seconds: float, seed: int) -> Outcome:
    """Run the seeds, then random mutations until the time is over or something is found."""
    source = random.Random(seed)
    started = time.monotonic()
    runs = 0
    while runs < len(target.seeds) or time.monotonic() - started < seconds:
        data = target.seeds[runs] if runs < len(target.seeds) else mutated(source, target.seeds, target.words)
        runs += 1
        try:
            target.fuzz(data)
        except Exception:
            traceback.print_exc()
            kept = Path(tempfile.mkdtemp(prefix="securelight-fuzz-")) / "input"
            kept.write_bytes(data)
            return Outcome(runs, time.monotonic() - started, kept)
    return Outcome(runs, time.monotonic() - started, None)


def run_guided(name: str, seconds: float, seed: int, *, keep: bool) -> Outcome:
    """Run a target under atheris; with `keep`, its corpus becomes the one in the repository.

    What libFuzzer says is shown if it found something.
    """
    folder = Path(tempfile.mkdtemp(prefix="securelight-fuzz-"))
    begin = folder / "corpus"
    begin.mkdir()
    target = load(name)
    for number, data in enumerate([*target.seeds, *corpus.kept(name)]):
        (begin / f"{number:04}").write_bytes(data)
    (folder / "words").write_text("".join(f'"{_escaped(word)}"\n' for word in target.words), "ascii")
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(folder), str(max(1, round(seconds))), str(seed)]
    started = time.monotonic()
    ended = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=seconds + STARTING_SECONDS, check=False
    )
    took = time.monotonic() - started
    said = ended.stdout + ended.stderr
    executions = [first or second for first, second in _EXECUTIONS.findall(said)]
    runs = int(executions[-1]) if executions else 0
    findings = [path for pattern in ("crash-*", "timeout-*", "oom-*") for path in folder.glob(pattern)]
    if ended.returncode != 0 or findings:
        print(_CHATTER.sub("", said), file=sys.stderr)
        return Outcome(runs, took, findings[0] if findings else folder)
    if keep:
        inputs = [path.read_bytes() for path in begin.iterdir()]
        corpus.keep(name, inputs, lambda data: corpus.lines_reached(target.fuzz, data))
    shutil.rmtree(folder)
    return Outcome(runs, took, None)


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
