"""Regular expressions of the configuration, matched against what strangers send.

The expression is the operator's, its input is hostile: an expression that can be read in many ways takes time
exponential, or some power of the length, for a text made for it. So each is taken apart once. One whose time has no
reasonable bound is refused with a cure; of the others, one that is quadratic gets no text longer than it can do in
a few milliseconds.

How it is judged: a repetition is ambiguous if what may follow it can begin like what it repeats, because then its end
is tried at each place. The number of attempts is at most the product over all ambiguous parts. A repetition inside of
a repetition is refused unless the outer one is possessive or atomic, which never goes back.
"""

from __future__ import annotations

import importlib
import re
import warnings
from typing import Any, Final, NamedTuple

MAXIMUM_PATTERN_CHARACTERS: Final = 1_000
MAXIMUM_INPUT_CHARACTERS: Final = 32_768
"""Nothing that is matched is longer (Limits.request_head_bytes by default)."""
MAXIMUM_STEPS: Final = 2_000_000
"""Of the matcher for one text, about 10 ms."""
LEAST_INPUT_CHARACTERS: Final = 256
"""An expression that cannot do this many within MAXIMUM_STEPS is refused."""

_parser: Any = importlib.import_module("re._parser")
_codes: Any = importlib.import_module("re._constants")
_CHARACTERS: Final = frozenset(range(257))
"""Code points up to 255; 256 stands for all others."""
_DIGITS, _WORD, _SPACE = (
    frozenset(code for code in range(256) if re.match(text, chr(code))) | {256} for text in (r"\d", r"\w", r"\s")
)


class PatternTooLong(Exception):
    """A text is longer than an expression may be given."""


class BoundedPattern:
    """A compiled expression that never takes long.

    Attributes:
        expression: the regular expression.
        longest: the longest text that it may be given, in characters.
        literal: what every text that matches begins with; may be empty.
    """

    __slots__ = ("expression", "literal", "longest", "names")

    def __init__(self, expression: re.Pattern[str], longest: int, literal: str) -> None:
        self.expression = expression
        self.longest = longest
        self.literal = literal
        self.names = frozenset((*expression.groupindex, *map(str, range(1, expression.groups + 1))))

    def search(self, text: str) -> re.Match[str] | None:
        """As re.Pattern.search.

        Errors: PatternTooLong.
        """
        if len(text) > self.longest:
            raise PatternTooLong
        return self.expression.search(text)


class _Cost(NamedTuple):
    """Attempts: at most `times` * characters ** `power`."""

    times: int
    power: int

    def __mul__(self, other: object) -> _Cost:
        assert isinstance(other, _Cost)
        return _Cost(self.times * other.times, self.power + other.power)


_ONE = _Cost(1, 0)


def compile_pattern(text: str) -> BoundedPattern:
    """The expression in `text`, searched for unless it begins with `^`.

    Errors: ValueError, worded for the operator.
    """
    if len(text) > MAXIMUM_PATTERN_CHARACTERS:
        raise ValueError(f"is longer than {MAXIMUM_PATTERN_CHARACTERS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            expression = re.compile(text)
            tree = _parser.parse(text)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
    parsed, width = list(tree), tree.getwidth()[1]
    judge = _Judge(ignore_case=bool(expression.flags & re.IGNORECASE))
    anchored = bool(parsed) and parsed[0][0] is _codes.AT and parsed[0][1] in (
        _codes.AT_BEGINNING, _codes.AT_BEGINNING_STRING
    ) and not expression.flags & re.MULTILINE  # fmt: skip
    cost = judge.cost(parsed, frozenset(), repeated=False)
    longest = _longest(cost, MAXIMUM_INPUT_CHARACTERS if width is _codes.MAXREPEAT else width, anchored=anchored)
    if longest < LEAST_INPUT_CHARACTERS:
        begin = "" if anchored else "begin it with ^, "
        raise ValueError(
            f"{text!r} can take very long for a text made for it: {begin}put what cannot be part of a repetition "
            "behind it, as in [^/]+/, or make it possessive, as in .*+"
        )
    literal = ""
    if anchored and not expression.flags & re.IGNORECASE:
        for code, value in parsed[1:]:
            if code is not _codes.LITERAL:
                break
            literal += chr(value)
    return BoundedPattern(expression, longest, literal)


def _longest(cost: _Cost, width: int, *, anchored: bool) -> int:
    """The longest text for which the attempts, each as long as what it goes through, stay below MAXIMUM_STEPS."""
    power, times = cost.power + (not anchored), cost.times
    if width < MAXIMUM_INPUT_CHARACTERS:
        times *= max(width, 1)
    elif not cost.power:
        power += 1
    if not power:
        return MAXIMUM_INPUT_CHARACTERS if times <= MAXIMUM_STEPS else 0
    return min(MAXIMUM_INPUT_CHARACTERS, int((MAXIMUM_STEPS / times) ** (1 / power)))


class _Judge:
    """Walks one parsed expression."""

    def __init__(self, *, ignore_case: bool) -> None:
        self._ignore_case = ignore_case

    def cost(self, sequence: list[Any], follow: frozenset[int], *, repeated: bool) -> _Cost:
        """Of `sequence` where `follow` are the characters that can come after it.

        Args:
            sequence: as the standard library parses it.
            follow: what can come next.
            repeated: whether it stands inside of a repetition that goes back.

        Errors: ValueError for what is never good.
        """
        total = _ONE
        for number, (code, value) in enumerate(sequence):
            after = self.first(sequence[number + 1 :], follow)
            total = total * self._item(code, value, after, repeated=repeated)
        return total

    def _item(self, code: Any, value: Any, after: frozenset[int], *, repeated: bool) -> _Cost:
        if code in (_codes.MAX_REPEAT, _codes.MIN_REPEAT):
            least, most, inner = value[0], value[1], list(value[2])
            if least == most == 1:
                return self.cost(inner, after, repeated=repeated)
            if repeated and least != most:
                raise ValueError("has a repetition inside of a repetition; make the outer one possessive: (...)*+")
            begins = self.first(inner, frozenset())
            inside = self.cost(inner, after | begins, repeated=repeated or most > 1)
            if least == most or not begins & after:
                return inside
            return inside * (_Cost(1, 1) if most is _codes.MAXREPEAT else _Cost(most - least + 1, 0))
        if code is _codes.POSSESSIVE_REPEAT:
            return self.cost(list(value[2]), frozenset(), repeated=False)
        if code is _codes.ATOMIC_GROUP:
            return self.cost(list(value), frozenset(), repeated=False)
        if code is _codes.SUBPATTERN:
            return self.cost(list(value[3]), after, repeated=repeated)
        if code in (_codes.ASSERT, _codes.ASSERT_NOT):
            return self.cost(list(value[1]), frozenset(), repeated=repeated)
        if code is _codes.BRANCH:
            if repeated:
                raise ValueError("has alternatives inside of a repetition; make the outer one possessive: (...)*+")
            costs = [self.cost(list(branch), after, repeated=repeated) for branch in value[1]]
            return _Cost(sum(cost.times for cost in costs), max(cost.power for cost in costs))
        if code in (_codes.GROUPREF, _codes.GROUPREF_IGNORE, _codes.GROUPREF_EXISTS):
            raise ValueError("refers back to a group, which can take very long")
        return _ONE

    def first(self, sequence: list[Any], follow: frozenset[int]) -> frozenset[int]:
        """The characters with which `sequence`, or after an empty one what follows, can begin."""
        found: frozenset[int] = frozenset()
        for code, value in sequence:
            if code in (_codes.MAX_REPEAT, _codes.MIN_REPEAT, _codes.POSSESSIVE_REPEAT):
                found |= self.first(list(value[2]), frozenset())
                if value[0] == 0 or self._may_be_empty(list(value[2])):
                    continue
                return found
            if code in (_codes.SUBPATTERN, _codes.ATOMIC_GROUP, _codes.BRANCH):
                if code is _codes.BRANCH:
                    branches = [list(branch) for branch in value[1]]
                else:
                    branches = [list(value[3] if code is _codes.SUBPATTERN else value)]
                for branch in branches:
                    found |= self.first(branch, frozenset())
                if any(self._may_be_empty(branch) for branch in branches):
                    continue
                return found
            if code is _codes.AT:
                if value in (_codes.AT_END, _codes.AT_END_STRING):
                    return found
                continue
            if code in (_codes.ASSERT, _codes.ASSERT_NOT):
                continue
            return found | self._set(code, value)
        return found | follow

    def _may_be_empty(self, sequence: list[Any]) -> bool:
        for code, value in sequence:
            if code in (_codes.MAX_REPEAT, _codes.MIN_REPEAT, _codes.POSSESSIVE_REPEAT):
                empty = value[0] == 0 or self._may_be_empty(list(value[2]))
            elif code is _codes.SUBPATTERN:
                empty = self._may_be_empty(list(value[3]))
            elif code is _codes.ATOMIC_GROUP:
                empty = self._may_be_empty(list(value))
            elif code is _codes.BRANCH:
                empty = any(self._may_be_empty(list(branch)) for branch in value[1])
            else:
                empty = code in (_codes.AT, _codes.ASSERT, _codes.ASSERT_NOT)
            if not empty:
                return False
        return True

    def _set(self, code: Any, value: Any) -> frozenset[int]:
        if code is _codes.LITERAL:
            return self._both_cases(frozenset((min(value, 256),)))
        if code is _codes.NOT_LITERAL:
            return _CHARACTERS - ({value} if value < 256 and not self._ignore_case else set())
        if code is _codes.IN:
            negated = value[0][0] is _codes.NEGATE
            members: frozenset[int] = frozenset()
            for kind, item in value[negated:]:
                members |= self._member(kind, item)
            members = self._both_cases(members)
            # What lies beyond the first 256 may be partly in and partly out: it counts for both.
            return (_CHARACTERS - members) | {256} if negated else members
        return _CHARACTERS  # ANY, and whatever a later Python adds

    def _member(self, kind: Any, item: Any) -> frozenset[int]:
        if kind is _codes.LITERAL:
            return frozenset((min(item, 256),))
        if kind is _codes.RANGE:
            return frozenset(range(min(item[0], 256), min(item[1], 256) + 1))
        for positive, negative, members in (
            (_codes.CATEGORY_DIGIT, _codes.CATEGORY_NOT_DIGIT, _DIGITS),
            (_codes.CATEGORY_WORD, _codes.CATEGORY_NOT_WORD, _WORD),
            (_codes.CATEGORY_SPACE, _codes.CATEGORY_NOT_SPACE, _SPACE),
        ):
            if item is positive:
                return members
            if item is negative:
                return (_CHARACTERS - members) | {256}
        return _CHARACTERS

    def _both_cases(self, members: frozenset[int]) -> frozenset[int]:
        if not self._ignore_case:
            return members
        both = {ord(other) for code in members if code < 256 for other in chr(code).swapcase()}
        return members | {min(code, 256) for code in both}
