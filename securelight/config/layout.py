"""How configuration files are laid out: `securelight fmt`, and the TOML that `securelight adapt` writes.

Formatting touches white space alone: comments, order and the way values are written stay. What comes out is read again
and has to mean the same, else it is not used.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_KEY: Final = re.compile(
    r"""((?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*'))*)\s*=\s*(.*)"""
)
_BASIC: Final = re.compile(r'"(?:\\.|[^"\\\n])*"')
_LONG_BASIC: Final = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}(?!")', re.DOTALL)
_LONG_LITERAL: Final = re.compile(r"'''.*?'{3,5}(?!')", re.DOTALL)
_BRACKETS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}
_HEADER: Final = re.compile(r"\[{1,2}[^\[].*")
_INDENT: Final = "    "


def format_toml(text: str) -> str:
    """`text` in the usual layout.

    Errors: ValueError if it is not valid TOML.
    """
    before = tomllib.loads(text)
    lines = _formatted(text.replace("\r\n", "\n").split("\n"))
    result = "\n".join(lines).strip("\n") + "\n"
    if tomllib.loads(result) != before:
        raise ValueError("formatting would change what it means; it is left as it is")
    return result if result != "\n" else ""


def _formatted(source: list[str]) -> list[str]:
    lines: list[str] = []
    number = 0
    while number < len(source):
        line = source[number].strip()
        number += 1
        if not line:
            if lines and lines[-1]:
                lines.append("")
            continue
        if line.startswith("#"):
            lines.append(line)
            continue
        if _HEADER.fullmatch(line) and not _KEY.fullmatch(line):
            _space_above(lines)
            lines.append(line)
            continue
        # A value may go on over lines: inside of brackets, or of a text in three quotes.
        value = source[number - 1].lstrip()
        while _is_open(value) and number < len(source):
            value += "\n" + source[number]
            number += 1
        lines += _pair(value)
    return lines


def _space_above(lines: list[str]) -> None:
    """A header has an empty line above itself and the comments that belong to it."""
    place = len(lines)
    while place and lines[place - 1].startswith("#"):
        place -= 1
    if place and lines[place - 1]:
        lines.insert(place, "")


def _scan(text: str) -> tuple[int, bool]:
    """(how many brackets are open at the end of `text`, whether a text in three quotes is)."""
    depth, place = 0, 0
    while place < len(text):
        character = text[place]
        if text.startswith(('"""', "'''"), place):
            match = (_LONG_BASIC if character == '"' else _LONG_LITERAL).match(text, place)
            if match is None:
                return depth, True
            place = match.end()
        elif character == '"':
            match = _BASIC.match(text, place)
            place = match.end() if match else len(text)
        elif character == "'":
            end = text.find("'", place + 1)
            place = end + 1 if end > 0 else len(text)
        elif character == "#":
            end = text.find("\n", place)
            place = end if end >= 0 else len(text)
        else:
            depth += _BRACKETS.get(character, 0)
            place += 1
    return depth, False


def _is_open(text: str) -> bool:
    """Whether a bracket or a text in three quotes has no end yet."""
    depth, in_text = _scan(text)
    return in_text or depth > 0


def _pair(text: str) -> list[str]:
    if "\n" not in text:
        match = _KEY.fullmatch(text.rstrip())
        return [f"{match[1]} = {match[2]}" if match else text.rstrip()]
    if '"""' in text or "'''" in text:
        return text.split("\n")  # white space in it may be part of a text
    first, *rest = text.split("\n")
    match = _KEY.fullmatch(first.rstrip())
    lines = [f"{match[1]} = {match[2]}" if match else first.rstrip()]
    depth = _scan(first)[0]
    for line in rest:
        stripped = line.strip()
        if stripped:
            closing = len(stripped) - len(stripped.lstrip("]}"))
            lines.append(_INDENT * max(depth - closing, 0) + stripped)
        depth += _scan(line)[0]
    return lines


def write_toml(table: Mapping[str, Any]) -> str:
    """`table` as TOML: values of None are left out, lists of tables become arrays of tables.

    Args:
        table: of texts, numbers, booleans, lists and tables.
    """
    lines: list[str] = []
    _write_table(table, "", lines)
    return "\n".join(lines).strip("\n") + "\n"


def _write_table(table: Mapping[str, Any], path: str, lines: list[str]) -> None:
    inner: list[tuple[str, Any]] = []
    for key, value in table.items():
        if value is None:
            continue
        if isinstance(value, Mapping) or (
            isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)
        ):
            inner.append((key, value))
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in inner:
        name = f"{path}.{_key(key)}" if path else _key(key)
        for one, header in [(value, f"[{name}]")] if isinstance(value, Mapping) else [
            (item, f"[[{name}]]") for item in value
        ]:  # fmt: skip
            lines += ["", header]
            _write_table(one, name, lines)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None) + " }"
        )
    return "[" + ", ".join(_value(item) for item in value) + "]"
