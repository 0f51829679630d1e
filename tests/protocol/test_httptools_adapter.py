"""What is particular to the httptools engine; the dialogues are in test_http1_adapter."""

from __future__ import annotations

import gc
import time
import weakref

import pytest

from securelight.model.errors import Refusal
from securelight.model.limits import Limits
from securelight.model.response import Response
from securelight.protocol.http1_guard import Head
from securelight.protocol.httptools_adapter import HttptoolsAdapter
from tests.protocol.http1_support import PEER, make, told

POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        POST.replace(b"t:", b"t :") + b"\r\n",  # llhttp does not like it
        POST + b"Content-Length: 5\r\n\r\n",  # llhttp expects a body
        POST,  # llhttp expects more of the head
    ],
)
def test_what_only_httptools_objects_to_is_a_refusal_and_no_exception(raw: bytes) -> None:
    """Should the guard ever let it through, or frame it otherwise, the request is refused and the server goes on."""
    adapter = make(HttptoolsAdapter)
    with pytest.raises(Refusal) as caught:
        adapter._read_head(Head(raw, b"POST", b"/", "1.1", has_upgrade=False))
    assert caught.value.status == 400


@pytest.mark.parametrize(("data", "ended"), [(b"5\r\nhello\r\n", True), (b"0\r\n\r\n", False), (b"x\r\n", False)])
def test_a_body_that_httptools_frames_otherwise_is_refused(data: bytes, ended: bool) -> None:
    adapter = make(HttptoolsAdapter)
    adapter.receive(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(Refusal) as caught:
        adapter._read_body(data, ended=ended)
    assert caught.value.status == 400


def test_a_dropped_connection_is_freed_at_once() -> None:
    """No cycle between adapter and parser: memory of gone connections doesn't wait for the garbage collector."""

    class Watched(HttptoolsAdapter):
        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        adapter = Watched(PEER, Limits())
        adapter.receive(GET)
        watch = weakref.ref(adapter)
        del adapter
        assert watch() is None
    finally:
        gc.enable()


def test_a_parser_is_used_again_until_a_body_has_passed() -> None:
    adapter = HttptoolsAdapter(PEER, Limits())
    response = Response(200, (), b"ok")
    seen = []
    for number, data in enumerate(
        [  # each another head than any before: known ones do not reach the parser
            GET.replace(b"GET /", b"GET /parser-1"),
            GET.replace(b"GET /", b"GET /parser-2"),
            GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
            GET.replace(b"GET /", b"GET /parser-3"),
        ],
        start=1,
    ):
        assert told(adapter.receive(data))[0][:2] == ("request", number)
        seen.append(adapter._parser)
        adapter.respond(number, response, b"ok", end=True)
    assert seen[0] is seen[1]
    assert seen[2] is None
    assert seen[3] is not seen[0]


def test_a_request_costs_little() -> None:
    """A coarse guard against an accident on the hot path: ten times what it takes on a slow machine."""
    adapter = make(HttptoolsAdapter)
    response = Response(200, ((b"etag", b'"x"'),), b"ok", shared=True)
    started = time.process_time()
    for number in range(1, 2001):
        adapter.receive(GET)
        adapter.respond(number, response, b"ok", end=True)
        adapter.take_output(65_536)
    assert (time.process_time() - started) / 2000 < 0.0005
