"""The findings of a check: a table for people, JSON and JUnit for CI."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final
from xml.sax.saxutils import quoteattr

from securelight.lab.check.outcome import Did, Outcome

WHAT_WIDTH: Final = 16
MAXIMUM_WORDS: Final = 100
Paint = Callable[[str, str], str]


def _plain(text: str, _colour: str) -> str:
    return text


def table(outcomes: Sequence[Outcome], client: str, paint: Paint = _plain, *, everything: bool = False) -> list[str]:
    """Lines for a terminal: what differs from a correct client, surprises first, then a summary.

    Args:
        outcomes: of all cases.
        client: its name.
        paint: colours text.
        everything: also what is right.
    """
    lines: list[str] = []
    shown = [one for one in outcomes if everything or not one.right or one.surprise]
    width = max((len(one.case.id) for one in shown), default=0)
    for heading, group in (
        ("Right", [one for one in shown if one.right and not one.surprise]),
        ("Known differences", [one for one in shown if not one.right and not one.surprise]),
        ("Surprises", [one for one in shown if one.surprise]),
    ):
        if not group:
            continue
        lines += ["", paint(heading, "bold")]
        for one in group:
            colour = "red" if one.surprise else "dim" if one.right else "yellow"
            what = one.fault or (f"{one.answer.did}, and was known not to" if one.surprise else str(one.answer.did))
            lines.append(f"  {one.case.id:<{width}}  {paint(f'{what:<{WHAT_WIDTH}}', colour)}  {one.case.title}")
            reason = _reason(one)
            if reason:
                lines.append(" " * (width + 4) + paint(reason, "dim"))
    return [*lines, "", *summary(outcomes, client, paint)]


def _reason(one: Outcome) -> str:
    """Why a known difference is there, or the client's own words about a surprise."""
    if one.surprise:
        return one.answer.words[:MAXIMUM_WORDS]
    return one.difference.why if one.difference is not None and not one.right else ""


def summary(outcomes: Sequence[Outcome], client: str, paint: Paint = _plain) -> list[str]:
    """How it went, in one line."""
    asked = [one for one in outcomes if one.answer.did is not Did.SKIPPED]
    right = sum(one.right for one in asked)
    surprises = sum(one.surprise for one in asked)
    known = sum(not one.right and not one.surprise for one in asked)
    skipped = len(outcomes) - len(asked)
    parts = [f"{right} of {len(asked)} as a correct client does"]
    if known:
        parts.append(f"{known} known differences")
    parts.append(paint(f"{surprises} surprises", "red" if surprises else "green"))
    if skipped:
        parts.append(f"{skipped} skipped")
    return [f"{paint(client, 'bold')}: " + ", ".join(parts)]


def to_json(outcomes: Sequence[Outcome], client: str) -> str:
    """The document, one entry a case."""
    return (
        json.dumps(
            {
                "version": 1,
                "client": client,
                "surprises": sum(one.surprise for one in outcomes),
                "results": [
                    {
                        "id": one.case.id, "expected": str(one.case.verdict), "did": str(one.answer.did),
                        "right": one.right, "surprise": one.surprise, "words": one.answer.words,
                        "seconds": round(one.answer.seconds, 3),
                        **({"known": one.difference.why} if one.difference is not None else {}),
                    }
                    for one in outcomes
                ],
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )  # fmt: skip


def to_junit(outcomes: Sequence[Outcome], client: str) -> str:
    """JUnit XML: surprises are failures; what is skipped or known is skipped."""
    failures = sum(one.surprise for one in outcomes)
    passed = sum(one.right and not one.surprise and one.answer.did is not Did.SKIPPED for one in outcomes)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<testsuites>",
        f'<testsuite name={quoteattr(f"lab check {client}")} tests="{len(outcomes)}" failures="{failures}" '
        f'skipped="{len(outcomes) - failures - passed}" errors="0">',
    ]
    for one in outcomes:
        name = quoteattr(f"{one.case.id}: {one.case.title}")
        head = f'<testcase classname="lab.{one.case.family}" name={name} time="{one.answer.seconds:.3f}"'
        words = _clean(one.answer.words)
        if one.surprise:
            message = quoteattr(f"{one.fault or one.answer.did}: {words}")
            lines.append(f'{head}><failure type="{one.case.verdict}" message={message}/></testcase>')
        elif one.answer.did is Did.SKIPPED or not one.right:
            why = one.difference.why if one.difference is not None else words
            lines.append(f"{head}><skipped message={quoteattr(why)}/></testcase>")
        else:
            lines.append(f"{head}/>")
    return "\n".join([*lines, "</testsuite>", "</testsuites>"]) + "\n"


def _clean(text: str) -> str:
    # XML 1.0 has no way to write most control characters.
    return "".join(one if one.isprintable() else "\ufffd" for one in text)
