"""Entity tags: they change with the file, and lists of them are compared as RFC 9110 says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from securelight.files.etag import file_etag, is_listed

ETAG = b'"abc"'


def test_a_tag_is_strong_and_changes_with_each_part_of_the_file_state() -> None:
    tags = {file_etag(1, 2, 3), file_etag(2, 2, 3), file_etag(1, 3, 3), file_etag(1, 2, 4), file_etag(12, 3, 3)}
    assert len(tags) == 5
    assert all(re.fullmatch(rb'"[0-9a-f]{24}"', tag) for tag in tags)
    assert file_etag(1, 2, 3) == file_etag(1, 2, 3)


def test_a_tag_does_not_tell_the_inode() -> None:
    assert b"abcdef" not in file_etag(0xABCDEF, 5, 7)


@pytest.mark.parametrize(
    ("value", "strong", "weak"),
    [
        (b"*", True, True),
        (b'"abc"', True, True),
        (b'W/"abc"', False, True),
        (b'"x", "abc"', True, True),
        (b'"x",\t"abc","y"', True, True),
        (b', "abc",,', True, True),
        (b'"x", W/"abc"', False, True),
        (b'"a,b", "abc"', True, True),
        (b'"x"', False, False),
        (b'"ABC"', False, False),
        (b"abc", False, False),
        (b'w/"abc"', False, False),
        (b'"x" "abc"', False, False),
        (b'"abc", x', False, False),
        (b'"abc"x', False, False),
        (b'"", W/"abc" , *', False, False),
        (b"", False, False),
    ],
)
def test_lists(value: bytes, strong: bool, weak: bool) -> None:
    assert is_listed(value, ETAG, weak=False) is strong
    assert is_listed(value, ETAG, weak=True) is weak


def test_a_list_as_long_as_a_head_may_be_is_read_in_linear_time() -> None:
    assert is_listed(b'"x", ' * 6_000 + b'"abc"', ETAG, weak=False)
    assert not is_listed(b'"abc"' + b" ," * 16_000 + b"x", ETAG, weak=False)
    assert not is_listed(b'"abc"' + b' ,\t"' * 8_000, ETAG, weak=True)


@settings(max_examples=200, deadline=None)
@given(value=st.binary(max_size=100))
def test_no_list_breaks_the_parser(value: bytes) -> None:
    assert is_listed(value + ETAG, ETAG, weak=True) in (True, False)
