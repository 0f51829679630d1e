"""Responses whose body is at hand, on both HTTP/1 adapters: `respond_whole` does what `respond` does, where it fits."""

from __future__ import annotations

import itertools

import pytest

from securelight.model.errors import Http2Code
from securelight.model.response import Response
from tests.protocol.http1_support import Maker, both_engines, make, without_date

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
REQUESTS = {
    "get": GET,
    "close": GET[:-2] + b"Connection: close\r\n\r\n",
    "http/1.0": b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n",
    "unfinished post": b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nab",
    "expecting post": b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    "pipelined": GET + GET,
}
RESPONSES = {
    "own": Response(200, ((b"x-a", b"1"),), b"hello"),
    "shared": Response(200, ((b"x-a", b"1"),), b"hello", shared=True),
    "empty": Response(404, (), b"", shared=True),
    "of another length": Response(200, (), b"hell", content_length=4, shared=True),
}


@pytest.mark.parametrize(("request_name", "response_name"), [*itertools.product(REQUESTS, RESPONSES)])
@both_engines
def test_the_same_bytes_and_the_same_end(engine: Maker, request_name: str, response_name: str) -> None:
    response = RESPONSES[response_name]
    body = b"hello" if response.body else b""
    plain, whole = make(engine), make(engine)
    for adapter in (plain, whole):
        adapter.receive(REQUESTS[request_name])
    plain.respond(1, response, body, end=True)
    assert whole.respond_whole(1, response, body)
    assert without_date(bytes(whole.take_output(10_000))) == without_date(bytes(plain.take_output(10_000)))
    assert (whole.closing, whole.cut, whole.open_streams) == (plain.closing, plain.cut, plain.open_streams)
    assert (whole.input_ready, whole.wants_input, whole.partial_head) == (
        plain.input_ready, plain.wants_input, plain.partial_head
    )  # fmt: skip


@both_engines
def test_what_does_not_fit_is_not_taken(engine: Maker) -> None:
    adapter = make(engine, response_buffer_bytes=10)
    adapter.receive(GET)
    response = Response(200, (), b"eleven byte", shared=True)
    assert not adapter.respond_whole(1, response, b"eleven byte")
    assert adapter.take_output(10_000) == b""
    assert adapter.respond_whole(1, response, b"ten bytes.") is True
    assert adapter.cut, "it is not as long as announced"


@both_engines
def test_it_is_taken_once_and_for_the_request_under_way(engine: Maker) -> None:
    adapter = make(engine)
    adapter.receive(GET)
    response = RESPONSES["shared"]
    assert adapter.respond_whole(1, response, b"hello")
    adapter.take_output(10_000)
    assert not adapter.respond_whole(1, response, b"hello")
    adapter.receive(GET)
    assert not adapter.respond_whole(1, response, b"hello")
    adapter.fail(Http2Code.INTERNAL_ERROR)
    assert not adapter.respond_whole(2, response, b"hello")
    assert adapter.take_output(10_000) == b""


@both_engines
def test_an_answer_that_stands_is_held_within_the_same_bound(engine: Maker) -> None:
    adapter = make(engine, response_buffer_bytes=1000)
    response = Response(200, (), b"x" * 600, shared=True)
    for number in (1, 2):
        adapter.receive(GET)
        assert adapter.respond_again(number, adapter.prepared(response), b"x" * 600) is (number == 1)
    assert not adapter.respond_whole(2, response, b"x" * 600)
    adapter.take_output(10_000)
    assert adapter.respond_again(2, adapter.prepared(response), b"x" * 600)
