"""The suites: one folder each, found by looking, so that a new case is a new file and a new suite a new folder.

A suite's `__init__` has its title as `TITLE`; its other modules have `Topic`s.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securelight.conformance.case import Topic

if TYPE_CHECKING:
    from securelight.conformance.case import Case

ORDER = ("h2", "hpack", "h1", "tls", "headers", "abuse")
"""In which order suites run and are shown; one that is not named comes last."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite with its cases, in the order of the files' names."""

    name: str
    title: str
    cases: tuple[Case, ...]


def suite_names() -> tuple[str, ...]:
    """All suites there are, in order, without loading them."""
    found = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
    return tuple(sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)))


def load_suite(name: str) -> Suite:
    """Import a suite with all its cases.

    Errors: ValueError if an id is there twice or belongs to another suite: a fault of ours.
    """
    package = importlib.import_module(f"{__name__}.{name}")
    topics: list[Topic] = []
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        topics += [
            value
            for value in vars(module).values()
            if isinstance(value, Topic) and not any(value is topic for topic in topics)
        ]
    cases = [case for topic in topics for case in topic.cases]
    seen: set[str] = set()
    for case in cases:
        if case.suite != name or case.id in seen:
            raise ValueError(f"{case.id}: used twice, or in the wrong suite")
        seen.add(case.id)
    return Suite(name, package.TITLE, tuple(cases))
