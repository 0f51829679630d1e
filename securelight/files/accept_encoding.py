"""Accept-Encoding (RFC 9110, section 12.5.3): which of the codings that a file is there in a client gets."""

from __future__ import annotations

import re
from functools import lru_cache

IDENTITY = b"identity"

_MEMBER = re.compile(
    rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*"
)
_MEMBERS = 32
"""Members beyond these are not read; browsers send four."""
_REMEMBERED_BYTES = 256
"""Longer fields are read each time, so that what is remembered stays small."""
_UNSAID_IDENTITY = 0.0001
"""Where a client says nothing about identity, it is acceptable, but what the client did ask for goes first."""


def choose_coding(value: bytes | None, available: tuple[bytes, ...]) -> bytes | None:
    """The coding of `available` that the client prefers; between equals, the first.

    Args:
        value: the Accept-Encoding field, None if there is none: then identity, or else the first.
        available: content codings in lower case, best first; IDENTITY where the plain file is one of them.

    Returns None if the client refuses all of them (`identity;q=0`, `*;q=0`).
    """
    if value is None:
        return IDENTITY if IDENTITY in available else available[0]
    if len(value) > _REMEMBERED_BYTES:
        return _choose(value, available)
    return _choose_remembered(value, available)


def _choose(value: bytes, available: tuple[bytes, ...]) -> bytes | None:
    weights: dict[bytes, float] = {}
    for member in value.split(b",", _MEMBERS)[:_MEMBERS]:
        match = _MEMBER.fullmatch(member)
        if match is not None:
            name, weight = match.groups()
            weights[name.lower().removeprefix(b"x-")] = 1.0 if weight is None else float(weight)
    anything = weights.get(b"*")
    best: bytes | None = None
    best_weight = 0.0
    for coding in available:
        weight = weights.get(coding)
        if weight is None:
            weight = anything
        if weight is None:
            weight = _UNSAID_IDENTITY if coding == IDENTITY else 0.0
        if weight > best_weight:
            best, best_weight = coding, weight
    return best


_choose_remembered = lru_cache(maxsize=512)(_choose)
