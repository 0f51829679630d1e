"""The response fields that an application gives: checked, because what is in them may come from its users.

Line ends above all are refused, which would let a value begin a second response; names that are not tokens, control
characters, and anything but bytes too. Fields of the framing are dropped, because the protocol adapters write them, but
for Content-Length, which is handed to the caller to hold the application to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from securelight.model.response import FRAMING_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securelight.model.headers import Field

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_KNOWN_NAMES_MAXIMUM = 1024
_known_names: dict[bytes, bytes] = {}
"""Names found valid, as they were written, to lower case. Applications use the same few again and again."""


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
