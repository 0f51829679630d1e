"""The results as one HTML page that needs nothing else: no script, no font, no picture from anywhere.

At the top the score and a bar a suite; then each failure with what it means, what to change and what went over the
wire; then everything else, folded. It is read on a phone, on paper and in the dark as well.
"""

from __future__ import annotations

from html import escape as escape_markup
from itertools import groupby
from typing import TYPE_CHECKING

from securelight import __version__
from securelight.conformance.case import Level, Outcome
from securelight.conformance.grade import grade_of
from securelight.conformance.reports.style import STYLE
from securelight.conformance.reports.text import printable
from securelight.conformance.results import score, tally

if TYPE_CHECKING:
    from securelight.conformance.results import Result, Run
    from securelight.conformance.suites import Suite
    from securelight.conformance.transcript import Entry

_MARKS = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.SKIPPED: "skipped"}


def render(run: Run) -> str:
    """The page."""
    suites = [suite for suite in run.suites if run.of(suite.name)]
    failures = sorted(run.failures(), key=lambda result: (result.known, -result.case.level))
    body = [
        _head(run),
        '<section class="suites">',
        *(_suite_card(suite, run.of(suite.name)) for suite in suites),
        "</section>",
        _notes(run),
    ]
    if failures:
        body.append('<h2 id="failures">What failed</h2>')
        for (why, cure), group in groupby(failures, key=lambda result: (result.case.why, result.case.cure)):
            body.append(_group(why, cure, list(group)))
    else:
        body.append('<p class="clean">Nothing failed.</p>' if run.results else "<p>Nothing was asked.</p>")
    body.append("<h2>All cases</h2>")
    body += [_table(suite, run.of(suite.name)) for suite in suites]
    body.append(f"<footer>Made by securelight {escape(__version__)}</footer>")
    title = f"Conformance of {escape(run.target.authority)}"
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def escape(text: str) -> str:
    """For the page: servers choose some words, and a character that is not shown could turn a line round."""
    return escape_markup(printable(text))


def _head(run: Run) -> str:
    counts = tally(run.results)
    percent = score(run.results)
    musts = len(run.failures(Level.MUST))
    shoulds = len(run.failures()) - musts
    parts = [f"{count} {level}" for count, level in ((musts, "MUST"), (shoulds, "SHOULD")) if count]
    words = f"{' and '.join(parts)} failed" if parts else "Passed"
    if run.interrupted:
        words += ", interrupted"
    tone = "bad" if musts else "fair" if shoulds else "good"
    server = f" &middot; {escape(run.server)}" if run.server else ""
    shown = "&ndash;" if percent is None else str(percent)
    return f"""<header class="{tone}">
<div class="dial" style="--part:{percent or 0}"><b>{shown}</b><span>of 100</span></div>
<div><h1>{escape(run.target.authority)}</h1>
<p class="verdict">{words}</p>
<p class="facts">{len(run.results)} cases in {run.seconds:.1f} s &middot; {counts[Outcome.PASSED]} passed &middot;
{counts[Outcome.FAILED]} failed &middot; {counts[Outcome.SKIPPED]} skipped<br>
{escape(run.target.url)}{server} &middot; {run.started:%d %B %Y, %H:%M} UTC</p></div>
</header>"""


def _suite_card(suite: Suite, results: list[Result]) -> str:
    counts = tally(results)
    percent = score(results)
    parts = "".join(
        f'<i class="{_MARKS[outcome]}" style="flex:{counts[outcome]}"></i>' for outcome in Outcome if counts[outcome]
    )
    shown = "&ndash;" if percent is None else f"{percent}"
    return f"""<a class="card" href="#suite-{escape(suite.name)}"><h3>{escape(suite.title)}<b>{shown}</b></h3>
<div class="bar">{parts}</div>
<p>{counts[Outcome.PASSED]} passed, {counts[Outcome.FAILED]} failed, {counts[Outcome.SKIPPED]} skipped</p></a>"""


def _notes(run: Run) -> str:
    """What holds for all of it, and the grade of the header fields with what each point was lost for."""
    grade = grade_of(run.of("headers"))
    graded = grade.lines() if grade is not None else []
    notes = [note for note in run.notes if note not in graded]
    text = '<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>" if notes else ""
    if grade is None or len(notes) == len(run.notes):
        return text
    rows = "".join(
        f"<tr><td>&minus;{reason.points}</td><td>{escape(_sentence(reason.result.words))}."
        f"<small>{escape(reason.result.case.cure)}</small></td></tr>"
        for reason in grade.reasons
    )
    tone = "good" if grade.letter in "AB" else "fair" if grade.letter in "CD" else "bad"
    return f"""{text}<section class="grade {tone}"><b>{grade.letter}</b>
<div><h3>Header fields: {grade.points} of 100 points</h3><table>{rows}</table></div></section>"""


def _group(why: str, cure: str, results: list[Result]) -> str:
    """The failures that mean the same, below what they mean."""
    topics = ", ".join(dict.fromkeys(result.case.topic for result in results))
    return f"""<section class="group"><h3>{escape(topics)}</h3>
<dl><dt>Why it matters</dt><dd>{escape(why)}</dd><dt>The cure</dt><dd>{escape(cure)}</dd></dl>
{"".join(_failure(result) for result in results)}</section>"""


def _failure(result: Result) -> str:
    case = result.case
    source = escape(case.source)
    if case.link:
        source = f'<a href="{escape(case.link)}">{source}</a>'
    known = '<span class="tag known">known</span>' if result.known else ""
    level = f'<span class="tag {case.level.name.lower()}">{case.level.name}</span>'
    return f"""<article id="{escape(case.id)}"><p class="line">{level}{known}
<code>{escape(case.id)}</code><span class="source">{source}</span></p>
<h4>{escape(case.title)}</h4><p>{escape(_sentence(result.words))}</p>{_transcript(result.entries)}</article>"""


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _transcript(entries: tuple[Entry, ...]) -> str:
    if not entries:
        return ""
    several = len({entry.connection for entry in entries}) > 1
    rows = []
    for entry in entries:
        mark = {">": "sent", "<": "received", "-": "note"}[entry.direction]
        number = f"{entry.connection} " if several and entry.connection else ""
        more = f" &hellip; {entry.length} bytes" if entry.length > len(entry.data) else ""
        data = f"<code>{entry.data.hex(' ')}{more}</code>" if entry.data else ""
        arrow = {">": "&rarr;", "<": "&larr;", "-": "&middot;"}[entry.direction]
        rows.append(f'<li class="{mark}"><span>{number}{arrow} {escape(entry.words)}</span>{data}</li>')
    return f"<details><summary>The exchanged bytes</summary><ol>{''.join(rows)}</ol></details>"


def _table(suite: Suite, results: list[Result]) -> str:
    rows = []
    for topic, group in groupby(results, key=lambda result: result.case.topic):
        rows.append(f'<tr class="topic"><th colspan="3">{escape(topic)}</th></tr>')
        for result in group:
            case = result.case
            mark = _MARKS[result.outcome]
            link = f'<a href="#{escape(case.id)}">failed</a>' if mark == "failed" else mark
            rows.append(
                f'<tr class="{mark}"><td>{link}</td><td><code>{escape(case.id)}</code></td>'
                f"<td>{escape(case.title)}<small>{escape(_sentence(result.words))}</small></td></tr>"
            )
    counts = tally(results)
    summary = f"{escape(suite.title)}: {len(results)} cases, {counts[Outcome.PASSED]} passed"
    return f"""<details class="suite" id="suite-{escape(suite.name)}"><summary>{summary}</summary>
<table>{"".join(rows)}</table></details>"""
