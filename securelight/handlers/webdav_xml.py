"""The XML of WebDAV (RFC 4918, section 14): requests read into small trees within bounds, answers written.

A document type is refused before anything in it counts: so there are no entities, no external ones, and no document
that grows while it is read. Depth and number of elements are bounded, and the caller bounds the bytes.
"""

from __future__ import annotations

from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

DAV: Final = "DAV:"
DEPTH: Final = 32
"""How deep elements may be nested; RFC 4918 needs seven, and values of properties are small."""
ELEMENTS: Final = 2_048
"""Of one request: a client that asks for every property that there is names forty."""
_XML: Final = "http://www.w3.org/XML/1998/namespace"
LANGUAGE: Final = f"{_XML} lang"
_PROLOGUE: Final = '<?xml version="1.0" encoding="utf-8"?>\n'

Name = tuple[str, str]
"""(namespace, local name)"""


class XmlFault(Exception):
    """What was sent is not XML, or more of it than anybody needs."""


class Element:
    """One element.

    Attributes:
        name: its name.
        attributes: values by `namespace local-name`, or the local name alone.
        content: elements and texts in order.
    """

    __slots__ = ("attributes", "content", "name")

    def __init__(self, name: Name, attributes: dict[str, str] | None = None) -> None:
        self.name = name
        self.attributes = attributes or {}
        self.content: list[Element | str] = []

    def elements(self) -> list[Element]:
        """Those directly inside."""
        return [item for item in self.content if isinstance(item, Element)]

    def find(self, local: str) -> Element | None:
        """The first with the name `local` of DAV: directly inside."""
        return next((item for item in self.elements() if item.name == (DAV, local)), None)

    def text(self) -> str:
        """All text directly inside."""
        return "".join(item for item in self.content if isinstance(item, str))


class _Builder:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS or len(self._open) >= DEPTH:
            raise XmlFault(f"more than {ELEMENTS} elements, or nested deeper than {DEPTH}")
        element = Element(_name_of(name), attributes)
        if self._open:
            self._open[-1].content.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        content = self._open[-1].content
        if content and isinstance(content[-1], str):
            content[-1] += data
        else:
            content.append(data)

    def refuse_type(self, *_declaration: object) -> None:
        raise XmlFault("a document type, or entities")


def parse(data: bytes) -> Element:
    """The document in `data`.

    Errors: XmlFault.
    """
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse_type
    parser.EntityDeclHandler = builder.refuse_type
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two for encodings
        raise XmlFault(str(error)) from error
    if builder.root is None:
        raise XmlFault("no element")
    return builder.root


def _name_of(name: str) -> Name:
    namespace, _, local = name.rpartition(" ")
    return namespace, local


def write(element: Element, above: str = DAV) -> str:
    """The element as text that means the same wherever the default namespace is `above`."""
    namespace, local = element.name
    parts = [f"<{local}"]
    if namespace != above:
        parts.append(f" xmlns={quoteattr(namespace)}")
    for number, (name, value) in enumerate(element.attributes.items()):
        space, local_name = _name_of(name)
        if space == _XML:
            parts.append(f" xml:{local_name}={_attribute(value)}")
        elif space:
            parts.append(f" xmlns:a{number}={_attribute(space)} a{number}:{local_name}={_attribute(value)}")
        else:
            parts.append(f" {local_name}={_attribute(value)}")
    if not element.content:
        return "".join([*parts, "/>"])
    parts.append(">")
    parts += [text(item) if isinstance(item, str) else write(item, namespace) for item in element.content]
    return "".join([*parts, f"</{local}>"])


def text(value: str) -> str:
    """`value` as the content of an element; carriage returns survive being read again."""
    return escape(value, {"\r": "&#13;"})


def _attribute(value: str) -> str:
    return quoteattr(value, {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})


def empty(name: Name) -> str:
    """An element without content, below DAV:."""
    return write(Element(name))


def document(local: str, content: str) -> bytes:
    """A whole answer: an element of DAV: around `content`."""
    return f'{_PROLOGUE}<{local} xmlns="DAV:">{content}</{local}>\n'.encode()


def head(local: str) -> str:
    """What an answer begins with that is sent in pieces; it ends with the end tag of `local`."""
    return f'{_PROLOGUE}<{local} xmlns="DAV:">\n'
