"""Heads that are known without their credentials: the verdict is that of a head that nobody knows, and none is kept."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.limits import Limits
from securelight.protocol.known_heads import HEADS_KEPT, known_heads
from tests.protocol import http1_support, http2_support
from tests.protocol.http1_support import both_engines, told
from tests.protocol.spelled_out import spelled_out

SECRET = b"session=4bf92f3577b34da6"

NAMES = [b"Cookie", b"cookie", b"Authorization", b"authorization", b"COOKIE", b"Proxy-Authorization", b"Cookie2"]
VALUES = [
    SECRET, b"", b" " + SECRET, SECRET + b" \t", b"a\tb", b"\xe9", b"a\rb", b"a\nb", b"a\x00b", b"a\x7fb", b"x" * 300,
    b"a\r\n b", b"a\r\n\r\nGET /other HTTP/1.1\r\nHost: a.test",
]  # fmt: skip
names, values = st.sampled_from(NAMES), st.sampled_from(VALUES)


def unknowing(**limits: int) -> Limits:
    """Limits that no adapter had before, so that it knows no heads."""
    return dataclasses.replace(Limits(), **limits)


def http1_account(engine: http1_support.Maker, limits: Limits, *heads: bytes) -> list[Any]:
    """What the last head is told as, without its number."""
    for head in heads[:-1]:
        spelled_out(engine)(http1_support.PEER, limits).receive(head)
    adapter = spelled_out(engine)(http1_support.PEER, limits)
    account = told(adapter.receive(heads[-1]))
    return [*account, adapter.partial_head, adapter.input_ready]


PLAIN = b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nUser-Agent: t\r\n\r\n"


SPACES = [b": ", b":", b":  ", b" : "]


def http1_agrees(engine: http1_support.Maker, lines: list[bytes], places: list[int], **bounds: int) -> None:
    """A head with `lines` at `places` is told alike by adapters that know it, or the plain one, or nothing."""
    pieces = PLAIN.split(b"\r\n")
    for line, place in zip(lines, places, strict=False):
        pieces.insert(place, line)
    head = b"\r\n".join(pieces)
    cold = http1_account(engine, unknowing(**bounds), head)
    limits = unknowing(**bounds)
    assert http1_account(engine, limits, PLAIN, head) == cold, head
    assert http1_account(engine, limits, head, head) == cold, head


@both_engines
@pytest.mark.parametrize("name", NAMES)
def test_http1_with_one_line_is_told_as_if_it_were_unknown(engine: http1_support.Maker, name: bytes) -> None:
    for space, value, place in itertools.product(SPACES, VALUES, range(7)):
        http1_agrees(engine, [name + space + value], [place])
    for place in range(7):
        http1_agrees(engine, [name + b": " + SECRET], [place], request_fields=3)
    for place, bound in itertools.product((1, 4), range(125, 400, 10)):
        http1_agrees(engine, [name + b": " + SECRET], [place], request_head_bytes=bound)


@both_engines
@settings(max_examples=100)
@given(
    lines=st.lists(st.tuples(names, st.sampled_from(SPACES), values), min_size=2, max_size=3),
    places=st.lists(st.integers(0, 6), min_size=3, max_size=3),
)
def test_http1_with_lines_is_told_as_if_it_were_unknown(
    engine: http1_support.Maker, lines: list[tuple[bytes, bytes, bytes]], places: list[int]
) -> None:
    http1_agrees(engine, [b"".join(line) for line in lines], places)


FIELDS = [*http2_support.GET, (b"accept", b"*/*"), (b"user-agent", b"t")]


def http2_account(engine: Any, limits: Limits, *heads: list[tuple[bytes, bytes]]) -> list[Any]:
    """What the last head is told as."""
    for fields in heads[:-1]:
        client = http2_support.Client(engine, limits)
        client.send(client.head(1, fields))
    client = http2_support.Client(engine, limits)
    return http2_support.outline(client.send(client.head(1, heads[-1])))


def http2_agrees(engine: Any, credentials: list[tuple[bytes, bytes]], places: list[int], **bounds: int) -> None:
    """As http1_agrees."""
    fields = FIELDS.copy()
    for field, place in zip(credentials, places, strict=False):
        fields.insert(place, field)
    cold = http2_account(engine, unknowing(**bounds), fields)
    limits = unknowing(**bounds)
    assert http2_account(engine, limits, FIELDS, fields) == cold, fields
    assert http2_account(engine, limits, fields, fields) == cold, fields


HTTP2_NAMES = [b"cookie", b"authorization", b"proxy-authorization", b"Cookie"]


@pytest.mark.parametrize("engine", http2_support.ENGINES)
def test_http2_with_one_field_is_told_as_if_it_were_unknown(engine: Any) -> None:
    for name, value, place in itertools.product(HTTP2_NAMES, VALUES, (0, 3, 4, 6)):
        http2_agrees(engine, [(name, value)], [place])
    for bound in range(235, 480, 10):
        http2_agrees(engine, [(b"cookie", SECRET), (b"cookie", b"a=1")], [4, 5], request_head_bytes=bound)
    for most, crumbs in itertools.product(range(1, 7), range(1, 6)):
        http2_agrees(engine, [(b"cookie", b"a=1")] * crumbs, [4] * crumbs, request_fields=most)


@pytest.mark.parametrize("engine", http2_support.ENGINES)
@settings(max_examples=60)
@given(
    credentials=st.lists(st.tuples(st.sampled_from(HTTP2_NAMES), values), min_size=2, max_size=4),
    places=st.lists(st.integers(0, 7), min_size=4, max_size=4),
)
def test_http2_with_fields_is_told_as_if_it_were_unknown(
    engine: Any, credentials: list[tuple[bytes, bytes]], places: list[int]
) -> None:
    http2_agrees(engine, credentials, places)


@both_engines
def test_http1_keeps_the_head_and_no_secret(engine: http1_support.Maker) -> None:
    limits = unknowing()
    adapter = engine(http1_support.PEER, limits)
    line = b"Cookie: " + SECRET + b"\r\n"
    (event,) = adapter.receive(PLAIN.replace(b"Accept", line + b"Accept"))
    assert not isinstance(event, tuple)
    known = known_heads(limits, f"{engine.__name__} https")
    assert SECRET not in contents(known)
    other = engine(http1_support.PEER, limits)
    (event,) = other.receive(PLAIN.replace(b"User-Agent", b"Cookie: other=1\r\nUser-Agent"))
    assert isinstance(event, tuple), "what another one has asked with another secret is known"
    assert event[2][2] == (b"cookie", b"other=1")
    assert b"other=1" not in contents(known)


@pytest.mark.parametrize("engine", http2_support.ENGINES)
def test_http2_keeps_the_head_and_no_secret(engine: Any) -> None:
    limits = unknowing()
    for crumbs in ([SECRET], [b"a=1", SECRET, b"c=3"]):
        client = http2_support.Client(engine, limits)
        client.send(client.head(1, [*FIELDS, *((b"cookie", crumb) for crumb in crumbs), (b"authorization", SECRET)]))
    known = known_heads(limits, f"{type(client.adapter).__name__} https")
    assert b"/" in contents(known)
    assert SECRET not in contents(known)


def contents(known: Any) -> bytes:
    """All that the memory holds of requests."""
    kept = known._heads
    assert kept
    return repr([(head, item.request.headers, item.host, item.stream and item.stream.headers, item.answer)
                 for head, item in kept.items()]).encode()  # fmt: skip


@both_engines
def test_ever_new_heads_take_no_more_room_with_a_cookie_than_without(engine: http1_support.Maker) -> None:
    limits = unknowing()
    known = known_heads(limits, f"{engine.__name__} https")
    for number in range(HEADS_KEPT + 100):
        engine(http1_support.PEER, limits).receive(
            PLAIN.replace(b"/a?b", b"/%d" % number).replace(b"Accept", b"Cookie: a=%d\r\nAccept" % number)
        )
        assert len(known._heads) <= HEADS_KEPT
