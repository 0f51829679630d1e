"""Response fields of applications: what is let through, and what could split a response."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.application_fields import application_head, checked_field, checked_head


def test_names_are_lowered_and_values_trimmed() -> None:
    assert checked_field(b"X-Thing", b" \tin the middle\t") == (b"x-thing", b"in the middle")
    assert checked_field(b"X-Thing", b"") == (b"x-thing", b"")


def test_bytes_beyond_ascii_are_allowed_in_values() -> None:
    assert checked_field(b"x", "grün".encode()) == (b"x", "grün".encode())


@pytest.mark.parametrize("name", [b"", b" ", b"a b", b"a:", b":status", b"a\r\nb", b"a\x00", b"\xe9", b"a(b)"])
def test_a_name_is_a_token(name: bytes) -> None:
    with pytest.raises(ValueError, match="name"):
        checked_field(name, b"value")


@pytest.mark.parametrize(("name", "value"), [("text", b"x"), (b"x", "text"), (b"x", 7), (None, b"x"), (b"x", None)])
def test_anything_but_bytes_is_refused(name: Any, value: Any) -> None:
    with pytest.raises(TypeError):
        checked_field(name, value)


@settings(max_examples=300)
@given(st.binary(max_size=20), st.binary(max_size=40))
def test_no_field_gets_through_that_could_end_a_line(name: bytes, value: bytes) -> None:
    try:
        checked_name, checked_value = checked_field(name, value)
    except ValueError:
        return
    line = checked_name + b": " + checked_value
    assert not set(line) & {0x00, 0x0A, 0x0D}
    assert b":" not in checked_name
    assert checked_value == value.strip(b" \t")


def test_many_names_are_all_remembered_right() -> None:
    for number in range(3000):
        assert checked_field(b"X-%d" % number, b"v") == (b"x-%d" % number, b"v")


def test_the_length_is_taken_out_and_the_framing_dropped() -> None:
    fields, length = checked_head([(b"Content-Length", b"12"), (b"a", b"1"), (b"Transfer-Encoding", b"chunked")])
    assert fields == [(b"a", b"1")]
    assert length == 12


def test_the_same_length_twice_is_one_length() -> None:
    assert checked_head([(b"content-length", b"3"), (b"content-length", b"3")]) == ([], 3)
    with pytest.raises(ValueError, match="content-length"):
        checked_head([(b"content-length", b"3"), (b"content-length", b"4")])


@pytest.mark.parametrize("field", [(b"a",), (b"a", b"b", b"c"), b"ab:", 5])
def test_what_is_not_a_pair_is_refused(field: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        checked_head([field])


def test_a_head_that_comes_again_is_the_same_and_another_is_not() -> None:
    first = application_head(200, [(b"Content-Length", b"2"), (b"a", b"1")])
    assert application_head(200, iter([(b"Content-Length", b"2"), (b"a", b"1")])) is first
    assert (first.status, first.fields, first.announced) == (200, ((b"a", b"1"),), 2)
    for status, headers in (
        (201, [(b"Content-Length", b"2"), (b"a", b"1")]),
        (200, [(b"Content-Length", b"3"), (b"a", b"1")]),
        (200, [(b"Content-Length", b"2"), (b"a", b"2")]),
        (200, [(b"a", b"1"), (b"Content-Length", b"2")][:1]),
    ):
        other = application_head(status, headers)
        assert other is not first
        assert other.serialised is None or other.serialised is not first.serialised


def test_a_head_of_lists_is_as_good() -> None:
    head = application_head(200, [[b"Content-Length", b"2"], [b"a", b"1"]])
    assert (head.fields, head.announced) == (((b"a", b"1"),), 2)


def test_a_head_that_was_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="control characters"):
            application_head(200, [(b"a", b"1\r\nb: 2")])


def test_ever_new_heads_are_all_right() -> None:
    for number in range(1000):
        assert application_head(200, [(b"a", b"%d" % number)]).fields == ((b"a", b"%d" % number),)
