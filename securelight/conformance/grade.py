"""A grade for the fields that protect a page, with its reasons: what each missing one costs, and what to do about it.

100 points less what the failed cases of the suite `headers` cost. What an attacker can use at once costs a grade below
C whatever else is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securelight.conformance.case import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.conformance.results import Result

LETTERS = ((90, "A"), (75, "B"), (60, "C"), (45, "D"), (30, "E"), (0, "F"))
COSTS = {
    "headers/6797-7.1/present": 20,
    "headers/csp/present": 20,
    "headers/csp/scripts": 10,
    "headers/csp/framing": 10,
    "headers/fetch/nosniff": 15,
    "headers/6265bis/secure": 15,
    "headers/6265bis/http-only": 10,
    "headers/6265bis/same-site": 10,
    "headers/6797-6.1/form": 20,
    "headers/6797-7.1/long": 10,
    "headers/referrer/policy": 5,
}
"""Points by case."""
OTHER_COST = 4
GRAVE = ("headers/cors/", "headers/redirects/")
"""Cases whose failure can be used at once; these cost GRAVE_COST."""
GRAVE_COST = 45


@dataclass(frozen=True, slots=True)
class Reason:
    """Why points were lost."""

    points: int
    result: Result


@dataclass(frozen=True, slots=True)
class Grade:
    """What a server's fields are worth.

    Attributes:
        letter: A to F.
        points: of 100.
        reasons: the dearest first.
    """

    letter: str
    points: int
    reasons: tuple[Reason, ...]

    def lines(self) -> list[str]:
        """The grade, and a line for each reason with its cure."""
        lines = [f"Headers: grade {self.letter}, {self.points} of 100 points."]
        lines += [
            f"-{reason.points} {reason.result.case.id}: {reason.result.words}. {reason.result.case.cure}"
            for reason in self.reasons
        ]
        return lines


def cost(case_id: str) -> int:
    """What the failure of a case costs."""
    return GRAVE_COST if case_id.startswith(GRAVE) else COSTS.get(case_id, OTHER_COST)


def grade_of(results: Sequence[Result]) -> Grade | None:
    """The grade for the results of the suite `headers`; None if none of its questions arose."""
    if not any(result.outcome is not Outcome.SKIPPED for result in results):
        return None
    lost = [Reason(cost(result.case.id), result) for result in results if result.outcome is Outcome.FAILED]
    points = max(0, 100 - sum(reason.points for reason in lost))
    letter = next(letter for least, letter in LETTERS if points >= least)
    return Grade(letter, points, tuple(sorted(lost, key=lambda reason: (-reason.points, reason.result.case.id))))
