"""The response fields that an application gives: checked, because what is in them may come from its users.

Line ends above all are refused, which would let a value begin a second response; names that are not tokens, control
characters, and anything but bytes too. Fields of the framing are dropped, because the protocol adapters write them, but
for Content-Length, which is handed to the caller to hold the application to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from securelight.model.response import FRAMING_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securelight.model.headers import Field, Fields

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_KNOWN_NAMES_MAXIMUM = 1024
_known_names: dict[bytes, bytes] = {}
"""Names found valid, as they were written, to lower case. Applications use the same few again and again."""

_KNOWN_HEADS_MAXIMUM = 256
_KNOWN_HEAD_BYTES = 1024
"""Heads found valid that were no longer than that: 256 kB a worker, and what adapters keep with them."""
_known_heads: dict[tuple[Any, ...], ApplicationHead] = {}


def checked_field(name: bytes, value: bytes) -> Field:
    """A response field with its name in lower case and its value without surrounding spaces.

    Errors: TypeError for anything but bytes; ValueError for what is not allowed in a field (RFC 9110, section 5), line
    ends above all: a value that an attacker could choose must never begin a second response.
    """
    lower = _known_names.get(name)
    if lower is None:
        if not isinstance(name, bytes):
            raise TypeError(f"a header field's name is bytes, not {type(name).__name__}")
        if not _NAME.fullmatch(name):
            raise ValueError(f"header field name {name[:40]!r} is not valid")
        lower = name.lower()
        if len(_known_names) < _KNOWN_NAMES_MAXIMUM:
            _known_names[name] = lower
    if not isinstance(value, bytes):
        raise TypeError(f"the value of header field {lower.decode()} is bytes, not {type(value).__name__}")
    if _FORBIDDEN_IN_VALUE.search(value):
        raise ValueError(f"the value of header field {lower.decode()} has control characters in it")
    return lower, value.strip(b" \t")


def checked_head(headers: Iterable[Iterable[bytes]]) -> tuple[list[Field], int | None]:
    """The checked fields without those of the framing, and the announced length.

    Errors: TypeError or ValueError for what is not a field, and for lengths that are not one number.
    """
    fields: list[Field] = []
    announced: int | None = None
    for name, value in headers:
        field = checked_field(name, value)
        if field[0] not in FRAMING_FIELDS:
            fields.append(field)
        elif field[0] == b"content-length":
            if not _LENGTH.fullmatch(field[1]) or announced not in (None, int(field[1])):
                raise ValueError(f"content-length {value!r} is not one decimal number")
            announced = int(field[1])
    return fields, announced


class ApplicationHead:
    """A response head that was found valid.

    Attributes:
        status: as given.
        fields: the checked fields, without those of the framing.
        announced: the content-length; None if there was none.
        serialised: what adapters and filters keep of it (Response.serialised), for bodies of the announced length.
    """

    __slots__ = ("announced", "fields", "serialised", "status")

    def __init__(self, status: int, fields: Fields, announced: int | None) -> None:
        self.status = status
        self.fields = fields
        self.announced = announced
        self.serialised: dict[str, Any] | None = None if announced is None else {}


def application_head(status: int, headers: Iterable[Iterable[bytes]]) -> ApplicationHead:
    """The head that an application gives; one that came before, to the byte, is known, and the same object.

    Applications say the same again and again; who says something new each time begins the table anew now and then.

    Errors: see `checked_head`.
    """
    key = (status, *headers)
    try:
        known = _known_heads.get(key)
    except TypeError:  # lists of lists, or what is no field at all
        return ApplicationHead(status, *_checked(key))
    if known is None:
        known = ApplicationHead(status, *_checked(key))
        if sum(len(name) + len(value) for name, value in known.fields) <= _KNOWN_HEAD_BYTES:
            if len(_known_heads) >= _KNOWN_HEADS_MAXIMUM:
                _known_heads.clear()
            _known_heads[key] = known
    return known


def _checked(key: tuple[Any, ...]) -> tuple[Fields, int | None]:
    fields, announced = checked_head(key[1:])
    return tuple(fields), announced
