"""Conditional requests (RFC 9110, section 13): which of 200, 206, 304 and 412 a GET or HEAD of a file gets.

The order of section 13.2.2 is the code below, step by step. Dates that are not HTTP dates are ignored, as the RFC says.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from securelight.files.etag import is_listed
from securelight.model.dates import parse_http_date

if TYPE_CHECKING:
    from securelight.model.headers import Headers

CONDITIONAL_NAMES = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range"}
)
"""A request with none of these gets the whole file; one look tells."""


def evaluate(headers: Headers, etag: bytes, modified_seconds: int) -> int:
    """200 to go on, 304, or 412, for GET and HEAD of something that exists.

    Args:
        etag: its strong entity tag.
        modified_seconds: its Last-Modified, in seconds since the epoch.
    """
    if_match = headers.get(b"if-match")
    if if_match is not None:
        if not is_listed(if_match, etag, weak=False):
            return 412
    else:
        since = _date_of(headers, b"if-unmodified-since")
        if since is not None and modified_seconds > since:
            return 412
    if_none_match = headers.get(b"if-none-match")
    if if_none_match is not None:
        return 304 if is_listed(if_none_match, etag, weak=True) else 200
    since = _date_of(headers, b"if-modified-since")
    return 304 if since is not None and modified_seconds <= since else 200


def range_applies(headers: Headers, etag: bytes, modified_seconds: int) -> bool:
    """Whether If-Range, if there is one, lets the Range field count (RFC 9110, section 13.1.5).

    A date counts only if it is the exact Last-Modified and that is a strong validator: older than the second in which
    the file could change again unnoticed (section 8.8.2.2).
    """
    value = headers.get(b"if-range")
    if value is None or value == etag:
        return True
    return parse_http_date(value) == modified_seconds and modified_seconds < time.time() - 1


def _date_of(headers: Headers, name: bytes) -> int | None:
    value = headers.get(name)
    return None if value is None else parse_http_date(value)
