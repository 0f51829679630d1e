"""Byte ranges (RFC 9110, section 14): which parts of a file a Range field asks for.

Ranges that overlap, or that lie closer together than a part's own head takes, are merged, so that the answer is never
larger than the file and its few part heads (CVE-2011-3192). A field with too many ranges, or that is malformed, is
ignored, which section 14.2 allows: the client gets the whole file.
"""

from __future__ import annotations

import re

_UNIT = re.compile(rb"bytes=", re.IGNORECASE)
_SPEC = re.compile(rb"([0-9]{0,18})-([0-9]{0,18})")
"""18 digits are an exabyte; a longer number is no offset into any file."""

PART_HEAD_BYTES = 120
"""About what one part of multipart/byteranges costs beside its content."""


def parse_range(value: bytes, size: int, limit: int) -> tuple[tuple[int, int], ...] | None:
    """The (start, end) pairs that a Range field asks for, `end` not included, merged, in the order first asked for.

    Args:
        value: the field's value.
        size: of the file, in bytes.
        limit: how many ranges are taken seriously (Limits.ranges).

    Returns None if the field is to be ignored, and an empty tuple if it can't be satisfied (416).
    """
    unit = _UNIT.match(value)
    if unit is None or value.count(b",") >= limit:
        return None
    wanted: list[tuple[int, int]] = []
    seen = 0
    for member in value[unit.end() :].split(b","):
        spec = member.strip(b" \t")
        if not spec:
            continue
        match = _SPEC.fullmatch(spec)
        if match is None or spec == b"-":
            return None
        first, last = match.groups()
        seen += 1
        if not first:
            start, end = max(size - int(last), 0), size
            if not size:
                return None  # the last bytes of nothing: satisfiable, but no Content-Range could say so
        else:
            start, end = int(first), min(int(last) + 1, size) if last else size
            if last and int(last) < start:
                return None
        if start < end:
            wanted.append((start, end))
    if not seen:
        return None
    return _merged(wanted) if len(wanted) > 1 else tuple(wanted)


def _merged(wanted: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int, int]] = []
    """(position in the request, start, end)"""
    for start, end, position in sorted((start, end, position) for position, (start, end) in enumerate(wanted)):
        if merged and start <= merged[-1][2] + PART_HEAD_BYTES:
            earlier = merged[-1]
            merged[-1] = (min(earlier[0], position), earlier[1], max(earlier[2], end))
        else:
            merged.append((position, start, end))
    return tuple((start, end) for _, start, end in sorted(merged))
