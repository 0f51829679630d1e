"""The results as JSON: everything, for other programs; also what `--baseline` reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from securelight.conformance.case import Outcome
from securelight.conformance.results import score, tally

if TYPE_CHECKING:
    from securelight.conformance.results import Result, Run

FORMAT = 1
"""Of the document; a change that breaks readers raises it."""


def render(run: Run) -> str:
    """The document."""
    return json.dumps(document(run), indent=1, ensure_ascii=True) + "\n"


def document(run: Run) -> dict[str, Any]:
    """The same, not yet text."""
    return {
        "format": FORMAT,
        "target": run.target.url,
        "server": run.server,
        "started": run.started.isoformat(),
        "seconds": round(run.seconds, 3),
        "interrupted": run.interrupted,
        "notes": run.notes,
        "suites": [
            {
                "name": suite.name,
                "title": suite.title,
                "score": score(run.of(suite.name)),
                **{outcome.value: tally(run.of(suite.name))[outcome] for outcome in Outcome},
            }
            for suite in run.suites
        ],
        "cases": [_case(result) for result in run.results],
    }


def _case(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "id": case.id,
        "outcome": result.outcome.value,
        "level": case.level.name,
        "rfc": case.rfc,
        "section": case.section,
        "topic": case.topic,
        "title": case.title,
        "words": result.words,
        "known": result.known,
        "seconds": round(result.seconds, 3),
        "transcript": [
            {
                "connection": entry.connection,
                "direction": entry.direction,
                "words": entry.words,
                "hex": entry.data.hex(),
                "bytes": entry.length,
            }
            for entry in result.entries
        ],
    }
