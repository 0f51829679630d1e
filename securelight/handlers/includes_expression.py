"""The expressions of server-side includes: `if` and `elif` ask them, and values have variables in them.

An expression compares texts (`=`, `!=`, `<`, `<=`, `>`, `>=`), looks for a regular one (`$name = /^a/`), and joins what
it finds with `&&`, `||`, `!` and parentheses; a text alone asks whether it is empty. It is read once for each page.
What may be long or deep is bounded, and regular expressions that could take for ever are refused (model/patterns).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from securelight.model.patterns import BoundedPattern, PatternTooLong, compile_pattern

EXPRESSION_CHARACTERS: Final = 1_024
EXPRESSION_TOKENS: Final = 64
"""Also how deep parentheses can be nested: readers call each other."""
VALUE_CHARACTERS: Final = 8_192
"""Of a value once its variables are filled in: `set` that doubles a value in every line ends here."""

Lookup = Callable[[str], str | None]
Test = Callable[[Lookup], bool]

_VARIABLE: Final = re.compile(r"\\\$|\$(?:([A-Za-z_][A-Za-z0-9_]{0,63})|\{([A-Za-z_][A-Za-z0-9_]{0,63})\})")
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<operator>&&|\|\||!=|==|<=|>=|[=<>!()])"""
    r"""|/(?P<pattern>(?:[^/\\]|\\.)*)/|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s&|!=<>()/"']+))"""
)
_COMPARE: Final[dict[str, Callable[[str, str], bool]]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class PageFault(Exception):
    """A directive of a page that cannot be done."""


def filled(text: str, lookup: Lookup) -> str:
    r"""`text` with the values of `$name` and `${name}`; nothing for one that is not set, and `\$` is a dollar.

    Errors: PageFault if it becomes too long.
    """
    if "$" not in text:
        return text
    length = len(text)

    def value(match: re.Match[str]) -> str:
        nonlocal length
        name = match[1] or match[2]
        if name is None:
            return "$"
        found = lookup(name) or ""
        length += len(found)
        if length > VALUE_CHARACTERS:
            raise PageFault(f"a value is longer than {VALUE_CHARACTERS} characters")
        return found

    return _VARIABLE.sub(value, text)


class _Reader:
    """Reads one expression by recursive descent: or, and, not, comparison."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._position = 0
        text = text.strip()
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None or len(self._tokens) >= EXPRESSION_TOKENS:
                raise PageFault(f"the expression cannot be read from {text[place : place + 20]!r} on")
            kind = str(match.lastgroup)
            self._tokens.append((kind if kind in ("operator", "pattern") else "text", match[kind]))
            place = match.end()

    def read(self) -> Test:
        test = self._either()
        if self._position < len(self._tokens):
            raise PageFault("the expression goes on where it should end")
        return test

    def _next_is(self, *operators: str) -> str:
        if self._position < len(self._tokens):
            kind, value = self._tokens[self._position]
            if kind == "operator" and value in operators:
                self._position += 1
                return value
        return ""

    def _either(self) -> Test:
        tests = [self._both()]
        while self._next_is("||"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda lookup: any(test(lookup) for test in tests)

    def _both(self) -> Test:
        tests = [self._negated()]
        while self._next_is("&&"):
            tests.append(self._negated())
        return tests[0] if len(tests) == 1 else lambda lookup: all(test(lookup) for test in tests)

    def _negated(self) -> Test:
        if self._next_is("!"):
            test = self._negated()
            return lambda lookup: not test(lookup)
        if self._next_is("("):
            test = self._either()
            if not self._next_is(")"):
                raise PageFault("a parenthesis is not closed")
            return test
        return self._comparison()

    def _comparison(self) -> Test:
        left = self._text()
        operator = self._next_is(*_COMPARE)
        if not operator:
            return lambda lookup: bool(filled(left, lookup))
        if self._position < len(self._tokens) and self._tokens[self._position][0] == "pattern":
            pattern, wanted = self._pattern(), operator != "!="
            if operator not in ("=", "==", "!="):
                raise PageFault("a regular expression is compared with = or !=")
            return lambda lookup: _found(pattern, filled(left, lookup)) is wanted
        right, compare = self._text(), _COMPARE[operator]
        return lambda lookup: compare(filled(left, lookup), filled(right, lookup))

    def _pattern(self) -> BoundedPattern:
        text = self._tokens[self._position][1]
        self._position += 1
        try:
            return compile_pattern(text.replace("\\/", "/"))
        except ValueError as error:
            raise PageFault(f"the regular expression {text[:40]!r} {error}") from error

    def _text(self) -> str:
        """Texts that stand beside each other are one, with a space between them."""
        words = []
        while self._position < len(self._tokens) and self._tokens[self._position][0] == "text":
            words.append(self._tokens[self._position][1])
            self._position += 1
        if not words:
            raise PageFault("a text is missing in the expression")
        return " ".join(words)


def _found(pattern: BoundedPattern, text: str) -> bool:
    try:
        return pattern.search(text) is not None
    except PatternTooLong as error:
        raise PageFault("a text is too long for a regular expression") from error


def read_expression(text: str) -> Test:
    """The test in `text`.

    Errors: PageFault.
    """
    if len(text) > EXPRESSION_CHARACTERS:
        raise PageFault(f"the expression is longer than {EXPRESSION_CHARACTERS} characters")
    return _Reader(text).read()
