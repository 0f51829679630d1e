"""The results that are kept, and the table that docs/cache.md makes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.cache_suite.suite import HERE, VERSION, Result

DOCUMENT: Final = HERE.parents[1] / "docs" / "cache.md"
_FILE: Final = HERE / "results.json"
_BEGIN, _END = "<!-- made by python -m tests.cache_suite -->\n", "<!-- end of what is made -->\n"


@dataclass
class Kept:
    """What one cache did: the outcome of each test by its id."""

    version: str
    outcomes: dict[str, str]


@dataclass
class Results:
    """All that is kept.

    Attributes:
        tests: of each, by its id: suite, kind, name.
        caches: by name.
    """

    tests: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    caches: dict[str, Kept] = field(default_factory=dict)

    def take(self, results: Iterable[Result]) -> None:
        """Learn which tests there are."""
        self.tests.update({one.id: (one.suite, one.kind, one.name) for one in results})


def load() -> Results:
    """What is kept; nothing if there is no file."""
    if not _FILE.exists():
        return Results()
    found: dict[str, Any] = json.loads(_FILE.read_text())
    caches = {name: Kept(one["version"], one["outcomes"]) for name, one in found["caches"].items()}
    return Results({name: (one[0], one[1], one[2]) for name, one in found["tests"].items()}, caches)


def save(results: Results) -> None:
    """Keep `results`, one test a line."""
    tests = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(results.tests.items()))
    caches = ",\n".join(
        f'  {json.dumps(name)}: {{"version": {json.dumps(one.version)}, "outcomes": {{\n'
        + ",\n".join(f"   {json.dumps(test)}: {json.dumps(said)}" for test, said in sorted(one.outcomes.items()))
        + "}}"
        for name, one in results.caches.items()
    )
    _FILE.write_text(f'{{"tests": {{\n{tests}}},\n "caches": {{\n{caches}}}}}\n')


def with_table(text: str, results: Results) -> str:
    """`text` with the part between its marks made anew."""
    before, rest = text.split(_BEGIN)
    return before + _BEGIN + "\n".join(_lines(results)) + "\n" + _END + rest.split(_END)[1]


def _lines(results: Results) -> Iterator[str]:
    names = list(results.caches)
    heads = [f"{name} {results.caches[name].version}" for name in names]
    yield f"http-cache-tests {VERSION}: passed of the required tests, and of the optimal ones.\n"
    yield f"| tests | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(names)}"
    suites = dict.fromkeys(suite for suite, _, _ in results.tests.values())
    for suite in sorted(suites):
        ids = [test for test, (its, _, _) in results.tests.items() if its == suite]
        yield f"| {suite} | {' | '.join(_cell(results, name, ids) for name in names)} |"
    yield f"| **all** | {' | '.join(f'**{_cell(results, name, list(results.tests))}**' for name in names)} |"
    yield "\nRequired tests that one of them does not pass, or that do not say anything about it:\n"
    yield f"| test | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for test, (_, kind, said) in sorted(results.tests.items()):
        found = [results.caches[name].outcomes.get(test, "-") for name in names]
        if kind == "required" and set(found) != {"pass"}:
            plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", said).replace("|", "\\|").strip()
            yield f"| {plain} | {' | '.join(found)} |"


def _cell(results: Results, name: str, ids: list[str]) -> str:
    outcomes = results.caches[name].outcomes
    cells = []
    for kind in ("required", "optimal"):
        of_kind = [test for test in ids if results.tests[test][1] == kind]
        cells.append(f"{sum(outcomes.get(test) == 'pass' for test in of_kind)}/{len(of_kind)}" if of_kind else "-")
    return ", ".join(cells)
