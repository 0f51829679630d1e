"""Dates that come from a client: read in three forms, and refused if there is no such day."""

from __future__ import annotations

import pytest

from securelight.model.dates import http_date, parse_http_date

SECONDS = 784_111_777


@pytest.mark.parametrize(
    "value",
    [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
)
def test_each_form_is_read(value: bytes) -> None:
    assert parse_http_date(value) == SECONDS
    assert http_date(SECONDS) == b"Sun, 06 Nov 1994 08:49:37 GMT"


def test_a_leap_second_is_a_date() -> None:
    assert parse_http_date(b"Sat, 31 Dec 2016 23:59:60 GMT") == 1_483_228_800


@pytest.mark.parametrize(
    "value",
    [
        b"Wed, 31 Feb 2099 08:49:37 GMT",
        b"Sun, 06 Nov 1994 25:49:37 GMT",
        b"Sun, 06 Nov 1994 08:61:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Xyz 1994 08:49:37 GMT",
    ],
)
def test_a_day_that_does_not_exist_is_no_date(value: bytes) -> None:
    assert parse_http_date(value) is None
