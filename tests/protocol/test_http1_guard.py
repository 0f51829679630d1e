"""Malformed input against the guard, through each engine: the status that it gets, however it is cut into segments."""

from __future__ import annotations

import dataclasses

import h11
import httptools
import pytest
from _pytest.mark.structures import ParameterSet
from hypothesis import given, settings, strategies as st

from securelight.model.errors import Refusal
from securelight.model.limits import Limits
from securelight.protocol.http1_guard import Http1Guard
from securelight.protocol.httptools_adapter import HttptoolsAdapter
from securelight.protocol.request_head import KNOWN_METHODS
from tests.protocol.http1_support import Maker, both_engines, converse, cut_at, make, told

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

BAD_HEADS = [
    # Line ends and control characters.
    ("bare LF throughout", b"GET / HTTP/1.1\nHost: a.test\n\n", 400),
    ("bare LF after a field", GET + b"A: b\nC: d\r\n\r\n", 400),
    ("bare LF as the empty line", GET + b"\n", 400),
    ("bare CR in a value", GET + b"A: b\rC: d\r\n\r\n", 400),
    ("bare CR in the request line", b"GET /\r HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("two CRs", GET + b"A: b\r\r\n\r\n", 400),
    ("NUL in a value", GET + b"A: b\0c\r\n\r\n", 400),
    ("NUL in a name", GET + b"A\0: b\r\n\r\n", 400),
    ("vertical tab in a value", GET + b"A: b\x0bc\r\n\r\n", 400),
    ("DEL in a value", GET + b"A: b\x7f\r\n\r\n", 400),
    ("a TLS ClientHello", bytes.fromhex("1603010200010001fc0303"), 400),
    # The request line.
    ("two spaces after the method", b"GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("two spaces after the target", b"GET /  HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("tabs for spaces", b"GET\t/\tHTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("space before the method", b" GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("space at the end", b"GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n", 400),
    ("space in the target", b"GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("no version", b"GET /\r\nHost: a.test\r\n\r\n", 400),
    ("no target", b"GET HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("lower-case version", b"GET / http/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("two-digit version", b"GET / HTTP/1.10\r\nHost: a.test\r\n\r\n", 400),
    ("no slash in the version", b"GET / HTTP1.1\r\nHost: a.test\r\n\r\n", 400),
    ("8-bit target", b"GET /\xff HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("method with a separator", b"G(T / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("relative target", b"GET foo HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("asterisk for GET", b"GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("climbs above the root", b"GET /../x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ("three empty lines first", b"\r\n\r\n\r\n" + GET + b"\r\n", 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", 505),
    ("HTTP/0.9 by name", b"GET / HTTP/0.9\r\nHost: a.test\r\n\r\n", 505),
    ("HTTP/3.1", b"GET / HTTP/3.1\r\nHost: a.test\r\n\r\n", 505),
    ("unknown method", b"FROB / HTTP/1.1\r\nHost: a.test\r\n\r\n", 501),
    ("lower-case method", b"get / HTTP/1.1\r\nHost: a.test\r\n\r\n", 501),
    ("RTSP method", b"DESCRIBE / HTTP/1.1\r\nHost: a.test\r\n\r\n", 501),
    ("CONNECT", b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", 501),
    ("target too long", b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a.test\r\n\r\n", 414),
    ("endless target", b"GET /" + b"a" * 9000, 414),
    ("endless method", b"A" * 9000, 414),
    # Fields.
    ("space before the colon", GET + b"A : b\r\n\r\n", 400),
    ("tab before the colon", GET + b"A\t: b\r\n\r\n", 400),
    ("no colon", GET + b"A\r\n\r\n", 400),
    ("empty name", GET + b": b\r\n\r\n", 400),
    ("name with a space", GET + b"A B: c\r\n\r\n", 400),
    ("8-bit name", GET + b"\xc3\x84: c\r\n\r\n", 400),
    ("obs-fold with a space", GET + b"A: b\r\n c\r\n\r\n", 400),
    ("obs-fold with a tab", GET + b"A: b\r\n\tc\r\n\r\n", 400),
    ("fold of the first field", b"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", 400),
    ("white space alone on a line", GET + b" \r\n\r\n", 400),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", GET + b"Host: a.test\r\n\r\n", 400),
    ("bad Host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("too many fields", GET + b"A: b\r\n" * 100 + b"\r\n", 431),
    ("fields too large", GET + b"A: " + b"b" * 33_000 + b"\r\n\r\n", 431),
    ("endless field", GET + b"A: " + b"b" * 40_000, 431),
    ("unknown expectation", POST + b"Expect: 200-maybe\r\nContent-Length: 1\r\n\r\n", 417),
    # Smuggling: two readings of where the message ends.
    ("CL and TE", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("TE and CL", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("CL 0 and TE", POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("CL and unknown TE", POST + b"Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\nhello", 400),
    ("TE in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    ("chunked twice in a line", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 501),
    ("chunked twice", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
    ("chunked then identity", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 501),
    ("identity", POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    ("gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ("chunked with a parameter", POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n", 501),
    ("quoted chunked", POST + b'Transfer-Encoding: "chunked"\r\n\r\n', 501),
    ("empty TE", POST + b"Transfer-Encoding:\r\n\r\n", 501),
    ("TE with a vertical tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
    ("TE with a tab behind", POST + b"Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n", 400),
    ("length with a tab before", POST + b"X: y\r\nContent-Length:\t5\r\n\r\nhello", 400),
    ("TE : with a space", POST + b"Transfer-Encoding : chunked\r\n\r\n", 400),
    ("TE folded", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n", 400),
    ("two equal CLs", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("two CLs", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    ("CL list", POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    ("signed CL", POST + b"Content-Length: +5\r\n\r\nhello", 400),
    ("negative CL", POST + b"Content-Length: -5\r\n\r\nhello", 400),
    ("hex CL", POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    ("CL with an underscore", POST + b"Content-Length: 1_0\r\n\r\nhello", 400),
    ("CL with a point", POST + b"Content-Length: 5.0\r\n\r\nhello", 400),
    ("CL in Arabic digits", POST + b"Content-Length: \xd9\xa5\r\n\r\nhello", 400),
    ("empty CL", POST + b"Content-Length:\r\n\r\nhello", 400),
    ("CL of 19 digits", POST + b"Content-Length: 1000000000000000000\r\n\r\nhello", 400),
    ("CL over the limit", POST + b"Content-Length: 1073741825\r\n\r\nhello", 413),
]  # fmt: skip

BAD_BODIES = [
    ("0x size", b"0x1\r\na\r\n", 400),
    ("underscore in the size", b"1_0\r\n", 400),
    ("signed size", b"+1\r\na\r\n", 400),
    ("negative size", b"-1\r\na\r\n", 400),
    ("space before the size", b" 1\r\na\r\n", 400),
    ("space after the size", b"1 \r\na\r\n", 400),
    ("no size", b"\r\na\r\n", 400),
    ("17 digits", b"00000000000000001\r\na\r\n", 400),
    ("endless digits", b"0" * 300, 400),
    ("bare LF after the size", b"1\na\r\n", 400),
    ("bare CR after the size", b"1\ra\r\n", 400),
    ("CR CR LF", b"1\r\r\na\r\n", 400),
    ("bare LF after the data", b"1\r\na\n0\r\n\r\n", 400),
    ("data too long", b"1\r\nab\r\n", 400),
    ("data too short", b"3\r\na\r\n0\r\n\r\n", 400),
    ("bare LF in an extension", b"1;a\nb\r\na\r\n", 400),
    ("quoted CRLF in an extension", b'1;a="\r\n"\r\na\r\n', 400),
    ("quoted LF in an extension", b'1;a="\n"\r\na\r\n', 400),
    ("unclosed quote", b'1;a="b\r\na\r\n', 400),
    ("extension without a name", b"1;\r\na\r\n", 400),
    ("extension without a value", b"1;a=\r\na\r\n", 400),
    ("NUL in an extension", b"1;a\0\r\na\r\n", 400),
    ("extension too long", b"1;" + b"a" * 257 + b"\r\na\r\n", 400),
    ("endless extension", b"1;" + b"a" * 9000, 400),
    ("trailer without a colon", b"0\r\nA\r\n\r\n", 400),
    ("trailer with a space", b"0\r\nA : b\r\n\r\n", 400),
    ("trailer fold", b"0\r\nA: b\r\n c\r\n\r\n", 400),
    ("trailer with bare LF", b"0\r\nA: b\n\r\n\r\n", 400),
    ("pseudo-header trailer", b"0\r\n:path: /\r\n\r\n", 400),
    ("end with bare LF", b"0\r\n\n", 400),
    ("too many trailers", b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n", 400),
    ("endless trailers", b"0\r\n" + b"A: b\r\n" * 2000, 431),
    ("chunk over the limit", b"40000001\r\n", 413),
    ("largest chunk of 16 digits", b"ffffffffffffffff\r\n", 413),
]  # fmt: skip


def named(table: list[tuple[str, bytes, int]]) -> list[ParameterSet]:
    return [pytest.param(data, status, id=name) for name, data, status in table]


@both_engines
@pytest.mark.parametrize(("data", "status"), named(BAD_HEADS))
def test_a_malformed_head_is_refused_once_and_the_connection_closes(engine: Maker, data: bytes, status: int) -> None:
    account, output, closing = converse(engine, [data + GET + b"\r\n"] if data.endswith(b"\r\n\r\n") else [data])
    assert [(entry[0], entry[2]) for entry in account] == [("refused", status)]
    assert output.count(b"HTTP/1.1 ") == 1
    assert b"connection: close\r\n" in output
    assert closing


@both_engines
@pytest.mark.parametrize(("data", "status"), named(BAD_BODIES))
def test_a_malformed_chunk_is_refused_and_what_follows_is_never_a_request(
    engine: Maker, data: bytes, status: int
) -> None:
    account, output, closing = converse(engine, [CHUNKED + b"2\r\nok\r\n" + data + GET + b"\r\n"])
    assert [entry[0] for entry in account] == ["request", "body", "refused"]
    assert account[1][2].startswith(b"ok")
    assert account[2][2] == status
    assert account[2][5], "the fault is in the body"
    assert output.count(b"HTTP/1.1 ") == 1
    assert closing


@pytest.mark.parametrize(
    ("data", "status"), named([*BAD_HEADS, *((name, CHUNKED + body, status) for name, body, status in BAD_BODIES)])
)
def test_the_verdict_is_the_same_byte_by_byte(data: bytes, status: int) -> None:
    whole = converse(HttptoolsAdapter, [data])
    bytewise = converse(HttptoolsAdapter, [data[i : i + 1] for i in range(len(data))])
    assert bytewise == whole
    assert whole[0][-1][2] == status


@both_engines
@pytest.mark.parametrize(
    "head",
    [
        GET + b"A:\r\nB: \t \r\nC:c\r\nD: d\t \r\nE: \xc3\xa4 \x80\xff\r\n\r\n",
        b"\r\n\r\n" + GET + b"\r\n",
        b"GET https://b.test/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: a.test\r\n\r\n",
        b"GET /" + b"a" * 8191 + b" HTTP/1.9\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n",
        b"GET /" + b"a" * 8191 + b" HTTP/1.1\r\nHost: a.test\r\n\r\n",
        GET + b"X: y\r\n" * 99 + b"\r\n",
        GET + b"Content-Length: 0\r\n\r\n",
        GET + b"X-Content-Length: 7, 7\r\nX-Transfer-Encoding: y\r\n\r\n",
        GET + b"!#$%&'*+-.^_`|~09Az: y\r\n\r\n",
    ],
)  # fmt: skip
def test_unusual_but_valid_heads_pass(engine: Maker, head: bytes) -> None:
    account, output, _ = converse(engine, [head])
    assert [entry[0] for entry in account] == ["request"]
    assert output.startswith(b"HTTP/1.1 200 OK\r\n")


@both_engines
@pytest.mark.parametrize("method", sorted(KNOWN_METHODS - {b"CONNECT"}))
def test_both_engines_know_every_known_method(engine: Maker, method: bytes) -> None:
    account = told(make(engine).receive(method + b" / HTTP/1.1\r\nHost: a.test\r\n\r\n"))
    assert [(entry[0], entry[2]) for entry in account] == [("request", method.decode())]


@both_engines
@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (b'5;a;b=c;d="e;\\"f"\r\nhello\r\n0;last\r\n\r\n', b"hello"),
        (b"5 ; a = b\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"0\r\n\r\n", b""),
        (b"1;" + b"a" * 255 + b"\r\na\r\n0\r\n\r\n", b"a"),
    ],
)
def test_chunked_bodies_are_read(engine: Maker, body: bytes, content: bytes) -> None:
    account, _, closing = converse(engine, [CHUNKED + body + GET + b"\r\n"])
    expected = ["request", "body", "ended", "request"] if content else ["request", "ended", "request"]
    assert [entry[0] for entry in account] == expected
    assert not content or account[1][2] == content
    assert not closing


@both_engines
def test_trailers_are_checked_and_framing_fields_dropped(engine: Maker) -> None:
    trailers = b"Digest: x\r\nContent-Length: 5\r\nTransfer-Encoding: y\r\nHost: evil\r\nAuthorization: z\r\nB:  c \r\n"
    account, _, closing = converse(engine, [CHUNKED + b"1\r\na\r\n0\r\n" + trailers + b"\r\n" + GET + b"\r\n"])
    assert account[2] == ("ended", 1, ((b"digest", b"x"), (b"b", b"c")))
    assert account[3][0] == "request"
    assert not closing


@both_engines
def test_one_byte_chunks_are_bounded(engine: Maker) -> None:
    adapter = make(engine, chunk_overhead_bytes=1000)
    account = told(adapter.receive(CHUNKED + b"1\r\na\r\n" * 2000))
    assert [entry[0] for entry in account] == ["request", "body", "refused"]
    assert account[2][2] == 400
    assert len(account[1][2]) < 1000


@both_engines
def test_chunks_of_a_useful_size_are_not_bounded_by_their_number(engine: Maker) -> None:
    adapter = make(engine, chunk_overhead_bytes=100)
    account = told(adapter.receive(CHUNKED + b"10\r\n" + b"a" * 16 + b"\r\n" + b"10\r\n0123456789abcdef\r\n" * 500))
    assert [entry[0] for entry in account] == ["request", "body"]
    assert len(account[1][2]) == 16 * 501


@both_engines
def test_a_chunked_body_over_the_limit_is_cut_off_where_it_passes_it(engine: Maker) -> None:
    adapter = make(engine, request_body_bytes=10)
    account = told(adapter.receive(CHUNKED + b"8\r\n12345678\r\n3\r\nabc\r\n0\r\n\r\n"))
    assert account[1:] == [("body", 1, b"12345678"), ("refused", 1, 413, "POST", b"/", True)]


@pytest.mark.parametrize("padding", range(-3, 4))
def test_the_limits_are_exact_at_their_borders(padding: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * (256 - 32 + padding) + b"\r\n\r\n"
    assert len(head) == 256 + padding
    # from_http1 counts 32 for each of the fields on top; the guard's bound is what is tested here.
    guard = Http1Guard(dataclasses.replace(Limits(), request_head_bytes=256))
    status = 200
    try:
        assert guard.take_head(head) is not None
    except Refusal as refusal:
        status = refusal.status
    assert status == (200 if padding <= 0 else 431)
    whole = converse(HttptoolsAdapter, [head], request_head_bytes=256)
    assert converse(HttptoolsAdapter, [bytes((byte,)) for byte in head], request_head_bytes=256) == whole


chunk = st.builds(
    lambda data, ext, zeros: b"0" * zeros + b"%x" % len(data) + ext + b"\r\n" + data + b"\r\n",
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"", b"", b";a", b";a=b", b' ; a="x y"']),
    st.integers(0, 3),
)


@given(st.lists(chunk, max_size=8), st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=150, deadline=None)
def test_what_the_guard_passes_the_bare_engines_read_the_same(chunks: list[bytes], cuts: list[int]) -> None:
    """The guard's idea of a chunked body, held against two parsers that know nothing of it."""
    guard = Http1Guard(Limits())
    assert guard.take_head(CHUNKED) is not None
    pieces_in = filter(None, cut_at(b"".join(chunks) + b"0\r\nA: b\r\n\r\n", cuts))
    passed = b"".join(map(guard.take_body, pieces_in))
    assert guard.fault is None
    assert not guard.in_body

    connection = h11.Connection(h11.SERVER)
    connection.receive_data(CHUNKED + passed)
    read = b""
    while type(event := connection.next_event()) is not h11.EndOfMessage:
        assert event is not h11.NEED_DATA
        if isinstance(event, h11.Data):
            read += event.data
    assert connection.trailing_data == (b"", False)

    pieces: list[bytes] = []

    class Collector:
        on_body = staticmethod(pieces.append)

    httptools.HttpRequestParser(Collector()).feed_data(CHUNKED + passed)
    expected = b"".join(item.partition(b"\r\n")[2][:-2] for item in chunks)
    assert read == b"".join(pieces) == expected
