"""A page with server-side includes, read once: text, and the directives between `<!--#` and `-->`.

`if`, `elif`, `else` and `endif` become Choices, so that what is between them is passed over and not worked out. What
cannot be read, or is not known (`exec` is not), becomes a Fault in its place, and the rest of the page is good.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from securelight.handlers.includes_expression import PageFault, Test, read_expression

DIRECTIVES: Final = 1_024
"""Of one page, as it stands in its file."""
CHOICE_DEPTH: Final = 16
"""How deep `if` may stand in `if`."""
_START: Final = "<!--#"
_END: Final = "-->"
_NAME: Final = re.compile(r"\s*([A-Za-z]{1,16})(?=\s|\Z)")
_ATTRIBUTE: Final = re.compile(r"""\s*([A-Za-z]{1,16})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')(?=\s|\Z)""")
_ESCAPED: Final = re.compile(r"\\([\"'\\])")
_ATTRIBUTES: Final[dict[str, frozenset[str]]] = {
    "include": frozenset({"virtual", "file"}),
    "echo": frozenset({"var", "encoding", "default"}),
    "set": frozenset({"var", "value"}),
    "config": frozenset({"timefmt", "sizefmt", "errmsg", "echomsg"}),
    "fsize": frozenset({"virtual", "file"}),
    "flastmod": frozenset({"virtual", "file"}),
    "printenv": frozenset(),
    "if": frozenset({"expr"}),
    "elif": frozenset({"expr"}),
    "else": frozenset(),
    "endif": frozenset(),
}


class Directive(NamedTuple):
    """Something to be done: its name, and pairs of attribute and value in order."""

    name: str
    attributes: tuple[tuple[str, str], ...]


class Fault(NamedTuple):
    """Something that cannot be done, and why."""

    why: str


class Choice:
    """Branches, of which the first whose test holds is taken; a test that is None always holds."""

    __slots__ = ("branches",)

    def __init__(self) -> None:
        self.branches: list[tuple[Test | None, list[Node]]] = []


Node = str | Directive | Fault | Choice


def read_page(text: str) -> list[Node]:
    """The page in `text`. It never fails."""
    top: list[Node] = []
    stack: list[tuple[Choice, list[Node]]] = []
    nodes = top
    place = count = 0
    while (start := text.find(_START, place)) >= 0:
        end = _end_of(text, start + len(_START))
        if end < 0:
            break
        if start > place:
            nodes.append(text[place:start])
        place = end + len(_END)
        count += 1
        if count > DIRECTIVES:
            nodes.append(Fault(f"the page has more than {DIRECTIVES} directives"))
            return top
        try:
            directive = _read(text[start + len(_START) : end])
        except PageFault as fault:
            nodes.append(Fault(str(fault)))
            continue
        nodes = _place(directive, nodes, stack)
    nodes.append(text[place:])
    if stack:
        top.append(Fault("an if has no endif"))
    return top


def _end_of(text: str, place: int) -> int:
    """Where the directive that is open at `place` ends; a value in quotes may have the end mark in it."""
    quote = ""
    while place < len(text):
        character = text[place]
        if quote:
            if character == "\\":
                place += 1
            elif character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif text.startswith(_END, place):
            return place
        place += 1
    return -1


def _read(inner: str) -> Directive:
    match = _NAME.match(inner)
    name = match[1].lower() if match is not None else ""
    known = _ATTRIBUTES.get(name)
    if match is None or known is None:
        raise PageFault("exec is not done by this server" if name == "exec" else f"there is no directive {name!r}")
    attributes = []
    place = match.end()
    inner = inner.rstrip()
    while place < len(inner):
        match = _ATTRIBUTE.match(inner, place)
        if match is None:
            raise PageFault(f"{name} cannot be read from {inner[place : place + 20]!r} on")
        key = match[1].lower()
        if key not in known:
            raise PageFault(f"{name} has no attribute {key!r}")
        value = match[2] if match[2] is not None else match[3]
        attributes.append((key, _ESCAPED.sub(r"\1", value)))
        place = match.end()
    return Directive(name, tuple(attributes))


def _place(directive: Directive, nodes: list[Node], stack: list[tuple[Choice, list[Node]]]) -> list[Node]:
    """Put `directive` where it belongs; returns where what follows belongs."""
    name = directive.name
    if name == "if":
        if len(stack) >= CHOICE_DEPTH:
            nodes.append(Fault(f"if stands deeper than {CHOICE_DEPTH} in others"))
            return nodes
        choice = Choice()
        nodes.append(choice)
        stack.append((choice, nodes))
        return _branch(choice, directive)
    if name in ("elif", "else", "endif"):
        if not stack:
            nodes.append(Fault(f"{name} without if"))
            return nodes
        choice, outer = stack[-1]
        if name == "endif":
            stack.pop()
            return outer
        return _branch(choice, directive)
    nodes.append(directive)
    return nodes


def _branch(choice: Choice, directive: Directive) -> list[Node]:
    """A new branch. One whose test cannot be read is taken and holds the fault: what it would hide stays hidden."""
    inner: list[Node] = []
    if directive.name == "else":
        choice.branches.append((None, inner))
        return inner
    try:
        values = [value for _, value in directive.attributes]
        if len(values) != 1:
            raise PageFault(f"{directive.name} needs one expr")
        choice.branches.append((read_expression(values[0]), inner))
    except PageFault as fault:
        choice.branches.append((None, [Fault(str(fault))]))
    return inner
