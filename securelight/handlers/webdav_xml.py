"""The XML of WebDAV (RFC 4918, section 14): requests read into small trees within bounds, answers written.

A document type is refused before anything in it counts: so there are no entities, no external ones, and no document
that grows while it is read. Depth and number of elements are bounded, and the caller bounds the bytes.

Namespaces are put in here and not by expat: each name that has a prefix would be a copy of its namespace then, and a
small document with a long one a hundred megabytes. For the same reason what names come to in all is bounded.
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
NAME_CHARACTERS: Final = 65_536
"""Of all names of one request, each with its namespace: an answer may have to say each for every file of a folder."""
_XML: Final = "http://www.w3.org/XML/1998/namespace"
_XMLNS: Final = "http://www.w3.org/2000/xmlns/"
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
        self._namespaces: list[dict[str, str]] = []
        """Those that each open element declares, by prefix."""
        self._count = self._name_characters = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS or len(self._open) >= DEPTH:
            raise XmlFault(f"more than {ELEMENTS} elements, or nested deeper than {DEPTH}")
        self._namespaces.append(
            {
                prefix: _checked_namespace(prefix, value)
                for attribute, value in attributes.items()
                if (prefix := _declared(attribute)) is not None
            }
        )
        element = Element(self._expanded(name))
        for attribute, value in attributes.items():
            if _declared(attribute) is None:
                namespace, local = self._expanded(attribute) if ":" in attribute else ("", attribute)
                full = f"{namespace} {local}" if namespace else local
                if full in element.attributes:
                    raise XmlFault(f"an attribute twice: {full[:80]}")
                element.attributes[full] = value
        if self._open:
            self._open[-1].content.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _expanded(self, name: str) -> Name:
        prefix, colon, local = name.rpartition(":")
        if ":" in prefix or not local or (colon and not prefix):
            raise XmlFault(f"not a name: {name[:80]}")
        if prefix == "xml":
            return _XML, local
        for declared in reversed(self._namespaces):
            namespace = declared.get(prefix)
            if namespace is not None:
                break
        else:
            if prefix:
                raise XmlFault(f"a prefix without a namespace: {prefix[:80]}")
            namespace = ""
        self._name_characters += len(namespace) + len(local)
        if self._name_characters > NAME_CHARACTERS:
            raise XmlFault(f"names of more than {NAME_CHARACTERS} characters in all")
        return namespace, local

    def end(self, _name: str) -> None:
        self._open.pop()
        self._namespaces.pop()

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
    parser = expat.ParserCreate()
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


def _declared(attribute: str) -> str | None:
    """The prefix whose namespace an attribute declares, "" for the default one; None if it declares none."""
    return "" if attribute == "xmlns" else attribute.removeprefix("xmlns:") if attribute.startswith("xmlns:") else None


def _checked_namespace(prefix: str, namespace: str) -> str:
    if (prefix and not namespace) or prefix == "xmlns" or ":" in prefix or namespace == _XMLNS:
        raise XmlFault(f"no namespace, or no prefix: {prefix[:80]}")
    if (prefix == "xml") != (namespace == _XML):
        raise XmlFault("the prefix xml means what it always does")
    return namespace


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
