"""The results for a terminal: a line a suite, then each failure with its cure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

from securelight.conformance.case import Level, Outcome
from securelight.conformance.grade import grade_of
from securelight.conformance.results import score, tally

if TYPE_CHECKING:
    from securelight.conformance.results import Result, Run

Paint = Callable[[str, str], str]
"""(text, colour) -> text."""

_WIDTH = 100


def plain(text: str, _colour: str) -> str:
    """No colour."""
    return text


def failure_lines(result: Result, paint: Paint, *, with_bytes: bool = False) -> list[str]:
    """One failure: what was asked, what came, where the rule stands."""
    case = result.case
    known = " (known)" if result.known else ""
    rule = paint(f"{case.level.name}, {case.source}", "dim")
    lines = [
        f"{paint('FAILED', 'red')} {paint(case.id, 'bold')}{known}  {rule}",
        *_wrapped(case.title),
        *_wrapped(result.words),
    ]
    if with_bytes:
        lines += [f"      {printable(line)}" for entry in result.entries for line in entry.line().splitlines()]
    return lines


def printable(text: str) -> str:
    """Without what could steer a terminal: servers choose some of the words."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(printable(text), _WIDTH, initial_indent="    ", subsequent_indent="      ")


def summary(run: Run, paint: Paint) -> list[str]:
    """The table by suite, the notes, and the verdict."""
    lines = ["", f"{paint(run.target.url, 'bold')}{f'  ({printable(run.server)})' if run.server else ''}", ""]
    lines.append(paint(f"  {'suite':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'score':>8}", "dim"))
    for suite in run.suites:
        results = run.of(suite.name)
        if not results:
            continue
        counts = tally(results)
        percent = score(results)
        failed = counts[Outcome.FAILED]
        colour = "red" if run_failed_must(results) else "yellow" if failed else "green"
        shown = "-" if percent is None else f"{percent} %"
        row = f"  {suite.name:<10}{counts[Outcome.PASSED]:>8}{failed:>8}{counts[Outcome.SKIPPED]:>9}{shown:>8}"
        lines.append(paint(row, colour))
    counts = tally(run.results)
    lines.append("")
    grade = grade_of(run.of("headers"))
    graded = grade.lines() if grade is not None else []
    for note in run.notes:
        # The grade is one note and what it comes from, most of which the failures have told.
        word = "" if note in graded[1:] else "note"
        lines += textwrap.wrap(printable(note), _WIDTH, initial_indent=f"  {word:<6}", subsequent_indent=" " * 8)
    if run.interrupted:
        lines.append(paint("  Interrupted: the other cases were not asked.", "yellow"))
    musts, all_failures = len(run.failures(Level.MUST)), len(run.failures())
    known = all_failures - len(run.failures(new_only=True))
    verdict = f"{len(run.results)} cases in {run.seconds:.1f} s: {counts[Outcome.PASSED]} passed, {all_failures} failed"
    if all_failures:
        verdict += f" ({musts} MUST, {all_failures - musts} SHOULD{f'; {known} known' if known else ''})"
    lines.append(f"  {verdict}, {counts[Outcome.SKIPPED]} skipped")
    lines.append("")
    return lines


def run_failed_must(results: list[Result]) -> bool:
    """Whether a MUST is among the failures."""
    return any(result.outcome is Outcome.FAILED and result.case.level is Level.MUST for result in results)
