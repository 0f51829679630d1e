"""The syntax of lighttpd.conf: settings, lists, conditions, variables, and the files that one includes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from securelight.config.foreign.draft import Line, SyntaxFault

if TYPE_CHECKING:
    from securelight.config.foreign.includes import Includes

MAXIMUM_DEPTH: Final = 16
_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*|"(?:\\.|[^"\\])*"|=>|\+=|:=|==|=~|!=|!~|=|[(){},]|\$[A-Z]+\["[^"]*"\]|[\w.-]+|\S""", re.DOTALL
)

Value = Any


class Setting(NamedTuple):
    """`name = value`, or a block if `block` is not None: then `name` is its condition."""

    name: str
    operator: str
    value: Value
    block: tuple[Setting, ...] | None
    line: Line


def parse(text: str, includes: Includes | None = None, source: str = "", depth: int = 0) -> tuple[Setting, ...]:
    """The settings of a file, and of those that it includes.

    Args:
        text: of the file.
        includes: finds the others; None to leave them out.
        source: the file's name for messages; empty for the main one.
        depth: of includes.

    Errors: SyntaxFault.
    """
    tokens: list[tuple[str, Line]] = []
    line = 1
    for match in _TOKEN.finditer(text):
        token = match[0]
        if not token[0].isspace() and token[0] != "#":
            tokens.append((token, f"{line} of {source}" if source else line))
        line += token.count("\n")
    reader = _Reader(tokens)
    settings = reader.block(0)
    if reader.place != len(tokens):
        raise SyntaxFault(f"line {reader.line}: a closing brace without its opening one")
    return settings if includes is None else _with_included(settings, includes, depth)


def _with_included(settings: tuple[Setting, ...], includes: Includes, depth: int) -> tuple[Setting, ...]:
    found: list[Setting] = []
    for one in settings:
        files = includes.read(str(one.value), depth) if one.name == "include" else None
        if files is not None:
            for name, text in files:
                found += parse(text, includes, name, depth + 1)
        elif one.block is not None:
            found.append(one._replace(block=_with_included(one.block, includes, depth)))
        else:
            found.append(one)
    return tuple(found)


class _Reader:
    """Walks the tokens."""

    def __init__(self, tokens: list[tuple[str, Line]]) -> None:
        self._tokens = tokens
        self._variables: dict[str, Value] = {}
        self.place = 0

    @property
    def line(self) -> Line:
        """Of the next token."""
        return self._tokens[min(self.place, len(self._tokens) - 1)][1] if self._tokens else 1

    def _peek(self) -> str:
        return self._tokens[self.place][0] if self.place < len(self._tokens) else ""

    def _take(self, wanted: str = "") -> str:
        word = self._peek()
        if not word or (wanted and word != wanted):
            raise SyntaxFault(f"line {self.line}: expected {wanted or 'more'}, found {word or 'the end'}")
        self.place += 1
        return word

    def block(self, depth: int) -> tuple[Setting, ...]:
        if depth > MAXIMUM_DEPTH:
            raise SyntaxFault(f"line {self.line}: blocks are nested too deeply")
        found: list[Setting] = []
        while self._peek() and self._peek() != "}":
            line, name = self.line, self._take()
            if name.startswith("$"):
                operator, value = self._take(), self._value(depth)
                found.append(Setting(name, operator, value, self._braces(depth), line))
            elif name == "if" or (name == "else" and self._peek() != "{"):
                continue  # the condition that follows is read as one of its own
            elif name in ("else", "include", "include_shell"):
                value = "" if name == "else" else self._value(depth)
                found.append(Setting(name, "", value, self._braces(depth) if name == "else" else None, line))
            else:
                operator = self._take()
                if operator not in ("=", "+=", ":="):
                    raise SyntaxFault(f"line {line}: expected = after {name}, found {operator}")
                value = self._value(depth)
                if name.startswith("var."):
                    self._variables[name] = value
                found.append(Setting(name, operator, value, None, line))
        return tuple(found)

    def _braces(self, depth: int) -> tuple[Setting, ...]:
        self._take("{")
        inner = self.block(depth + 1)
        self._take("}")
        return inner

    def _value(self, depth: int) -> Value:
        if depth > MAXIMUM_DEPTH:
            raise SyntaxFault(f"line {self.line}: values are nested too deeply")
        word = self._take()
        value: Value
        if word == "(":
            value = self._list(depth + 1)
        elif word[0] == '"':
            value = re.sub(r'\\(["\\])', r"\1", word[1:-1])
        elif word in self._variables:
            value = self._variables[word]
        else:
            value = int(word) if word.isdigit() else word
        while self._peek() == "+":
            self._take()
            other = self._value(depth)
            value = value + other if isinstance(value, list) and isinstance(other, list) else f"{value}{other}"
        return value

    def _list(self, depth: int) -> list[tuple[Value, Value]]:
        """(key or None, value) of each element."""
        found: list[tuple[Value, Value]] = []
        while self._peek() != ")":
            value = self._value(depth)
            if self._peek() == "=>":
                self._take()
                found.append((value, self._value(depth)))
            else:
                found.append((None, value))
            if self._peek() != ")":
                self._take(",")
        self._take(")")
        return found
