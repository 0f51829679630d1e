"""What a run found: one result a case, and what holds for all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from securelight.conformance.case import Level, Outcome

if TYPE_CHECKING:
    from datetime import datetime

    from securelight.conformance.case import Case
    from securelight.conformance.suites import Suite
    from securelight.conformance.target import Target
    from securelight.conformance.transcript import Entry


@dataclass(frozen=True, slots=True)
class Result:
    """How one case ended.

    Attributes:
        case: the case.
        outcome: passed, failed or skipped.
        words: what happened.
        seconds: how long it took.
        entries: what went over the wire.
        known: it failed, and the baseline says that it does.
    """

    case: Case
    outcome: Outcome
    words: str
    seconds: float
    entries: tuple[Entry, ...] = ()
    known: bool = False


@dataclass(slots=True)
class Run:
    """All results for one target.

    Attributes:
        target: the server.
        suites: what was asked for.
        started: UTC.
        seconds: how long it took.
        server: its Server field; empty if it sends none.
        notes: what a reader should know: an untrusted certificate, a server that went away.
        results: in the order of the suites.
        interrupted: it was broken off, and cases are missing.
    """

    target: Target
    suites: tuple[Suite, ...]
    started: datetime
    seconds: float = 0.0
    server: str = ""
    notes: list[str] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    interrupted: bool = False

    def of(self, suite: str) -> list[Result]:
        """The results of one suite."""
        return [result for result in self.results if result.case.suite == suite]

    def failures(self, level: Level = Level.SHOULD, *, new_only: bool = False) -> list[Result]:
        """What failed with at least `level`; with `new_only` without what the baseline knows."""
        return [
            result
            for result in self.results
            if result.outcome is Outcome.FAILED and result.case.level >= level and not (new_only and result.known)
        ]


def tally(results: list[Result]) -> Counter[Outcome]:
    """How many ended in each way."""
    return Counter(result.outcome for result in results)


def score(results: list[Result]) -> int | None:
    """Of what could be asked, how many percent were answered rightly, a MUST counting twice; None if nothing could be.

    100 is given only if nothing failed.
    """
    asked = [result for result in results if result.outcome is not Outcome.SKIPPED]
    whole = sum(result.case.level for result in asked)
    if not whole:
        return None
    return int(100 * sum(result.case.level for result in asked if result.outcome is Outcome.PASSED) / whole)
