"""What a case is: a question to a server with a stable id, and the three ways in which it can be answered.

A case is an async function of a `Dial`. It returns the words for what happened if the server was right, raises `Failed`
with the words if it was not, and `Skipped` with the reason if the question does not arise. The bytes are no business of
the case: whatever goes through the dial is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial

Subject = TypeVar("Subject")
Made = TypeVar("Made")
Values = TypeVarTuple("Values")
CASE_SECONDS = 15.0
"""The deadline of a case that names none. It is a backstop: the waits inside a case are shorter, and say more."""

ID = r"[a-z0-9]+/[A-Za-z0-9.-]+/[a-z0-9][a-z0-9.-]*"
"""Of a case: suite/section/name."""


class Level(IntEnum):
    """How much a failure weighs: the RFC's own word for it."""

    MUST = 2
    SHOULD = 1


class Outcome(Enum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Failed(Exception):
    """The server was wrong; the text says what was expected and what came instead."""


class Skipped(Exception):
    """The question does not arise with this server; the text says why."""


Question = Callable[["Dial"], Awaitable[str]]
"""Puts one question to the server behind the dial; returns what happened. Errors: Failed, Skipped."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question.

    Attributes:
        id: `suite/section/name`; it never changes once it is out, because baselines name it.
        rfc: the document.
        section: of that document.
        level: what the document says.
        title: what the client does, in one line.
        topic: the heading it belongs below.
        why: what an attacker or a client gets from a server that fails here.
        cure: what to change in a server that fails here.
        question: see Question.
        seconds: its deadline.
        alone: no other case may run beside it.
        abuse: an attack: it runs only against loopback, or a host whose owner asks for it.
        slow: it waits for a deadline of the server: all such cases run side by side, and nothing else then.
    """

    id: str
    rfc: int
    section: str
    level: Level
    title: str
    topic: str
    why: str
    cure: str
    question: Question
    seconds: float = CASE_SECONDS
    alone: bool = False
    abuse: bool = False
    slow: bool = False

    @property
    def suite(self) -> str:
        """The first part of the id."""
        return self.id.partition("/")[0]

    @property
    def source(self) -> str:
        """Where the rule stands, for people."""
        return f"RFC {self.rfc}, section {self.section}" if self.rfc else self.section

    @property
    def link(self) -> str:
        """Where the rule, or the attack, can be read about; empty if it stands in no RFC and has no number."""
        if not self.rfc:
            return f"https://www.cve.org/CVERecord?id={self.section}" if self.section.startswith("CVE-") else ""
        anchor = "appendix-" if self.section[:1].isalpha() else "section-"
        return f"https://www.rfc-editor.org/rfc/rfc{self.rfc}#{anchor}{self.section}"


def bound(make: Callable[[Subject, *Values], Made], *values: *Values) -> Callable[[Subject], Made]:
    """`make` with all but its first argument given: what a loop over a table does with each row, before the next."""
    return lambda subject: make(subject, *values)


@dataclass(slots=True)
class Topic:
    """Cases of about one section of an RFC: what a file in a suite's folder holds. The loader finds it by its type.

    Attributes:
        name: the heading.
        rfc: the document, for cases that name none of their own; 0 if the rules come from elsewhere.
        why: see Case; for the cases that say nothing of their own.
        cure: the same.
        abuse: all of them are attacks: see Case; they then run alone, unless they are slow.
        slow: see Case.
        cases: what was added, in order.
    """

    name: str
    rfc: int
    why: str
    cure: str
    abuse: bool = False
    slow: bool = False
    cases: list[Case] = field(default_factory=list)

    def must(
        self, case_id: str, title: str, *, rfc: int | None = None, section: str = "", why: str = "", cure: str = "",
        seconds: float = CASE_SECONDS, alone: bool = False,
    ) -> Callable[[Question], Question]:  # fmt: skip
        """Add the decorated question with level MUST. The section is the middle of the id unless it is given."""
        return self._adder(Level.MUST, case_id, title, rfc, section, why, cure, seconds, alone)

    def should(
        self, case_id: str, title: str, *, rfc: int | None = None, section: str = "", why: str = "", cure: str = "",
        seconds: float = CASE_SECONDS, alone: bool = False,
    ) -> Callable[[Question], Question]:  # fmt: skip
        """The same with level SHOULD."""
        return self._adder(Level.SHOULD, case_id, title, rfc, section, why, cure, seconds, alone)

    def _adder(
        self, level: Level, case_id: str, title: str, rfc: int | None, section: str, why: str, cure: str,
        seconds: float, alone: bool,
    ) -> Callable[[Question], Question]:  # fmt: skip
        if not re.fullmatch(ID, case_id):
            raise ValueError(f"{case_id!r} is no id of the form suite/section/name")

        def add(question: Question) -> Question:
            self.cases.append(
                Case(
                    id=case_id,
                    rfc=self.rfc if rfc is None else rfc,
                    section=section or case_id.split("/")[1],
                    level=level,
                    title=title,
                    topic=self.name,
                    why=why or self.why,
                    cure=cure or self.cure,
                    question=question,
                    seconds=seconds,
                    alone=alone or (self.abuse and not self.slow),
                    abuse=self.abuse,
                    slow=self.slow,
                )
            )
            return question

        return add
