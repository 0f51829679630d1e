"""Conditional requests: the order of RFC 9110, section 13.2.2."""

from __future__ import annotations

import time

import pytest

from securelight.files.preconditions import evaluate, range_applies
from securelight.model.dates import http_date
from securelight.model.headers import Headers

ETAG = b'"now"'
MODIFIED = 1_700_000_000
SAME, BEFORE, AFTER = (http_date(MODIFIED + seconds) for seconds in (0, -1, 1))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({b"if-match": ETAG}, 200),
        ({b"if-match": b"*"}, 200),
        ({b"if-match": b'"old"'}, 412),
        ({b"if-match": b'W/"now"'}, 412),
        ({b"if-match": b""}, 412),
        ({b"if-unmodified-since": SAME}, 200),
        ({b"if-unmodified-since": AFTER}, 200),
        ({b"if-unmodified-since": BEFORE}, 412),
        ({b"if-unmodified-since": b"yesterday"}, 200),
        ({b"if-none-match": ETAG}, 304),
        ({b"if-none-match": b'W/"now"'}, 304),
        ({b"if-none-match": b"*"}, 304),
        ({b"if-none-match": b'"old"'}, 200),
        ({b"if-none-match": b"garbage"}, 200),
        ({b"if-modified-since": SAME}, 304),
        ({b"if-modified-since": AFTER}, 304),
        ({b"if-modified-since": BEFORE}, 200),
        ({b"if-modified-since": b"Tue, 14 Nov 2023 22:13:20 +0000"}, 200),
        ({b"if-modified-since": SAME + b", " + SAME}, 200),
        ({b"if-modified-since": b"Tuesday, 14-Nov-23 22:13:20 GMT"}, 304),
        ({b"if-modified-since": b"Tue Nov 14 22:13:20 2023"}, 304),
        # One rules out the next: an entity tag beats a date.
        ({b"if-match": ETAG, b"if-unmodified-since": BEFORE}, 200),
        ({b"if-match": b'"old"', b"if-unmodified-since": AFTER}, 412),
        ({b"if-none-match": b'"old"', b"if-modified-since": AFTER}, 200),
        ({b"if-none-match": ETAG, b"if-modified-since": BEFORE}, 304),
        # The first that fails decides.
        ({b"if-match": b'"old"', b"if-none-match": ETAG}, 412),
        ({b"if-match": ETAG, b"if-none-match": ETAG}, 304),
        ({b"if-unmodified-since": BEFORE, b"if-modified-since": SAME}, 412),
        ({b"if-unmodified-since": SAME, b"if-modified-since": SAME}, 304),
    ],
)
def test_order(fields: dict[bytes, bytes], status: int) -> None:
    assert evaluate(Headers(fields.items()), ETAG, MODIFIED) == status


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        (None, True),
        (ETAG, True),
        (b'W/"now"', False),
        (b'"old"', False),
        (b"*", False),
        (SAME, True),
        (AFTER, False),
        (BEFORE, False),
        (b"garbage", False),
    ],
)
def test_if_range_needs_the_very_file(value: bytes | None, applies: bool) -> None:
    fields = {} if value is None else {b"if-range": value}
    assert range_applies(Headers(fields.items()), ETAG, MODIFIED) is applies


def test_a_date_is_no_strong_validator_within_its_own_second() -> None:
    now = int(time.time())
    assert not range_applies(Headers([(b"if-range", http_date(now))]), ETAG, now)
