"""What is known to fail: a JSON report of an earlier run, or a list of ids, so that only what is new counts.

A list is text, one id a line, with `#` before remarks: something to keep beside the code and to argue in.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from securelight.conformance.case import Outcome
from securelight.conformance.target import TargetError

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.conformance.results import Run


def read(path: Path) -> frozenset[str]:
    """The ids that are known to fail.

    Errors: TargetError if the file cannot be understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if not text.lstrip().startswith("{"):
            return frozenset(filter(None, (line.partition("#")[0].strip() for line in text.splitlines())))
        return frozenset(case["id"] for case in json.loads(text)["cases"] if case["outcome"] == Outcome.FAILED.value)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise TargetError(f"{path}: neither a JSON report nor a list of ids: {error}") from None


def apply(run: Run, known: frozenset[str]) -> None:
    """Mark the failures that are known, and note those that do not happen any more."""
    run.results = [
        replace(result, known=True) if result.outcome is Outcome.FAILED and result.case.id in known else result
        for result in run.results
    ]
    cured = sorted(
        result.case.id for result in run.results if result.outcome is Outcome.PASSED and result.case.id in known
    )
    if cured:
        run.notes.append(f"The baseline can be shortened, as these pass now: {', '.join(cured)}.")
