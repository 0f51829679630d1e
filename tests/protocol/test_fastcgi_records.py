"""Records of FastCGI: written so that they can be read, and read strictly, however the bytes come."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings, strategies as st

from securelight.protocol.fastcgi_records import (
    CONTENT_BYTES,
    FastCgiFault,
    FastCgiResponses,
    Role,
    begin_request,
    request_body,
)

STDOUT, STDERR, END = 6, 7, 3
END_RECORD = b"\x01\x03\x00\x01\x00\x08\x00\x00" + bytes(8)


def record(kind: int, data: bytes, *, version: int = 1, request_id: int = 1, padding: int = 0) -> bytes:
    return struct.pack("!BBHHBx", version, kind, request_id, len(data), padding) + data + bytes(padding)


def take_apart(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        _version, kind, _request_id, length, padding, _ = struct.unpack_from("!BBHHBB", data)
        found.append((kind, data[8 : 8 + length]))
        data = data[8 + length + padding :]
    return found


def pairs_of(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at < len(data):
        sizes = []
        for _ in range(2):
            size = data[at]
            if size > 127:
                size = int.from_bytes(data[at : at + 4]) & 0x7FFFFFFF
                at += 3
            at += 1
            sizes.append(size)
        name = data[at : at + sizes[0]]
        at += sizes[0]
        found.append((name, data[at : at + sizes[1]]))
        at += sizes[1]
    return found


@settings(max_examples=100)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.binary(max_size=400)), max_size=20))
def test_parameters_can_be_read_again(parameters: list[tuple[bytes, bytes]]) -> None:
    records = take_apart(begin_request(parameters, Role.AUTHORIZER))
    assert records[0] == (1, b"\x00\x02\x01" + bytes(5))
    assert records[-1] == (4, b"")
    assert pairs_of(b"".join(data for kind, data in records if kind == 4)) == parameters


def test_large_bodies_and_parameters_are_many_records() -> None:
    body = bytes(range(256)) * 1000
    records = take_apart(request_body(body))
    assert b"".join(data for _kind, data in records) == body
    assert all(len(data) <= CONTENT_BYTES for _kind, data in records)
    large = [(b"A", b"x" * 100_000), (b"B", b"")]
    assert pairs_of(b"".join(data for kind, data in take_apart(begin_request(large)) if kind == 4)) == large


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=50), st.integers(0, 9)), max_size=8),
    st.integers(1, 20),
)
def test_it_makes_no_difference_how_the_bytes_come(records: list[tuple[int, bytes, int]], step: int) -> None:
    text = b"".join(record(kind, data, padding=padding) for kind, data, padding in records) + END_RECORD
    responses = FastCgiResponses()
    responses.begin()
    output = errors = b""
    for start in range(0, len(text), step):
        assert not responses.whole
        more_output, more_errors = responses.feed(text[start : start + step])
        output += more_output
        errors += more_errors
    assert responses.whole
    assert output == b"".join(data for kind, data, _ in records if kind == STDOUT)
    assert errors == b"".join(data for kind, data, _ in records if kind == STDERR)


@pytest.mark.parametrize(
    ("text", "unprocessed"),
    [
        (b"HTTP/1.1 200 OK\r\n", False),
        (record(STDOUT, b"", version=2), False),
        (record(STDOUT, b"a", request_id=2), False),
        (record(1, bytes(8)), False),
        (record(END, bytes(7)), False),
        (record(END, bytes(9)), False),
        (END_RECORD + b"\x01", False),
        (END_RECORD + record(STDOUT, b"a"), False),
        (record(END, b"\0\0\0\0\1\0\0\0"), True),
        (record(END, b"\0\0\0\0\2\0\0\0"), True),
        (record(END, b"\0\0\0\0\3\0\0\0"), True),
        (record(END, b"\0\0\0\0\x63\0\0\0"), False),
    ],
)
def test_what_breaks_the_protocol(text: bytes, unprocessed: bool) -> None:
    responses = FastCgiResponses()
    responses.begin()
    with pytest.raises(FastCgiFault) as found:
        responses.feed(text)
    assert found.value.unprocessed == unprocessed


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_junk_never_looks_whole_by_accident(junk: bytes) -> None:
    responses = FastCgiResponses()
    responses.begin()
    try:
        responses.feed(junk)
    except FastCgiFault:
        return
    assert not responses.whole or END_RECORD[:2] in junk
