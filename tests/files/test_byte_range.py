"""Range fields: what they ask for, and that no field asks for more than the file."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings, strategies as st

from securelight.files.byte_range import PART_HEAD_BYTES, parse_range

SIZE = 10_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-0", ((0, 1),)),
        (b"bytes=0-", ((0, SIZE),)),
        (b"bytes=9999-", ((9999, SIZE),)),
        (b"bytes=5-20000", ((5, SIZE),)),
        (b"bytes=-1", ((9999, SIZE),)),
        (b"bytes=-20000", ((0, SIZE),)),
        (b"BYTES=1-2", ((1, 3),)),
        (b"bytes= 1-2 ,\t5000-5001", ((1, 3), (5000, 5002))),
        (b"bytes=,,1-2,,", ((1, 3),)),
        (b"bytes=5000-5001,1-2", ((5000, 5002), (1, 3))),
        (b"bytes=0-99,50-149", ((0, 150),)),
        (b"bytes=0-0,2-2", ((0, 3),)),
        (b"bytes=1-2,20000-", ((1, 3),)),
        (b"bytes=0-999999999999999999", ((0, SIZE),)),
        (b"bytes=007-0010", ((7, 11),)),
    ],
)
def test_ranges(value: bytes, expected: tuple[tuple[int, int], ...]) -> None:
    assert parse_range(value, SIZE, 16) == expected


@pytest.mark.parametrize("value", [b"bytes=10000-", b"bytes=-0", b"bytes=20000-30000", b"bytes=10000-,-0"])
def test_ranges_past_the_end_cannot_be_satisfied(value: bytes) -> None:
    assert parse_range(value, SIZE, 16) == ()


@pytest.mark.parametrize(
    "value",
    [
        b"", b"bytes", b"bytes=", b"bytes=,", b"bytes=-", b"bytes=a-b", b"bytes=1", b"bytes=2-1", b"bytes=1-2-3",
        b"bytes=+1-2", b"bytes=0x1-2", b"bytes=1_0-20", b"bytes=-1-", b"bytes 1-2", b"items=0-1", b"bytes=1-2;3-4",
        b"bytes=1 -2", b"bytes=0-1,x", b"bytes=" + b"9" * 5000 + b"-", b"bytes=" + b"\xd9\xa1-\xd9\xa2",
    ],
)  # fmt: skip
def test_malformed_fields_are_ignored(value: bytes) -> None:
    assert parse_range(value, SIZE, 16) is None


def test_more_ranges_than_the_limit_are_ignored_without_being_read() -> None:
    assert parse_range(b"bytes=" + b",".join([b"0-0"] * 16), SIZE, 16) == ((0, 1),)
    assert parse_range(b"bytes=" + b",".join([b"0-"] * 17), SIZE, 16) is None
    assert parse_range(b"bytes=" + b"," * 30_000, SIZE, 16) is None


def test_an_empty_file_has_no_ranges() -> None:
    assert parse_range(b"bytes=0-", 0, 16) == ()
    assert parse_range(b"bytes=-5", 0, 16) is None


SPECS = st.one_of(
    st.tuples(st.integers(0, 1200), st.integers(0, 1200)).map(lambda pair: b"%d-%d" % (min(pair), max(pair))),
    st.integers(0, 1200).map(lambda start: b"%d-" % start),
    st.integers(0, 1200).map(lambda length: b"-%d" % length),
)


@settings(max_examples=300, deadline=None)
@given(specs=st.lists(SPECS, min_size=1, max_size=10), size=st.integers(1, 1000))
def test_the_answer_holds_every_byte_asked_for_once_and_little_else(specs: list[bytes], size: int) -> None:
    asked: set[int] = set()
    for spec in specs:
        first, last = spec.split(b"-")
        if first:
            asked.update(range(int(first), min(int(last) + 1, size) if last else size))
        else:
            asked.update(range(max(size - int(last), 0), size))
    ranges = parse_range(b"bytes=" + b",".join(specs), size, 16)
    assert ranges is not None
    given_bytes = [offset for start, end in ranges for offset in range(start, end)]
    assert len(given_bytes) == len(set(given_bytes)) <= size
    assert asked <= set(given_bytes)
    ordered = sorted(ranges)
    assert all(later[0] - earlier[1] > PART_HEAD_BYTES for earlier, later in itertools.pairwise(ordered))
    assert all(start in asked and end - 1 in asked for start, end in ranges)


@settings(max_examples=300, deadline=None)
@given(value=st.one_of(st.binary(max_size=60), st.from_regex(re.compile(rb"bytes=[0-9,\- \t]{0,60}"), fullmatch=True)))
def test_no_field_breaks_the_parser_or_leaves_the_file(value: bytes) -> None:
    ranges = parse_range(value, 500, 16)
    assert ranges is None or all(0 <= start < end <= 500 for start, end in ranges)
