"""The syntax of nginx.conf: directives, blocks, quotes, and the files that one includes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from securelight.config.foreign.draft import Line, SyntaxFault

if TYPE_CHECKING:
    from securelight.config.foreign.includes import Includes

MAXIMUM_DEPTH: Final = 16
MAXIMUM_DIRECTIVES: Final = 20_000
_TOKEN: Final = re.compile(
    r"""[\s]+|\#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\$\{|\\.|[^\s{};"'])+""", re.DOTALL
)


class Directive(NamedTuple):
    """One directive, with its block if it has one."""

    name: str
    arguments: tuple[str, ...]
    block: tuple[Directive, ...] | None
    line: Line


def parse(text: str, includes: Includes | None = None, source: str = "", depth: int = 0) -> tuple[Directive, ...]:
    """The directives of a file, and of those that it includes.

    Args:
        text: of the file.
        includes: finds the others; None to leave them out.
        source: the file's name for messages; empty for the main one.
        depth: of includes.

    Errors: SyntaxFault.
    """
    tokens: list[tuple[str, Line]] = []
    line, place = 1, 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise SyntaxFault(f"line {line}: a quote without its end")
        token = match[0]
        if not token[0].isspace() and token[0] != "#":
            tokens.append((token, f"{line} of {source}" if source else line))
        line += token.count("\n")
        place = match.end()
    if len(tokens) > MAXIMUM_DIRECTIVES * 5:
        raise SyntaxFault("the file is too long")
    directives, place = _block(tokens, 0, 0)
    if place != len(tokens):
        raise SyntaxFault(f"line {tokens[place][1]}: a closing brace without its opening one")
    return directives if includes is None else _with_included(directives, includes, depth)


def _with_included(directives: tuple[Directive, ...], includes: Includes, depth: int) -> tuple[Directive, ...]:
    found: list[Directive] = []
    for one in directives:
        files = includes.read(one.arguments[0], depth) if one.name == "include" and one.arguments else None
        if files is not None:
            for name, text in files:
                found += parse(text, includes, name, depth + 1)
        elif one.block is not None:
            found.append(one._replace(block=_with_included(one.block, includes, depth)))
        else:
            found.append(one)
    return tuple(found)


def _block(tokens: list[tuple[str, Line]], place: int, depth: int) -> tuple[tuple[Directive, ...], int]:
    if depth > MAXIMUM_DEPTH:
        raise SyntaxFault(f"line {tokens[place - 1][1]}: blocks are nested too deeply")
    found: list[Directive] = []
    words: list[str] = []
    begun: Line = 0
    while place < len(tokens):
        word, line = tokens[place]
        if word == "}":
            break
        place += 1
        if word in (";", "{"):
            if not words:
                raise SyntaxFault(f"line {line}: {word} without a directive")
            block = None
            if word == "{":
                block, place = _block(tokens, place, depth + 1)
                if place == len(tokens):
                    raise SyntaxFault(f"line {begun}: the block of {words[0]} has no end")
                place += 1
            found.append(Directive(words[0], tuple(words[1:]), block, begun))
            words = []
        else:
            begun = begun if words else line
            words.append(re.sub(r"\\(.)", r"\1", word[1:-1]) if word[0] in "\"'" else word)
    if words:
        raise SyntaxFault(f"line {begun}: {words[0]} does not end with ;")
    return tuple(found), place
