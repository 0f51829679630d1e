"""Responses of servers behind us: what is read of them, however it is cut, and what is refused."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.limits import Limits
from securelight.protocol.http1_responses import Http1Responses, chunk, last_chunk, request_head
from securelight.protocol.response_head import ResponseFault, ResponseHead

LIMITS = Limits(upstream_head_bytes=2_000, upstream_fields=20, chunk_extension_bytes=16, chunk_overhead_bytes=200)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Told:
    """What a reader made of a response."""

    def __init__(self, pieces: list[bytes], method: str = "GET", *, ends: bool = True) -> None:
        self.reader = Http1Responses(LIMITS)
        self.reader.begin(method)
        self.heads: list[ResponseHead] = []
        self.body = b""
        self.fault = ""
        try:
            for piece in pieces:
                self._take(piece)
            if ends:
                self.reader.end_of_input()
        except ResponseFault as fault:
            self.fault = str(fault)

    def _take(self, piece: bytes) -> None:
        reader = self.reader
        while not self.heads or self.heads[-1].status < 200:
            head = reader.head(piece)
            piece = b""
            if head is None:
                return
            self.heads.append(head)
        if not reader.whole:
            self.body += reader.body(piece)

    @property
    def verdict(self) -> tuple[list[int], bytes, bool, bool]:
        return [head.status for head in self.heads], self.body, self.reader.whole, bool(self.fault)


WHOLE = [
    ("length", OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    ("no length", OK + b"\r\nhello", b"hello"),
    ("empty", OK + b"Content-Length: 0\r\n\r\n", b""),
    ("chunks", CHUNKED + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n", b"hello world"),
    ("trailers", CHUNKED + b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", b"a"),
    ("no reason", b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", b"a"),
    ("8-bit reason", b"HTTP/1.1 200 \xff\r\nContent-Length: 1\r\n\r\na", b"a"),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ("not modified", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
    ("hints", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", b"a"),
    ("continue", b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK + b"Content-Length: 1\r\n\r\na", b"a"),
]

REFUSED = [
    ("lower-case name", b"http/1.1 200 OK\r\n\r\n"),
    ("HTTP/2", b"HTTP/2 200 OK\r\n\r\n"),
    ("HTTP/1.2", b"HTTP/1.2 200 OK\r\n\r\n"),
    ("HTTP/0.9", b"<html>hello</html>\r\n\r\n"),
    ("two-digit status", b"HTTP/1.1 20 OK\r\n\r\n"),
    ("status 600", b"HTTP/1.1 600 OK\r\n\r\n"),
    ("status 000", b"HTTP/1.1 000 OK\r\n\r\n"),
    ("space first", b" HTTP/1.1 200 OK\r\n\r\n"),
    ("line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    ("bare CR", OK + b"A: b\rC: d\r\n\r\n"),
    ("NUL", OK + b"A: \0\r\n\r\n"),
    ("space before the colon", OK + b"Content-Length : 5\r\n\r\nhello"),
    ("folded", OK + b"A: b\r\n c\r\n\r\n"),
    ("no colon", OK + b"what\r\n\r\n"),
    ("empty name", OK + b": b\r\n\r\n"),
    ("two lengths", OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    ("the same length twice", OK + b"Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello"),
    ("list of lengths", OK + b"Content-Length: 5, 5\r\n\r\nhello"),
    ("negative length", OK + b"Content-Length: -5\r\n\r\nhello"),
    ("signed length", OK + b"Content-Length: +5\r\n\r\nhello"),
    ("empty length", OK + b"Content-Length:\r\n\r\nhello"),
    ("length and chunks", OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("another coding", OK + b"Transfer-Encoding: gzip\r\n\r\nhello"),
    ("two codings", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("almost chunked", OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunks of 1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("no content with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
    ("no content with chunks", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("reset content with content", b"HTTP/1.1 205 Reset\r\nContent-Length: 5\r\n\r\nhello"),
    ("switched unasked", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ("hints with a body", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello"),
    ("endless hints", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20),
    ("large head", OK + b"A: " + b"b" * 2_000 + b"\r\n\r\n"),
    ("many fields", OK + b"A: b\r\n" * 21 + b"\r\n"),
    ("cut in the head", OK + b"A: b\r\n"),
    ("cut in the body", OK + b"Content-Length: 6\r\n\r\nhello"),
    ("cut in a chunk", CHUNKED + b"5\r\nhel"),
    ("cut behind a chunk", CHUNKED + b"5\r\nhello"),
    ("cut before the last chunk", CHUNKED + b"5\r\nhello\r\n"),
    ("cut in the last chunk", CHUNKED + b"5\r\nhello\r\n0\r\n"),
    ("cut in the trailers", CHUNKED + b"0\r\nA: b\r\n"),
    ("no size", CHUNKED + b"\r\nhello\r\n0\r\n\r\n"),
    ("signed size", CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n"),
    ("0x size", CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("size of 16 digits", CHUNKED + b"0000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("bare LF behind the size", CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    ("bare LF behind the chunk", CHUNKED + b"5\r\nhello\n0\r\n\r\n"),
    ("chunk too long", CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n"),
    ("long extension", CHUNKED + b"5;" + b"a" * 40 + b"\r\nhello\r\n0\r\n\r\n"),
    ("bad trailers", CHUNKED + b"0\r\nwhat\r\n\r\n"),
    ("trailers with a bare LF", CHUNKED + b"0\r\nA: b\nC: d\r\n\r\n"),
    ("large trailers", CHUNKED + b"0\r\nA: " + b"b" * 9_000 + b"\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "body"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
def test_a_whole_response_however_it_is_cut(data: bytes, body: bytes) -> None:
    at_once = Told([data])
    byte_by_byte = Told([data[index : index + 1] for index in range(len(data))])

    assert at_once.fault == ""
    assert at_once.body == body
    assert at_once.reader.whole
    assert byte_by_byte.verdict == at_once.verdict


@pytest.mark.parametrize("data", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_broken_response_is_never_whole_however_it_is_cut(data: bytes) -> None:
    for told in (Told([data]), Told([data[index : index + 1] for index in range(len(data))])):
        assert told.fault
        assert not told.reader.reusable


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([row[1] for row in (*WHOLE, *REFUSED)]), st.lists(st.integers(1, 60), max_size=12))
def test_the_verdict_does_not_depend_on_the_cuts(data: bytes, sizes: list[int]) -> None:
    pieces = []
    rest = data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    cut = Told([piece for piece in [*pieces, rest] if piece])
    whole = Told([data])

    assert (bool(cut.fault), cut.reader.whole) == (bool(whole.fault), whole.reader.whole)
    if not whole.fault:
        assert cut.body == whole.body


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_noise_is_refused_or_read_and_never_crashes(noise: bytes) -> None:
    Told([noise])
    Told([CHUNKED, noise])
    Told([OK + noise + b"\r\n\r\n"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6))
def test_what_h11_writes_is_read_as_it_was_meant(pieces: list[bytes]) -> None:
    writer = h11.Connection(h11.SERVER)
    writer.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(writer.next_event(), h11.Request)
    sent = writer.send(h11.Response(status_code=200, headers=[]))
    sent = (sent or b"") + b"".join(writer.send(h11.Data(data=piece)) or b"" for piece in pieces)
    sent += writer.send(h11.EndOfMessage(headers=[("x-sum", "1")])) or b""
    told = Told([sent], ends=False)

    assert (told.fault, told.body) == ("", b"".join(pieces))
    assert told.reader.reusable
    assert told.reader.trailers == ((b"x-sum", b"1"),)


@pytest.mark.parametrize(
    ("data", "method", "reusable"),
    [
        (OK + b"Content-Length: 2\r\n\r\nok", "GET", True),
        (OK + b"Content-Length: 2\r\n\r\nok!", "GET", False),
        (CHUNKED + b"0\r\n\r\n", "GET", True),
        (CHUNKED + b"0\r\n\r\nHTTP/1.1 200 OK\r\n", "GET", False),
        (OK + b"Content-Length: 2\r\n\r\n", "HEAD", True),
        (OK + b"Content-Length: 2\r\n\r\nok", "HEAD", False),
        (OK + b"Connection: Close\r\nContent-Length: 2\r\n\r\nok", "GET", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", False),
        (b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM TlRM\r\nContent-Length: 0\r\n\r\n", "GET", False),
        (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=ntlm\r\nContent-Length: 0\r\n\r\n", "GET", True),
        (OK + b"\r\nok", "GET", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", "GET", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", "GET", False),
    ],
)
def test_whether_another_request_may_follow(data: bytes, method: str, *, reusable: bool) -> None:
    told = Told([data], method, ends=False)

    assert told.fault == ""
    assert told.reader.reusable is reusable


def test_small_chunks_are_events_and_long_lines_for_nothing_are_an_attack() -> None:
    events = Told([CHUNKED + b"1\r\na\r\n" * 1000 + b"0\r\n\r\n"])
    attack = Told([CHUNKED + b"1;aaaaaaaaaaaaaaa\r\na\r\n" * 1000 + b"0\r\n\r\n"])

    assert (events.fault, len(events.body)) == ("", 1000)
    assert "far longer" in attack.fault


def test_a_request_as_h11_reads_it() -> None:
    fields = [(b"host", b"a.test"), (b"transfer-encoding", b"chunked"), (b"x-a", b"b c")]
    sent = request_head("POST", b"/a?b", fields) + chunk(b"hello") + last_chunk(((b"x-sum", b"1"),))
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(sent)
    head, data, end = reader.next_event(), reader.next_event(), reader.next_event()

    assert isinstance(head, h11.Request)
    assert (head.method, head.target, list(head.headers)) == (b"POST", b"/a?b", fields)
    assert isinstance(data, h11.Data)
    assert bytes(data.data) == b"hello"
    assert isinstance(end, h11.EndOfMessage)
    assert list(end.headers) == [(b"x-sum", b"1")]
