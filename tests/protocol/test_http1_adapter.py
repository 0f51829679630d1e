"""Dialogues with both HTTP/1 adapters: bytes in, events out, answers in, bytes out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.body import PUSHED_BODY
from securelight.model.errors import Http2Code, Refusal
from securelight.model.request import Request
from securelight.model.response import Response
from securelight.model.status import error_response
from securelight.protocol.events import BodyReceived
from securelight.protocol.http1_adapter import Http1Adapter
from tests.protocol.http1_support import OK, Maker, both_engines, converse, cut_at, make, told, without_date

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
EVERYTHING = 1 << 30


def post(body: bytes, *fields: bytes, length: int | None = None) -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    count = len(body) if length is None else length
    return b"POST /up HTTP/1.1\r\nHost: a.test\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, count, body)


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"POST /up HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


def sent(adapter: Http1Adapter) -> bytes:
    return bytes(adapter.take_output(EVERYTHING))


def answer(adapter: Http1Adapter, stream_id: int, response: Response = OK) -> bytes:
    assert isinstance(response.body, bytes)
    adapter.respond(stream_id, response, response.body, end=True)
    return sent(adapter)


# Keep-alive and pipelining.


@both_engines
def test_requests_follow_each_other_on_one_connection(engine: Maker) -> None:
    adapter = make(engine)
    for number in (1, 2, 3):
        (request,) = adapter.receive(GET)
        assert isinstance(request, Request)
        assert request.stream_id == number
        assert adapter.open_streams == 1
        output = answer(adapter, number)
        assert without_date(output) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nserver: securelight\r\n\r\nok"
        assert re.search(rb"\r\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", output)
        assert adapter.open_streams == 0
        assert not adapter.closing


def state(adapter: Http1Adapter) -> dict[str, bool]:
    return {"ready": adapter.input_ready, "wants": adapter.wants_input, "partial": adapter.partial_head}


@both_engines
def test_pipelined_requests_wait_for_the_answer_before_them(engine: Maker) -> None:
    adapter = make(engine)
    assert len(adapter.receive(GET + post(b"body") + GET)) == 1
    assert state(adapter) == {"ready": False, "wants": False, "partial": False}
    assert adapter.receive(b"") == []
    answer(adapter, 1)
    assert state(adapter) == {"ready": True, "wants": False, "partial": True}
    assert [entry[0] for entry in told(adapter.receive(b""))] == ["request", "body", "ended"]
    answer(adapter, 2)
    assert [entry[0] for entry in told(adapter.receive(b""))] == ["request"]
    assert state(adapter) == {"ready": False, "wants": True, "partial": False}
    answer(adapter, 3)
    assert state(adapter) == {"ready": False, "wants": True, "partial": False}


@both_engines
def test_an_incomplete_pipelined_head_does_not_spin(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET + GET[:10])
    assert state(adapter) == {"ready": False, "wants": False, "partial": False}
    answer(adapter, 1)
    assert state(adapter) == {"ready": True, "wants": False, "partial": True}
    assert adapter.receive(b"") == []
    assert state(adapter) == {"ready": False, "wants": True, "partial": True}
    assert [entry[0] for entry in told(adapter.receive(GET[10:]))] == ["request"]


@both_engines
@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: foo, CLOSE\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ],
)
def test_the_last_request_closes_and_nothing_after_it_is_read(engine: Maker, head: bytes) -> None:
    adapter = make(engine)
    assert len(adapter.receive(head + GET)) == 1
    assert adapter.receive(GET) == ()
    assert b"\r\nconnection: close\r\n" in answer(adapter, 1)
    assert adapter.closing
    assert adapter.receive(GET) == ()


@both_engines
def test_the_number_of_requests_on_a_connection_is_bounded(engine: Maker) -> None:
    account, output, closing = converse(engine, [GET * 5], requests_per_connection=3)
    assert len(account) == 3
    assert output.count(b"connection: close") == 1
    assert closing


@both_engines
def test_a_lone_crlf_after_a_request_is_not_the_beginning_of_another(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(post(b"x"))
    answer(adapter, 1)
    assert adapter.receive(b"\r\n") == []
    assert not adapter.partial_head
    assert len(adapter.receive(GET)) == 1


# Response framing.


@both_engines
def test_a_body_of_unknown_length_is_chunked(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    adapter.respond(1, Response(200, (), PUSHED_BODY), b"", end=False)
    adapter.write(1, b"hello", end=False)
    adapter.write(1, b"", end=False)
    adapter.write(1, b"x" * 17, end=True)
    head, _, body = sent(adapter).partition(b"\r\n\r\n")
    assert b"\r\ntransfer-encoding: chunked" in head
    assert b"content-length" not in head
    assert body == b"5\r\nhello\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"
    assert not adapter.closing


@both_engines
def test_http_1_0_gets_a_body_of_unknown_length_until_the_close(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(b"GET / HTTP/1.0\r\n\r\n")
    adapter.respond(1, Response(200, (), PUSHED_BODY), b"", end=False)
    adapter.write(1, b"hello", end=True)
    head, _, body = sent(adapter).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"\r\nconnection: close" in head
    assert body == b"hello"
    assert adapter.closing
    assert not adapter.cut


@both_engines
def test_trailers_end_a_chunked_body_and_are_dropped_elsewhere(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    adapter.respond(1, Response(200, (), PUSHED_BODY), b"a", end=False)
    adapter.end_with_trailers(1, ((b"digest", b"x"),))
    assert sent(adapter).endswith(b"\r\n\r\n1\r\na\r\n0\r\ndigest: x\r\n\r\n")
    adapter.receive(GET)
    adapter.respond(2, Response(200, (), PUSHED_BODY, content_length=1), b"a", end=False)
    adapter.end_with_trailers(2, ((b"digest", b"x"),))
    assert sent(adapter).endswith(b"\r\n\r\na")
    assert not adapter.closing


@both_engines
@pytest.mark.parametrize(
    ("method", "status", "length_line"),
    [
        (b"HEAD", 200, b"content-length: 2\r\n"),
        (b"GET", 204, b""),
        (b"GET", 304, b""),
        (b"GET", 205, b"content-length: 0\r\n"),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_an_answer_without_content_has_none(
    engine: Maker, method: bytes, status: int, length_line: bytes, shared: bool
) -> None:
    adapter = make(engine)
    for number in (1, 2):  # the second time from the kept head
        adapter.receive(GET.replace(b"GET", method))
        adapter.respond(number, Response(status, (), b"ok", shared=shared), b"ok", end=True)
        output = sent(adapter)
        assert output.endswith(b"\r\n\r\n")
        assert output.count(b"\r\n\r\n") == 1
        lines = re.findall(rb"content-length: \d+\r\n|transfer-encoding.*\r\n", output)
        assert lines == ([length_line] if length_line else [])
    assert not adapter.closing


@both_engines
def test_the_kept_head_of_a_shared_response_is_the_same_as_a_fresh_one(engine: Maker) -> None:
    shared = Response(200, ((b"etag", b'"x"'),), b"ok", shared=True)
    outputs = []
    for response in (shared, shared, Response(200, ((b"etag", b'"x"'),), b"ok")):
        adapter = make(engine)
        adapter.receive(GET)
        outputs.append(without_date(answer(adapter, 1, response)))
        adapter.receive(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        outputs.append(without_date(answer(adapter, 2, response)))
    assert outputs[0:2] == outputs[2:4] == outputs[4:6]
    assert outputs[0] != outputs[1]


@both_engines
@pytest.mark.parametrize(
    "field",
    [
        (b"location", b"/x\r\nset-cookie: a=b"),
        (b"location", b"/x\nset-cookie: a=b"),
        (b"location", b"/x\r"),
        (b"location", b"/x\0"),
        (b"location", b"/x\x1b[0m"),
        (b"x\r\ny", b""),
        (b"x: y\r\nz", b""),
        (b"x y", b""),
        (b"", b"x"),
        (b"content-length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
    ],
)
def test_a_field_that_would_break_out_of_its_line_is_never_queued(engine: Maker, field: tuple[bytes, bytes]) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    for shared in (False, True):
        with pytest.raises(ValueError, match="field"):
            adapter.respond(1, Response(200, (field,), b"ok", shared=shared), b"ok", end=True)
    assert sent(adapter) == b""
    assert answer(adapter, 1, error_response(Refusal(500))).startswith(b"HTTP/1.1 500 ")


@both_engines
def test_trailers_that_would_break_out_are_never_queued(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    adapter.respond(1, Response(200, (), PUSHED_BODY), b"a", end=False)
    before = sent(adapter)
    with pytest.raises(ValueError, match="field"):
        adapter.end_with_trailers(1, ((b"a", b"b\r\n\r\nHTTP/1.1 200 OK"),))
    assert before.endswith(b"1\r\na\r\n")
    assert sent(adapter) == b""


@both_engines
@pytest.mark.parametrize("status", [100, 101, 199, 600, 0])
def test_only_final_statuses_are_answers(engine: Maker, status: int) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    with pytest.raises(ValueError, match="status"):
        adapter.respond(1, Response(status), b"", end=True)
    assert sent(adapter) == b""


@both_engines
@given(limits=st.lists(st.integers(1, 50), min_size=1, max_size=5), sizes=st.lists(st.integers(1, 90), max_size=8))
@settings(max_examples=60, deadline=None)
def test_output_comes_whole_in_any_slices(engine: Maker, limits: list[int], sizes: list[int]) -> None:
    reference, sliced = make(engine), make(engine)
    for adapter in (reference, sliced):
        adapter.receive(GET)
        adapter.respond(1, Response(200, (), PUSHED_BODY), b"begin", end=False)
    output = b""
    for number, size in enumerate(sizes):
        reference.write(1, b"x" * size, end=False)
        sliced.write(1, b"x" * size, end=False)
        piece = sliced.take_output(limits[number % len(limits)])
        assert len(piece) <= limits[number % len(limits)]
        output += piece
    while piece := sliced.take_output(limits[0]):
        output += piece
    assert without_date(output) == without_date(sent(reference))


@both_engines
def test_a_slow_reader_fills_the_queue_and_no_more(engine: Maker) -> None:
    adapter = make(engine, response_buffer_bytes=1000)
    adapter.receive(GET)
    assert adapter.capacity(1) == 1000, "what the first data may be"
    assert adapter.capacity(3) == -1
    adapter.respond(1, Response(200, (), PUSHED_BODY), b"", end=False)
    while (room := adapter.capacity(1)) > 0:
        adapter.write(1, b"x" * room, end=False)
    assert adapter.capacity(1) == 0
    assert adapter.take_output(600)
    assert 0 < adapter.capacity(1) <= 600
    adapter.write(1, b"", end=True)
    assert adapter.capacity(1) == -1


@both_engines
def test_a_large_body_in_one_call_comes_out_in_slices(engine: Maker) -> None:
    adapter = make(engine)
    body = bytes(range(256)) * 1024
    adapter.receive(GET)
    adapter.respond(1, Response(200, (), body), body, end=True)
    slices = []
    while piece := adapter.take_output(65_536):
        slices.append(piece)
    assert max(map(len, slices)) <= 65_536
    assert b"".join(slices).endswith(b"\r\n\r\n" + body)


# Request bodies.


@both_engines
def test_a_refused_upgrade_is_an_ordinary_request_with_its_body(engine: Maker) -> None:
    upgrade = post(
        b"GET /smuggled HTTP/1.1\r\n\r\n", b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"!pgrade: x"
    )
    account, output, _ = converse(engine, [upgrade + GET])
    assert [entry[0] for entry in account] == ["request", "body", "ended", "request"]
    assert account[0][5] == (
        (b"host", b"a.test"), (b"upgrade", b"h2c"), (b"connection", b"Upgrade, HTTP2-Settings"), (b"!pgrade", b"x"),
        (b"content-length", b"26"),
    )  # fmt: skip
    assert account[1][2] == b"GET /smuggled HTTP/1.1\r\n\r\n"
    assert output.count(b"HTTP/1.1 200 OK") == 2


@both_engines
def test_100_continue_is_sent_once_and_only_where_it_is_waited_for(engine: Maker) -> None:
    adapter = make(engine)
    (request,) = adapter.receive(post(b"", b"Expect: 100-continue", length=4))
    assert isinstance(request, Request)
    assert request.expects_continue
    adapter.inform(1, 103, ())
    adapter.inform(2, 100, ())
    assert sent(adapter) == b""
    adapter.inform(1, 100, ())
    adapter.inform(1, 100, ())
    assert sent(adapter) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert told(adapter.receive(b"body")) == [("body", 1, b"body"), ("ended", 1, ())]
    answer(adapter, 1)
    assert not adapter.closing
    adapter.receive(post(b"body", b"Expect: 100-continue"))
    adapter.inform(2, 100, ())
    assert sent(adapter) == b"", "the body is here already"
    answer(adapter, 2)
    adapter.receive(GET)
    adapter.inform(3, 100, ())
    assert sent(adapter) == b""


@both_engines
def test_a_final_answer_to_an_expectation_closes(engine: Maker) -> None:
    """Whether the client sends the body after it is not known, so what follows cannot be read as a request."""
    adapter = make(engine)
    adapter.receive(post(b"", b"Expect: 100-continue", length=40))
    assert b"connection: close" in answer(adapter, 1, Response(413))
    assert adapter.closing
    assert adapter.receive(GET) == ()


@both_engines
def test_an_unread_body_is_drained_and_never_read_as_a_request(engine: Maker) -> None:
    adapter = make(engine)
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
    adapter.receive(post(smuggled[:10], length=len(smuggled)))
    assert b"connection: close" not in answer(adapter, 1)
    assert adapter.open_streams == 1
    assert adapter.partial_head, "the head deadline bounds it"
    account = told(adapter.receive(smuggled[10:] + GET))
    assert [(entry[0], entry[1], entry[3]) for entry in account] == [("request", 2, b"/")]
    assert not adapter.partial_head


@both_engines
def test_a_large_unread_body_closes_instead(engine: Maker) -> None:
    adapter = make(engine, drain_body_bytes=100)
    adapter.receive(post(b"x", length=102))
    assert b"connection: close" in answer(adapter, 1)
    assert adapter.closing
    assert adapter.receive(GET) == ()


@both_engines
def test_draining_a_chunked_body_is_bounded(engine: Maker) -> None:
    adapter = make(engine, drain_body_bytes=100)
    adapter.receive(chunked(b"x"))
    answer(adapter, 1)
    assert adapter.receive(b"5\r\nhello\r\n" * 5) == []
    assert not adapter.closing
    assert adapter.receive(b"5\r\nhello\r\n" * 10) == []
    assert adapter.closing


@both_engines
def test_a_fault_in_a_drained_body_just_closes(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(chunked(b"x"))
    answer(adapter, 1)
    assert adapter.receive(b"zz\r\n" + GET) == []
    assert adapter.closing
    assert sent(adapter) == b""


@both_engines
def test_a_fault_in_a_body_after_the_answer_began_leaves_it_to_end_and_closes(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(chunked(b"x"))
    adapter.respond(1, Response(200, (), PUSHED_BODY), b"", end=False)
    assert told(adapter.receive(b"zz\r\n" + GET)) == [("refused", 1, 400, "POST", b"/up", True)]
    adapter.respond(1, error_response(Refusal(400)), b"", end=True)
    adapter.write(1, b"", end=True)
    assert sent(adapter).count(b"HTTP/1.1 ") == 1
    assert adapter.closing


@both_engines
def test_the_answer_may_come_before_the_body_is_whole_and_the_body_still_arrives(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(chunked(b"one"))
    adapter.respond(1, Response(200, (), PUSHED_BODY), b"", end=False)
    (piece,) = adapter.receive(b"3\r\ntwo\r\n")
    assert isinstance(piece, BodyReceived)
    adapter.write(1, piece.data, end=False)
    assert told(adapter.receive(b"0\r\n\r\n")) == [("ended", 1, ())]
    assert adapter.open_streams == 1
    adapter.write(1, b"", end=True)
    assert adapter.open_streams == 0
    assert not adapter.closing


# Refusals without a head, and calls that come too late.


@both_engines
@pytest.mark.parametrize("begun", [b"", b"G", b"GET / HTTP/1.1\r\nHo", b"GET / HTTP/1.1\r\nHost: a.test\r\n\r"])
def test_408_answers_a_head_that_never_became_whole(engine: Maker, begun: bytes) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    answer(adapter, 1)
    adapter.receive(begun)
    assert adapter.partial_head is bool(begun)
    output = answer(adapter, 2, error_response(Refusal(408)))
    assert output.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"connection: close" in output
    assert adapter.closing
    assert not adapter.partial_head
    assert adapter.receive(GET[len(begun) :]) == ()


@both_engines
def test_408_does_not_answer_a_second_time_while_a_body_is_drained(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(post(b"x", length=50))
    answer(adapter, 1)
    assert answer(adapter, 2, error_response(Refusal(408))) == b""
    assert adapter.closing


@both_engines
def test_there_is_one_answer_to_a_request(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    assert answer(adapter, 1)
    assert answer(adapter, 1) == b""
    adapter.write(1, b"late", end=True)
    adapter.end_with_trailers(1, ())
    adapter.inform(1, 100, ())
    adapter.reset(1, Http2Code.CANCEL)
    assert sent(adapter) == b""
    assert not adapter.closing
    adapter.receive(GET)
    assert answer(adapter, 3) == b"", "not while 2 is open"
    assert answer(adapter, 1) == b""
    assert answer(adapter, 2)


@both_engines
def test_a_refusal_is_answered_to_head_without_a_body(engine: Maker) -> None:
    adapter = make(engine)
    (entry,) = told(adapter.receive(b"HEAD / HTTP/1.1\r\n\r\n"))
    assert entry == ("refused", 1, 400, "HEAD", b"/", False)
    assert answer(adapter, 1, error_response(Refusal(400))).endswith(b"connection: close\r\n\r\n")


@both_engines
def test_a_refusal_names_its_own_request_and_not_the_one_before(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    answer(adapter, 1)
    assert told(adapter.receive(b"\0")) == [("refused", 2, 400, "-", b"-", False)]


# The end.


@both_engines
@pytest.mark.parametrize("length", [None, 100])
def test_a_reset_leaves_a_broken_message(engine: Maker, length: int | None) -> None:
    adapter = make(engine)
    adapter.receive(GET + GET)
    adapter.respond(1, Response(200, (), PUSHED_BODY, content_length=length), b"some", end=False)
    adapter.reset(1, Http2Code.INTERNAL_ERROR)
    assert adapter.closing
    assert adapter.cut
    adapter.write(1, b"more", end=True)
    output = sent(adapter)
    assert not output.endswith(b"0\r\n\r\n")
    assert len(output.partition(b"\r\n\r\n")[2]) < 100
    assert adapter.receive(b"") == ()


@both_engines
def test_a_reset_before_the_answer_just_closes(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    adapter.reset(1, Http2Code.INTERNAL_ERROR)
    assert adapter.closing
    assert not adapter.cut
    assert answer(adapter, 1) == b""


@both_engines
@pytest.mark.parametrize("body", [b"shor", b"longer"])
def test_a_body_that_is_not_as_long_as_announced_never_reaches_into_the_next_answer(engine: Maker, body: bytes) -> None:
    for in_respond in (True, False):
        adapter = make(engine)
        adapter.receive(GET)
        response = Response(200, (), PUSHED_BODY, content_length=5)
        adapter.respond(1, response, body if in_respond else b"", end=in_respond)
        adapter.write(1, body, end=True)
        assert adapter.closing
        assert adapter.cut
        assert len(sent(adapter).partition(b"\r\n\r\n")[2]) < 5


@both_engines
def test_goodbye_closes_an_idle_connection_at_once(engine: Maker) -> None:
    adapter = make(engine)
    adapter.goodbye()
    assert adapter.closing
    adapter = make(engine)
    adapter.receive(GET)
    answer(adapter, 1)
    adapter.goodbye()
    assert adapter.closing


@both_engines
def test_goodbye_lets_the_open_answer_end(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(post(b"bo", length=4))
    adapter.goodbye()
    assert not adapter.closing
    assert told(adapter.receive(b"dy" + GET)) == [("body", 1, b"dy"), ("ended", 1, ())]
    assert b"connection: close" in answer(adapter, 1)
    assert adapter.closing


@both_engines
def test_an_announced_shutdown_serves_one_more_request_and_says_so(engine: Maker) -> None:
    adapter = make(engine)
    adapter.announce_shutdown()
    assert not adapter.closing
    assert len(adapter.receive(GET)) == 1
    assert b"connection: close" in answer(adapter, 1)
    assert adapter.closing


@both_engines
def test_an_announced_shutdown_keeps_what_a_response_head_has_promised(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    adapter.respond(1, Response(200, (), PUSHED_BODY, content_length=5), b"12", end=False)
    adapter.announce_shutdown()
    adapter.write(1, b"345", end=True)
    assert not adapter.closing
    assert len(adapter.receive(GET)) == 1
    assert b"connection: close" in answer(adapter, 2)
    assert adapter.closing


@both_engines
def test_goodbye_still_answers_a_request_that_has_begun_to_arrive(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET[:9])
    adapter.goodbye()
    assert not adapter.closing
    assert len(adapter.receive(GET[9:] + GET)) == 1
    assert b"connection: close" in answer(adapter, 1)
    assert adapter.closing


@both_engines
def test_the_end_of_input_aborts_an_open_body(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(post(b"x", length=4))
    assert told(adapter.receive_end()) == [("aborted", 1, True)]
    assert adapter.closing
    assert answer(adapter, 1) == b""
    assert adapter.receive_end() == ()


@both_engines
def test_the_end_of_input_aborts_the_body_of_a_pipelined_request_too(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET + post(b"x", length=4))
    adapter.receive_end()
    answer(adapter, 1)
    assert [entry[0] for entry in told(adapter.receive(b""))] == ["request", "body", "aborted"]
    assert adapter.closing


@both_engines
def test_requests_that_came_whole_before_the_end_of_input_are_answered(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET + GET + GET[:5])
    assert adapter.receive_end() == ()
    assert b"connection: close" not in answer(adapter, 1)
    assert len(adapter.receive(b"")) == 1
    answer(adapter, 2)
    assert adapter.input_ready
    assert adapter.receive(b"") == []
    assert adapter.closing


@both_engines
def test_the_end_of_input_closes_an_idle_or_half_headed_connection(engine: Maker) -> None:
    for data in (b"", GET[:7]):
        adapter = make(engine)
        adapter.receive(data)
        assert adapter.receive_end() == ()
        assert adapter.closing


@both_engines
def test_failing_ends_the_connection_with_what_is_queued(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    adapter.respond(1, OK, b"ok", end=True)
    adapter.fail(Http2Code.INTERNAL_ERROR)
    assert adapter.closing
    assert not adapter.cut
    assert sent(adapter).endswith(b"ok")
    assert adapter.receive(GET) == ()


# Any segmentation, any bytes.

MESSAGES = [
    GET,
    post(b"hello"),
    post(b""),
    chunked(b"one", b"two" * 9, b"\r\n0\r\n\r\n") + b"0\r\nA: b\r\n\r\n",
    chunked(b"x") + b"0;a=b\r\n\r\n",
    b"\r\n" + GET,
    post(b"x", b"Upgrade: a", b"Connection: upgrade"),
    GET.replace(b"1.1", b"1.0"),
    chunked(b"x") + b"1\nx",
    b"GET / HTTP/3.0\r\n\r\n",
    post(b"x", b"Transfer-Encoding: chunked"),
]


@both_engines
@given(messages=st.lists(st.sampled_from(MESSAGES), max_size=6), cuts=st.lists(st.integers(0, 1000), max_size=12))
@settings(max_examples=150, deadline=None)
def test_segments_do_not_matter(engine: Maker, messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(messages)
    account, output, closing = converse(engine, [data])
    piecewise, piecewise_output, piecewise_closing = converse(engine, cut_at(data, cuts))
    assert (piecewise, piecewise_output, piecewise_closing) == (account, output, closing)
