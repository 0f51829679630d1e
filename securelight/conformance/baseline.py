"""What is known to fail: a JSON report of an earlier run, or a list of ids, so that only what is new counts.

A list is text, one id a line, with `#` before remarks: something to keep beside the code and to argue in. Anything else
is refused, because a baseline that is misread hides failures or shows old ones as new. What is only odd (a report of
another server, of a run that was broken off, ids that there are no more) is noted in the run that it is applied to.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from securelight.conformance.case import ID, Outcome
from securelight.conformance.reports.json_report import FORMAT
from securelight.conformance.suites import load_suite, suite_names
from securelight.conformance.target import TargetError

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.conformance.results import Run

MAXIMUM_BYTES = 64 << 20
"""Of the file; the report of all suites has about 5 MB."""
CURE = "write one with --json, or name an id a line"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a file says.

    Attributes:
        ids: of the cases that are known to fail.
        name: of the file.
        target: the URL that a report is about; empty for a list.
        interrupted: the run of the report was broken off.
    """

    ids: frozenset[str]
    name: str
    target: str = ""
    interrupted: bool = False


def read(path: Path) -> Baseline:
    """The ids that are known to fail. An empty file is a list of none: then every failure counts.

    Errors: TargetError, with the file and what to do, if it is neither a list nor a report.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAXIMUM_BYTES + 1)
        if len(content) > MAXIMUM_BYTES:
            raise TargetError(f"{path}: larger than {MAXIMUM_BYTES} bytes, which no baseline is; {CURE}")
        text = content.decode("utf-8-sig")
        return _report(path, json.loads(text)) if text.lstrip().startswith("{") else _list(path, text)
    except OSError as error:
        raise TargetError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = type(error).__name__ if isinstance(error, RecursionError | KeyError) else str(error)
        raise TargetError(f"{path}: neither a JSON report nor a list of ids ({what}); {CURE}") from None


def _report(path: Path, document: dict[str, Any]) -> Baseline:
    if "runs" in document and "cases" not in document:
        raise TargetError(f"{path}: a report of several servers, or SARIF; a baseline is the --json report of one")
    if document.get("format", FORMAT) != FORMAT:
        raise TargetError(f"{path}: a report of format {document['format']}, and this version reads {FORMAT}; {CURE}")
    ids = frozenset(str(case["id"]) for case in document["cases"] if case["outcome"] == Outcome.FAILED.value)
    return Baseline(ids, str(path), str(document.get("target", "")), document.get("interrupted") is True)


def _list(path: Path, text: str) -> Baseline:
    ids = set()
    for number, line in enumerate(text.splitlines(), 1):
        one = line.partition("#")[0].strip()
        if one and not re.fullmatch(ID, one):
            raise TargetError(
                f"{path}: neither a JSON report nor a list of ids (line {number} is {one[:60]!r}); {CURE}"
            )
        ids.add(one)
    return Baseline(frozenset(ids - {""}), str(path))


def apply(run: Run, known: Baseline) -> None:
    """Mark the failures that are known, and note those that do not happen any more, and what is odd."""
    run.results = [
        replace(result, known=True) if result.outcome is Outcome.FAILED and result.case.id in known.ids else result
        for result in run.results
    ]
    if known.target and known.target != run.target.url:
        run.notes.append(f"The baseline {known.name} is a report about another server, {known.target}.")
    if known.interrupted:
        run.notes.append(f"The baseline {known.name} is of a run that was interrupted: failures are missing in it.")
    asked = {case.id for suite in run.suites for case in suite.cases}
    gone = sorted(one for one in known.ids - asked if one.partition("/")[0] not in suite_names() or not _exists(one))
    if gone:
        run.notes.append(f"The baseline {known.name} names cases that there are not (any more): {', '.join(gone)}.")
    cured = sorted(
        result.case.id for result in run.results if result.outcome is Outcome.PASSED and result.case.id in known.ids
    )
    if cured:
        run.notes.append(f"The baseline can be shortened, as these pass now: {', '.join(cured)}.")


def _exists(case_id: str) -> bool:
    """Whether there is such a case, in a suite that was perhaps not asked for."""
    return any(case.id == case_id for case in load_suite(case_id.partition("/")[0]).cases)
