"""Which responses compression may touch, and what their fields become."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from securelight.model.body import Parts
from securelight.model.response import BODYLESS_STATUSES

if TYPE_CHECKING:
    from securelight.model.headers import Fields
    from securelight.model.response import Response

DEFAULT_TYPES: Final = (
    "text/*", "application/javascript", "application/json", "application/ld+json", "application/manifest+json",
    "application/wasm", "application/xml", "application/rtf", "application/postscript", "application/sql",
    "application/vnd.ms-fontobject", "application/x-javascript", "application/x-ndjson", "*+xml", "*+json",
    "font/ttf", "font/otf", "image/bmp", "image/vnd.microsoft.icon", "image/x-icon", "model/obj", "model/stl",
)  # fmt: skip
"""What is text, or not compressed in itself."""

TYPE_PATTERN: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:\*|[a-z0-9!#$&^_.+-]+)|\*\+[a-z0-9]+")

_LEFT_ALONE: Final = frozenset({b"content-encoding", b"content-range", b"content-digest", b"repr-digest", b"digest",
                                b"content-md5"})  # fmt: skip
"""Responses with one of these fields are: it speaks of the content as it is."""
_NO_TRANSFORM = re.compile(rb"(?i)(?:^|[,\s])no-transform(?:$|[,\s])")
_VARY = (b"vary", b"accept-encoding")
_PART = 206


def is_eligible(response: Response, types: tuple[str, ...], minimum_bytes: int, maximum_bytes: int) -> bool:
    """Whether `response` may be compressed for a client that accepts it.

    Args:
        types: as in the configuration: whole media types, `text/*`, `*+json`.
        minimum_bytes, maximum_bytes: of its length, if that is known.
    """
    length = response.content_length
    if length is not None and not minimum_bytes <= length <= maximum_bytes:
        return False
    if response.status in BODYLESS_STATUSES or response.status == _PART or isinstance(response.body, Parts):
        return False
    kind = b""
    for name, value in response.fields:
        if name in _LEFT_ALONE or (name == b"cache-control" and _NO_TRANSFORM.search(value)):
            return False
        if name == b"content-type":
            kind = value
    return is_compressible(kind, types)


@lru_cache(maxsize=256)
def is_compressible(content_type: bytes, types: tuple[str, ...]) -> bool:
    """Whether the Content-Type is one of `types`."""
    name = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    if name in types:
        return True
    kind, _, rest = name.partition("/")
    if f"{kind}/*" in types:
        return True
    suffix = rest.rpartition("+")
    return bool(suffix[1]) and f"*+{suffix[2]}" in types


def with_vary(fields: Fields) -> Fields:
    """`fields` with Accept-Encoding in Vary; the same object if it is there."""
    for name, value in fields:
        if name == b"vary":
            members = [member.strip() for member in value.lower().split(b",")]
            if b"accept-encoding" in members or b"*" in members:
                return fields
    return (*fields, _VARY)


def coded_fields(fields: Fields, coding: bytes) -> Fields:
    """The fields of the same in `coding`: a weak entity tag, and no ranges. `fields` has Vary already."""
    changed: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        if name == b"etag" and not value.startswith(b"W/"):
            changed.append((name, b"W/" + value))
        elif name != b"accept-ranges":
            changed.append((name, value))
    changed.append((b"content-encoding", coding))
    return tuple(changed)
