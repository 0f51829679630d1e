"""WSGI on an exchange in memory: environ, start_response, close, threads; and finding out what an application is."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import fastapi
import flask
import pytest
import trio
from starlette.applications import Starlette

from securelight.handlers.application import interface_of
from securelight.handlers.asgi import AsgiConfig, build as build_either
from securelight.handlers.wsgi import FEATURE, WsgiConfig, WsgiHandler, WsgiThreads, build
from securelight.handlers.wsgi_environ import make_environ
from securelight.model.client_certificate import ClientCertificate
from securelight.model.errors import BodyAborted, ClientDisconnected, ConfigError, Refusal
from securelight.model.limits import Limits
from securelight.pipeline.stage import RESPONDED
from tests.handlers.asgi_exchange import MemoryExchange, RecordedEvents, upload_request
from tests.helpers import SilentEvents, make_context, make_facts, make_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAIN = [("Content-Type", "text/plain")]


def handler_for(application: Any, limits: Limits | None = None, events: Any = None) -> WsgiHandler:
    events = events or SilentEvents()
    return WsgiHandler(application, "test:app", "", WsgiThreads(limits or Limits(), events), events)


async def run(application: Any, exchange: MemoryExchange) -> MemoryExchange:
    with trio.fail_after(15):
        assert await handler_for(application)(exchange.request, exchange.facts).run(exchange) is RESPONDED
    assert exchange.complete
    return exchange


async def answer(application: Any, **request: Any) -> MemoryExchange:
    return await run(application, MemoryExchange(make_request(**request)))


class Body:
    """An iterable that notes its end."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = pieces
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        self.closed.set()


def says(body: Any, status: str = "200 OK", headers: Any = PLAIN) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return body

    return app


# The environ


def test_the_environ_is_what_pep_3333_says() -> None:
    request = make_request("POST", "/shop/ü/\udcff", {b"host": b"a.test", b"content-type": b"a/b"}, query=b"x=%20")
    request.content_length = 7
    facts = make_facts()
    facts.route_path = "/shop"
    environ = make_environ(request, facts, "/outer")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/outer/shop", "/\xc3\xbc/\xff")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"], environ["QUERY_STRING"]) == ("a/b", "7", "x=%20")
    assert (environ["wsgi.url_scheme"], environ["HTTPS"], environ["wsgi.multithread"]) == ("https", "on", True)
    assert environ["HTTP_HOST"] == "a.test"
    assert all(isinstance(value, str) for name, value in environ.items() if not name.startswith("wsgi."))


def test_a_client_forges_neither_user_nor_certificate_nor_proxy() -> None:
    forged = {b"proxy": b"http://evil", b"x_user": b"root", b"remote_user": b"root", b"ssl-client-s-dn": b"CN=root"}
    request, facts = make_request(headers=forged), make_facts()
    environ = make_environ(request, facts, "")
    assert not {"HTTP_PROXY", "HTTP_X_USER", "REMOTE_USER", "HTTP_REMOTE_USER", "SSL_CLIENT_S_DN"} & set(environ)
    facts.user, facts.certificate = "alice", ClientCertificate(b"der", "CN=alice", "1f")
    environ = make_environ(request, facts, "")
    assert (environ["REMOTE_USER"], environ["SSL_CLIENT_S_DN"]) == ("alice", "CN=alice")


# Answers


async def test_a_whole_answer_is_sent_in_one_step() -> None:
    exchange = await answer(says([b"a", b"b"]))
    assert (exchange.body, exchange.said, exchange.fields) == (b"ab", ["respond"], ((b"content-type", b"text/plain"),))


async def test_pieces_are_sent_as_they_come_and_close_is_called() -> None:
    body = Body(b"", b"a", b"b")
    exchange = await answer(says(body))
    assert exchange.said == ["begin", "send", "send", "end"]
    assert (exchange.body, body.closed.is_set()) == (b"ab", True)


async def test_content_length_is_kept_and_framing_is_dropped() -> None:
    headers = [("Content-Length", "2"), ("Connection", "close"), ("Transfer-Encoding", "chunked")]
    exchange = await answer(says(Body(b"a", b"b"), headers=headers))
    assert (exchange.content_length, exchange.fields) == (2, ())


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 x")])
async def test_what_has_no_content_gets_none_however_endless(method: str, status: str) -> None:
    body = Body(*[b"x"] * 5)
    exchange = await answer(says(body, status), method=method)
    assert (exchange.body, exchange.said, body.closed.is_set()) == (b"", ["respond"], True)


async def test_the_write_callable_and_the_iterable_follow_each_other() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        write(b"a")
        return [b"b"]

    assert (await answer(app)).body == b"ab"


async def test_start_response_may_be_replaced_until_something_was_sent() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            raise LookupError("late")
        except LookupError as error:
            start_response("500 Oh", [], (type(error), error, error.__traceback__))
        return [b"sorry"]

    assert (await answer(app)).status == 500


async def test_an_error_after_the_head_comes_back_to_the_application() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"begun")
        error = LookupError("too late")
        start_response("500 Oh", [], (LookupError, error, None))

    with pytest.raises(LookupError, match="too late"):
        await answer(app)


def twice(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    start_response("200 OK", [])


@pytest.mark.parametrize(
    ("app", "error", "told"),
    [
        (twice, RuntimeError, "twice"),
        (lambda e, s: [b"x"], RuntimeError, "without calling start_response"),
        (says([b"x"], headers=[("A", "b\r\nSet-Cookie: c")]), ValueError, "control characters"),
        (says([b"x"], headers=[("A b", "c")]), ValueError, "not valid"),
        (says([b"x"], headers=[(b"a", b"c")]), TypeError, "pair of strings"),
        (says([b"x"], "100 Continue"), ValueError, "not a final one"),
        (says([b"x"], "200 OK\r\nA: b"), ValueError, "not a final one"),
        (says(Body("text")), TypeError, "bytes, not str"),
        (says([b"abc"], headers=[("Content-Length", "2")]), RuntimeError, "content-length is 2"),
        (says(Body(b"a", b"bc"), headers=[("Content-Length", "2")]), RuntimeError, "longer"),
        (says(Body(b"a"), headers=[("Content-Length", "2")]), BodyAborted, "announced 2"),
        (says(Body(b"a", LookupError("bug"))), LookupError, "bug"),
    ],
)
async def test_what_is_wrong_is_the_applications_error(app: Any, error: type[Exception], told: str) -> None:
    exchange = MemoryExchange(make_request())
    with pytest.raises(error, match=told):
        await run(app, exchange)
    assert not exchange.complete


# Bodies and clients that leave


async def test_the_body_is_read_as_the_application_asks() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"]
        lines = [body.readline(), body.read(3), body.read(), body.read()]
        start_response("200 OK", [])
        return [repr(lines).encode()]

    exchange = MemoryExchange(upload_request())
    exchange.upload(b"on", b"e\ntw", b"o, three", b"")
    assert (await run(app, exchange)).body == repr([b"one\n", b"two", b", three", b""]).encode()


async def test_a_body_that_is_refused_is_refused_though_the_application_goes_on() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        try:
            environ["wsgi.input"].read()
        except OSError:
            start_response("200 OK", [])
        return [b"all is well"]

    exchange = MemoryExchange(upload_request())
    exchange.upload(b"x", Refusal(413))
    with pytest.raises(Refusal):
        await run(app, exchange)
    assert exchange.said == []


async def test_a_client_that_leaves_frees_the_thread_at_the_next_piece() -> None:
    body = Body(*[b"x" * 1000] * 1000)
    exchange = MemoryExchange(make_request(), room_bytes=1500)
    handler = handler_for(says(body))
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handler(exchange.request, exchange.facts).run, exchange)
            await exchange.until_said("send", 2)
            assert not body.closed.is_set()  # held back
            nursery.cancel_scope.cancel()
        assert await trio.to_thread.run_sync(body.closed.wait, 15)


async def test_a_client_that_leaves_while_its_body_is_read_is_no_answer() -> None:
    exchange = MemoryExchange(upload_request())
    exchange.leave()
    with pytest.raises(ClientDisconnected):
        await run(lambda environ, start: environ["wsgi.input"].read(), exchange)


async def test_threads_that_never_return_leave_others_a_503() -> None:
    release, entered = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        entered.set()
        release.wait(30)
        start_response("200 OK", [])
        return [b"late"]

    events = RecordedEvents()
    handler = handler_for(app, Limits(application_threads=1, application_wait_seconds=0.05), events)
    exchange = MemoryExchange(make_request())
    try:
        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(handler(exchange.request, exchange.facts).run, exchange)
                await trio.to_thread.run_sync(entered.wait, 15)
                nursery.cancel_scope.cancel()
            with pytest.raises(Refusal) as refused:
                await handler(exchange.request, exchange.facts).run(exchange)
    finally:
        release.set()
    assert refused.value.status == 503
    assert events.values[0]["abandoned"] == 1
    other = MemoryExchange(make_request())
    patient = handler._threads
    with trio.fail_after(15):
        while patient.abandoned:
            await trio.lowlevel.checkpoint()
    assert await handler(other.request, other.facts).run(other) is RESPONDED
    assert other.body == b"late"


async def test_errors_go_to_the_log() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        print("a word", file=environ["wsgi.errors"])
        start_response("200 OK", [])
        return []

    events = RecordedEvents()
    exchange = MemoryExchange(make_request())
    await handler_for(app, events=events)(exchange.request, exchange.facts).run(exchange)
    assert [value["text"] for value in events.values] == ["a word"]


# Which of the two


class AsgiObject:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class WsgiClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...


async def asgi_function(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    ("found", "interface"),
    [
        (flask.Flask("x"), "wsgi"),
        (Starlette(), "asgi"),
        (fastapi.FastAPI(), "asgi"),
        (AsgiObject(), "asgi"),
        (WsgiClass, "wsgi"),
        (asgi_function, "asgi"),
        (partial(asgi_function), "asgi"),
        (says([]), "wsgi"),
        (lambda scope, receive, send: None, "asgi"),
        (lambda environ, start, more=None: [], "wsgi"),
        (lambda *arguments: None, None),
        (lambda: None, None),
    ],
)
def test_what_an_application_is_shows_in_its_arguments(found: Any, interface: str | None) -> None:
    assert interface_of(found) == interface


def test_a_wrong_guess_is_overridden_by_a_word(tmp_path: Path) -> None:
    (tmp_path / "ambiguous_app.py").write_text("def app(*arguments): return []\n")
    context = make_context(tmp_path)
    with pytest.raises(ConfigError, match='interface = "asgi" or "wsgi"'):
        build_either(AsgiConfig("ambiguous_app:app"), context)
    assert isinstance(build_either(AsgiConfig("ambiguous_app:app", interface="wsgi"), context), WsgiHandler)
    assert isinstance(build(WsgiConfig("ambiguous_app:app"), context), WsgiHandler)
    assert sum(isinstance(service, WsgiThreads) for service in context.services) == 1
    assert FEATURE.name == "wsgi"
