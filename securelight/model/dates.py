"""HTTP dates (RFC 9110, section 5.6.7): written in one form, read in all three."""

from __future__ import annotations

import email.utils
import re
import time
from datetime import datetime

_date_second = -1
_date = b""


def http_date(seconds: float) -> bytes:
    """`seconds` since the epoch as an IMF-fixdate, e.g. `Sun, 06 Nov 1994 08:49:37 GMT`."""
    return email.utils.formatdate(seconds, usegmt=True).encode("ascii")


def current_date() -> bytes:
    """The value of the Date field now. The same object is returned within one second, so `is` tells a new second."""
    global _date_second, _date
    second = int(time.time())
    if second != _date_second:
        _date_second, _date = second, http_date(second)
    return _date


_DATE_FORM = re.compile(
    rb"(?:[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"
    rb"|[A-Z][a-z]{5,8}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT"
    rb"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})"
)
"""IMF-fixdate, the obsolete RFC 850 form, asctime."""


def parse_http_date(value: bytes) -> int | None:
    """Seconds since the epoch, or None for what is not an HTTP date (such a field is ignored, RFC 9110 13.1.3)."""
    if not _DATE_FORM.fullmatch(value):
        return None
    try:
        parsed = email.utils.parsedate_tz(value.decode("ascii"))
        if parsed is None:
            return None
        # The arithmetic after it takes the 31st of February. The 60th second is a leap second.
        datetime(*parsed[:5], min(parsed[5], 59))
        return int(email.utils.mktime_tz((*parsed[:9], parsed[9] or 0)))
    except (ValueError, OverflowError):
        return None
