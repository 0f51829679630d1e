"""Both engines are given the same bytes: what one accepts and the other refuses is a bug in the guard.

The inputs are random bytes, and requests built from a grammar and then mutated, so that most of them come near to
being valid.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from securelight.protocol.h11_adapter import H11Adapter
from securelight.protocol.httptools_adapter import HttptoolsAdapter
from tests.protocol.http1_support import converse, cut_at

LIMITS = {"request_target_bytes": 200, "request_head_bytes": 600, "trailer_bytes": 120, "chunk_extension_bytes": 20,
          "request_body_bytes": 2000, "request_fields": 8, "chunk_overhead_bytes": 60}  # fmt: skip


def agree(data: bytes, cuts: list[int]) -> None:
    """Both engines, one piece or many: four times the same."""
    account, output, closing = converse(HttptoolsAdapter, [data], **LIMITS)
    for engine in (H11Adapter, HttptoolsAdapter):
        for pieces in ([data], cut_at(data, cuts)):
            other, other_output, other_closing = converse(engine, pieces, **LIMITS)
            assert (other, other_output, other_closing) == (account, output, closing)
    answered = sum(entry[0] == "refused" or (entry[0] == "request" and not entry[9]) for entry in account)
    answered += sum(entry[0] == "ended" for entry in account)
    assert output.count(b"HTTP/1.1 200 OK\r\n") == answered


odd_bytes = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b",", b";", b"\0", b"\x0b", b"\x7f", b"\xff", b'"']
)
method = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"QUERY", b"PRI", b"CONNECT", b"get", b"M-SEARCH", b""])
target = st.one_of(
    st.sampled_from(
        [b"/", b"*", b"https://b.test/x", b"http://b.test", b"HTTPS://[::1]:8443/?q", b"//x", b"?", b"x", b""]
    ),
    st.from_regex(rb"\A/[!-~]{0,20}\Z"),
    st.from_regex(rb"\A[a-z]{1,5}:/{0,3}[!-~]{0,12}\Z"),
)
version = st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1"])
name = st.sampled_from(
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"X", b"Cookie", b"TE",
     b"Keep-Alive", b"Proxy-Connection", b"HTTP2-Settings", b"Trailer", b"Sec-WebSocket-Key"]
)  # fmt: skip
value = st.one_of(
    st.sampled_from(
        [b"a.test", b"0", b"5", b"05", b"5, 5", b"+5", b"chunked", b"Chunked", b"chunked, chunked", b"identity",
         b"xchunked", b"close", b"keep-alive, Upgrade", b"upgrade", b"websocket", b"h2c", b"100-continue", b"trailers",
         b"close, transfer-encoding", b"", b"99999999999999999999"]
    ),
    st.from_regex(rb"\A[!-~\x80-\xff][\t -~\x80-\xff]{0,10}\Z"),
)  # fmt: skip
space = st.sampled_from([b" "] * 5 + [b"", b"\t", b" \t "])
line_end = st.sampled_from([b"\r\n"] * 60 + [b"\n", b"\r", b"\r\r\n"])
field = st.tuples(name, st.sampled_from([b":"] * 30 + [b" :", b""]), space, value, space, line_end).map(b"".join)
framing = st.sampled_from([b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
request_line = st.tuples(
    st.one_of(st.just(b"POST"), method),
    st.just(b" "),
    st.one_of(st.just(b"/"), target),
    st.just(b" "),
    version,
    line_end,
).map(b"".join)
host = st.sampled_from([b"Host: a.test\r\n"] * 9 + [b""])
head = st.tuples(request_line, host, st.lists(field, max_size=4).map(b"".join), framing, line_end).map(b"".join)
size = st.one_of(st.integers(0, 20).map(lambda number: b"%x" % number), st.from_regex(rb"\A[0-9A-Fa-fx+ -]{0,18}\Z"))
extension = st.sampled_from([b""] * 6 + [b";a", b";a=b", b' ; a = "b;\\""', b";", b";a=", b" ", b";" + b"a" * 25])
chunk = st.one_of(
    st.binary(min_size=1, max_size=12).map(lambda data: b"%x\r\n%b\r\n" % (len(data), data)),
    st.tuples(size, extension, line_end, st.binary(max_size=20), line_end).map(b"".join),
)
body = st.one_of(
    st.just(b""),
    st.just(b"hello"),
    st.tuples(
        st.lists(chunk, max_size=5).map(b"".join), st.sampled_from([b"0\r\n", b"000;a\r\n", b""]),
        st.lists(field, max_size=3).map(b"".join), line_end,
    ).map(b"".join),
)  # fmt: skip
message = st.tuples(head, body).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = b"".join(draw(st.lists(message, min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 4]))):
        place = draw(st.integers(0, len(data)))
        removed = draw(st.integers(0, 2))
        data = data[:place] + draw(st.one_of(st.just(b""), odd_bytes, st.binary(max_size=3))) + data[place + removed :]
    return data


@given(mutated(), st.lists(st.integers(0, 2000), max_size=8))
@settings(max_examples=250, deadline=None)
def test_engines_agree_on_mutated_requests(data: bytes, cuts: list[int]) -> None:
    agree(data, cuts)


def test_engines_agree_on_the_case_of_a_transfer_coding() -> None:
    agree(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: Chunked \r\n\r\n", [])


def test_engines_agree_on_two_hosts_in_a_head_that_is_too_large() -> None:
    agree(b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\nX: %b\r\n\r\n" % (b"a" * 500), [])


@pytest.mark.parametrize("target", [b"-", b"x:", b"http://[::1", b"http://a.test:x/", b"https://a.test\xff/"])
def test_engines_agree_on_a_bad_target_in_a_head_that_is_too_large(target: bytes) -> None:
    agree(b"POST %b HTTP/1.0\r\nH: %b\r\n\r\n" % (target, b"a" * 540), [])
    agree(b"GET %b HTTP/1.1\r\nHost: a.test\r\nX: %b\r\n\r\n" % (target, b"a" * 500), [])


@given(st.lists(st.one_of(st.binary(max_size=30), odd_bytes, field, message), max_size=6).map(b"".join),
       st.lists(st.integers(0, 2000), max_size=8))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_engines_agree_on_random_bytes(data: bytes, cuts: list[int]) -> None:
    agree(data, cuts)


@given(st.binary(max_size=64), st.binary(max_size=700))
@settings(max_examples=100, deadline=None)
def test_engines_agree_within_a_chunked_body(start: bytes, rest: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    agree(head + b"%x\r\n" % len(start) + start + b"\r\n" + rest, [len(head) + 3, len(head) + 9])


@given(st.integers(0, 700), st.integers(0, 300), st.sampled_from([b"", b"\n", b"\r", b"\0"]), st.integers(0, 700))
@settings(max_examples=150, deadline=None)
def test_limits_and_faults_are_judged_in_the_order_of_the_stream(
    value_bytes: int, target_bytes: int, fault: bytes, place: int
) -> None:
    data = b"GET /%b HTTP/1.1\r\nHost: a.test\r\nX: %b\r\n\r\n" % (b"a" * target_bytes, b"b" * value_bytes)
    data = data[:place] + fault + data[place:]
    whole = converse(HttptoolsAdapter, [data], **LIMITS)[0]
    assert converse(HttptoolsAdapter, [bytes((byte,)) for byte in data], **LIMITS)[0] == whole
