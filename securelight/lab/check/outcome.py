"""How a client fared with a case, and whether that is a surprise."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from securelight.lab.case import Case, Verdict
from securelight.lab.check.profiles import Difference


class Did(enum.StrEnum):
    """What a client did."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    HUNG = "hung"
    SKIPPED = "skipped"


FITTING: Final[Mapping[Verdict, frozenset[Did]]] = {
    Verdict.ACCEPT: frozenset({Did.ACCEPTED}),
    Verdict.WARN: frozenset({Did.ACCEPTED, Did.REFUSED}),
    Verdict.REFUSE: frozenset({Did.REFUSED}),
    Verdict.EITHER: frozenset({Did.ACCEPTED, Did.REFUSED}),
}
"""What fits a verdict. A client may well refuse what it has to act on (a redirect loop)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client did, and its last words."""

    did: Did
    words: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case, and what the client did.

    Args:
        case: the case.
        answer: of the client.
        difference: what is known about this client and this case, if it differs from a correct one.
    """

    case: Case
    answer: Answer
    difference: Difference | None = None

    @property
    def right(self) -> bool:
        """Whether a correct client does that."""
        return self.answer.did is Did.SKIPPED or self.answer.did in FITTING[self.case.verdict]

    @property
    def surprise(self) -> bool:
        """Whether it is neither right nor known. With a known difference, being right is a surprise too: it is new."""
        if self.answer.did is Did.SKIPPED:
            return False
        if self.difference is not None:
            return str(self.answer.did) not in self.difference.outcomes
        return not self.right

    @property
    def fault(self) -> str:
        """In words, what is wrong with it; empty if nothing."""
        if self.right:
            return ""
        if self.answer.did is Did.HUNG:
            return "hung until it was ended"
        return "wrongly accepted" if self.answer.did is Did.ACCEPTED else "wrongly refused"
