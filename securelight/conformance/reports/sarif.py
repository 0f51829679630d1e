"""The failures as SARIF 2.1.0, which code hosts show beside the code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from securelight import __version__
from securelight.conformance.case import Level

if TYPE_CHECKING:
    from securelight.conformance.case import Case
    from securelight.conformance.results import Result, Run

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(run: Run) -> str:
    """The document: a rule for each case that failed, and a result for each failure."""
    failures = run.failures()
    driver = {
        "name": "securelight conform",
        "semanticVersion": __version__,
        "rules": [_rule(result.case) for result in failures],
    }
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                # With the slash at its end all of it is the category: two servers do not take each other's place.
                "automationDetails": {"id": f"conformance/{run.target.authority}/"},
                "invocations": [{"executionSuccessful": not run.interrupted, "startTimeUtc": _utc(run)}],
                "results": [_result(result, run, place) for place, result in enumerate(failures)],
            }
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def _utc(run: Run) -> str:
    return run.started.strftime("%Y-%m-%dT%H:%M:%SZ")


def _uri(run: Run) -> str:
    """The URL with what no URI may hold, such as quotes in its path, encoded."""
    return quote(run.target.url, safe="%/:?#[]@!$&'()*+,;=~")


def _rule(case: Case) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": case.id,
        "shortDescription": {"text": case.title},
        "fullDescription": {"text": f"{case.source}, {case.level.name}. {case.why}"},
        "help": {"text": case.cure},
        "defaultConfiguration": {"level": _level(case)},
    }
    if case.link:
        rule["helpUri"] = case.link
    return rule


def _result(result: Result, run: Run, place: int) -> dict[str, Any]:
    case = result.case
    return {
        "ruleId": case.id,
        "ruleIndex": place,
        "level": _level(case),
        "message": {"text": f"{case.title}: {result.words}"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(run)}}}],
        "partialFingerprints": {"caseAndTarget/v1": f"{case.id} {run.target.url}"},
        "baselineState": "unchanged" if result.known else "new",
        "properties": {"transcript": [entry.line() for entry in result.entries]},
    }


def _level(case: Case) -> str:
    return "error" if case.level is Level.MUST else "warning"
