"""The inputs that are kept in the repository: `corpus/TARGET.txt`, a Python bytes literal a line.

They are the few that reach most of what a long run has reached, as many as fit into a few kB.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

FOLDER = Path(__file__).with_name("corpus")
MAXIMUM_FILE_BYTES = 4096


def kept(name: str) -> list[bytes]:
    """The inputs of a target; none if nothing was kept."""
    path = FOLDER / f"{name}.txt"
    lines = path.read_text("ascii").splitlines() if path.exists() else []
    return [_input(line) for line in lines]


def _input(line: str) -> bytes:
    value = ast.literal_eval(line)
    assert isinstance(value, bytes), line
    return value


def keep(name: str, inputs: Iterable[bytes], reached_by: Callable[[bytes], set[Any]]) -> None:
    """Write those of `inputs` that reach something new, shortest first, while there is room."""
    reached: set[Hashable] = set()
    lines: list[str] = []
    size = 0
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        new = reached_by(data) - reached
        line = repr(data) + "\n"
        if new and size + len(line) <= MAXIMUM_FILE_BYTES:
            reached |= new
            size += len(line)
            lines.append(line)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.txt").write_text("".join(lines), "ascii")


def lines_reached(fuzz: Callable[[bytes], None], data: bytes) -> set[tuple[str, int]]:
    """The lines of ours that `fuzz` runs through on `data`."""
    reached: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "call" and "/securelight/" not in frame.f_code.co_filename:
            return None
        reached.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        fuzz(data)
    finally:
        sys.settrace(before)
    return reached
