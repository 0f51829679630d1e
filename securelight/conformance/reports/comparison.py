"""Several servers in one table, as Markdown, which a terminal shows just as well."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from securelight.conformance.case import Outcome
from securelight.conformance.reports.json_report import document
from securelight.conformance.reports.text import printable
from securelight.conformance.results import score, tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.conformance.results import Result, Run

_SHOWN = {Outcome.PASSED: "passed", Outcome.FAILED: "**failed**", Outcome.SKIPPED: "-"}


def render(runs: Sequence[Run]) -> str:
    """A row a suite, then a row for each case that somebody failed."""
    servers = [printable(run.server) or run.target.authority for run in runs]
    if len(set(servers)) < len(servers):
        servers = [f"{printable(run.server)} {run.target.authority}".strip() for run in runs]
    lines = _table(
        ["suite", *servers], [[suite.name, *(_suite(run, suite.name) for run in runs)] for suite in runs[0].suites]
    )
    results = [{result.case.id: result for result in run.results} for run in runs]
    failed = dict.fromkeys(result.case.id for run in runs for result in run.results if result.outcome is Outcome.FAILED)
    rows = [[f"`{one}`", *(_case(found.get(one)) for found in results)] for one in failed]
    if rows:
        lines += ["", *_table(["case", *servers], rows)]
    return "\n".join(lines) + "\n"


def render_json(runs: Sequence[Run]) -> str:
    """All the reports in one document."""
    return json.dumps({"format": 1, "runs": [document(run) for run in runs]}, indent=1, ensure_ascii=True) + "\n"


def _suite(run: Run, name: str) -> str:
    results = run.of(name)
    percent = score(results)
    counts = tally(results)
    if percent is None:
        return "-"
    passed, failed, skipped = (counts[outcome] for outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED))
    return f"{percent} % ({passed} passed, {failed} failed, {skipped} skipped)"


def _case(result: Result | None) -> str:
    return "-" if result is None else _SHOWN[result.outcome]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    table = [[re.sub(r"[\\|<]", r"\\\g<0>", cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(heads))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines
