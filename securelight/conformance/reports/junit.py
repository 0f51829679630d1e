"""The results as JUnit XML, which most CI systems show."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from securelight.conformance.case import Outcome
from securelight.conformance.results import tally

if TYPE_CHECKING:
    from securelight.conformance.results import Result, Run


def render(run: Run) -> str:
    """The document. What the baseline knows is shown as skipped, so that a CI system does not fail on it."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites name={_attribute(run.target.url)}>"]
    for suite in run.suites:
        results = run.of(suite.name)
        known = sum(result.known for result in results)
        counts = tally(results)
        lines.append(
            f'<testsuite name={_attribute(suite.name)} tests="{len(results)}" '
            f'failures="{counts[Outcome.FAILED] - known}" skipped="{counts[Outcome.SKIPPED] + known}" errors="0" '
            f'time="{sum(result.seconds for result in results):.3f}">'
        )
        for result in results:
            lines += _case(result)
        lines.append("</testsuite>")
    lines.append("</testsuites>")
    return "\n".join(lines) + "\n"


def _case(result: Result) -> list[str]:
    case = result.case
    names = f"classname={_attribute(f'{case.suite}.{case.section}')} name={_attribute(f'{case.id}: {case.title}')}"
    head = f'<testcase {names} time="{result.seconds:.3f}"'
    if result.outcome is Outcome.PASSED:
        return [head + "/>"]
    if result.outcome is Outcome.SKIPPED or result.known:
        return [head + ">", f"<skipped message={_attribute(result.words)}/>", "</testcase>"]
    lines = "\n".join(entry.line() for entry in result.entries)
    return [
        head + ">",
        f"<failure type={_attribute(case.level.name)} message={_attribute(result.words)}>",
        escape(_clean(f"{case.source}\n{case.why}\n{case.cure}\n\n{lines}")),
        "</failure>",
        "</testcase>",
    ]


def _attribute(text: str) -> str:
    return quoteattr(_clean(text))


def _clean(text: str) -> str:
    """XML 1.0 has no way to write most control characters."""
    return "".join(
        one if one in "\t\n\r" or (one >= " " and one not in "\x7f\ufffe\uffff" and not "\ud800" <= one <= "\udfff")
        else "\ufffd"
        for one in text
    )  # fmt: skip
