"""DER as far as certificates and their revocation need it: elements, names, times (X.690; RFC 5280, section 4.1).

What is read here was accepted by OpenSSL before, or is about to be; this only tells what it says. Every length is
checked, nothing is read twice, and whatever does not fit is a ValueError, never a guess.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

SEQUENCE, SET, OBJECT_IDENTIFIER, INTEGER, OCTET_STRING = 0x30, 0x31, 0x06, 0x02, 0x04
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
COMMON_NAME = b"\x55\x04\x03"

_ATTRIBUTE_NAMES = {
    COMMON_NAME: "CN",
    b"\x55\x04\x06": "C",
    b"\x55\x04\x07": "L",
    b"\x55\x04\x08": "ST",
    b"\x55\x04\x09": "STREET",
    b"\x55\x04\x0a": "O",
    b"\x55\x04\x0b": "OU",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01": "UID",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19": "DC",
}
"""The attribute types that RFC 4514, section 3 names; others are written as their dotted numbers."""

_STRING_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}
"""DER string tags: UTF8String, PrintableString, TeletexString, IA5String, BMPString."""


class Element(NamedTuple):
    """One element: its tag, its content, and all of it."""

    tag: int
    content: bytes
    raw: bytes


def elements(data: bytes) -> list[Element]:
    """Every DER element in `data`, one after the other.

    Errors: ValueError where it is not DER.
    """
    found = []
    start = 0
    try:
        while start < len(data):
            tag, length = data[start], data[start + 1]
            content = start + 2
            if length >= 0x80:
                length_bytes = length & 0x7F
                if not 1 <= length_bytes <= 4:
                    raise ValueError("length of a DER element")
                length = int.from_bytes(data[content : content + length_bytes], "big")
                content += length_bytes
            end = content + length
            if end > len(data):
                raise ValueError("a DER element is cut off")
            found.append(Element(tag, data[content:end], data[start:end]))
            start = end
    except IndexError as error:
        raise ValueError("a DER element is cut off") from error
    return found


def only(data: bytes, tag: int) -> bytes:
    """The content of the one element that `data` has to begin with, of the kind `tag`.

    Errors: ValueError.
    """
    found = elements(data)
    if not found or found[0].tag != tag:
        raise ValueError(f"no DER element with the tag {tag:#04x}")
    return found[0].content


def time_of(element: Element) -> datetime:
    """A Time (RFC 5280, section 4.1.2.5), in UTC.

    Errors: ValueError.
    """
    text = element.content.decode("ascii")
    if element.tag == UTC_TIME:
        moment = datetime.strptime(text, "%y%m%d%H%M%SZ")
        year = int(text[:2])
        moment = moment.replace(year=year + (1900 if year >= 50 else 2000))
    elif element.tag == GENERALIZED_TIME:
        moment = datetime.strptime(text, "%Y%m%d%H%M%SZ")
    else:
        raise ValueError("not a time")
    return moment.replace(tzinfo=UTC)


def name_text(content: bytes) -> str:
    """The content of a Name as an RFC 4514 string.

    Errors: ValueError (UnicodeDecodeError is one).
    """
    names = []
    for part in elements(content):
        if part.tag != SET:
            raise ValueError("no relative distinguished name")
        names.append("+".join(_attribute(attribute.content) for attribute in elements(part.content)))
    return ",".join(reversed(names))


def common_names(content: bytes) -> tuple[str, ...]:
    """Every common name in the content of a Name, as it is.

    Errors: ValueError.
    """
    found = []
    for part in elements(content):
        for attribute in elements(part.content):
            identifier, value = elements(attribute.content)
            if identifier.content == COMMON_NAME:
                found.append(value.content.decode(_STRING_ENCODINGS[value.tag]))
    return tuple(found)


def _attribute(content: bytes) -> str:
    identifier, value = elements(content)
    if identifier.tag != OBJECT_IDENTIFIER or not identifier.content:
        raise ValueError("no attribute type")
    name = _ATTRIBUTE_NAMES.get(identifier.content)
    encoding = _STRING_ENCODINGS.get(value.tag)
    if name is None or encoding is None:
        return f"{name or _dotted(identifier.content)}=#{value.raw.hex()}"
    return f"{name}={_escaped(value.content.decode(encoding))}"


def _dotted(identifier: bytes) -> str:
    numbers = []
    number = 0
    for byte in identifier:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    if not numbers:
        raise ValueError("no object identifier")
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _escaped(value: str) -> str:
    """RFC 4514, section 2.4."""
    escaped = "".join("\\" + letter if letter in '"+,;<>\\' else letter for letter in value).replace("\0", "\\00")
    if escaped[:1] in (" ", "#"):
        escaped = "\\" + escaped
    if value[-1:] == " " and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped
