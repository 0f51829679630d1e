"""Which of many rules may fit a path, told by its first segment, so that a request meets those few alone.

A rule whose condition says how a path has to begin stands under the first segment of that; all others are always met.
The order stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from securelight.model.patterns import compile_pattern

if TYPE_CHECKING:
    from securelight.config.conditions import Condition
    from securelight.pipeline.compile import BuildContext

R = TypeVar("R")

WORTH_IT: Final = 8
"""Fewer rules are asked as fast as they are looked up."""


def rule_index(conditions: Sequence[Condition | None], rules: Sequence[R]) -> Callable[[str], Sequence[R]]:
    """Gives those of `rules`, in their order, that may fit a path.

    Args:
        conditions: of the rules; None fits everything.
    """
    whole = tuple(rules)
    if len(whole) < WORTH_IT:
        return lambda _path: whole
    segments = [None if one is None else first_segments(one) for one in conditions]
    known = {segment for one in segments if one is not None for segment in one}
    table = {
        segment: tuple(rule for rule, one in zip(whole, segments, strict=True) if one is None or segment in one)
        for segment in known
    }
    others = tuple(rule for rule, one in zip(whole, segments, strict=True) if one is None)

    def of_path(path: str) -> Sequence[R]:
        return table.get(path[1:].partition("/")[0], others)

    return of_path if table else lambda _path: whole


def rules_for(
    conditions: Sequence[Condition | None], rules: Sequence[R], context: BuildContext
) -> Callable[[str], Sequence[R]]:
    """As `rule_index`; all of `rules` where somebody wants to see each of them asked."""
    if context.trace is not None:
        return lambda _path: rules
    return rule_index(conditions, rules)


def first_segments(condition: Condition) -> frozenset[str] | None:
    """The first segments that a path may have for `condition` to fit; None if that is not known."""
    found: frozenset[str] | None = None
    for one in (
        _of_beginnings([pattern.partition("*") for pattern in condition.path]),
        _of_beginnings([(prefix.rstrip("/") + "/", "", "") for prefix in condition.path_prefix]),
        _of_beginnings([(compile_pattern(condition.path_regex).literal, "*", "")]) if condition.path_regex else None,
        *(first_segments(inner) for inner in condition.all),
        _of_any([first_segments(inner) for inner in condition.any]),
    ):
        if one is not None:
            found = one if found is None else found & one
    return found


def _of_beginnings(beginnings: Sequence[tuple[str, str, str]]) -> frozenset[str] | None:
    """Of (text, whether more may follow, what), one of which the path begins with."""
    found = set()
    for text, more, _ in beginnings:
        segment, slash, _ = text[1:].partition("/")
        if not text.startswith("/") or (more and not slash) or text == "/":
            return None
        found.add(segment)
    return frozenset(found) if found else None


def _of_any(found: Sequence[frozenset[str] | None]) -> frozenset[str] | None:
    known = [one for one in found if one is not None]
    return frozenset().union(*known) if known and len(known) == len(found) else None
