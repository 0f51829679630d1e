"""The settings, the import of an application, and the scope of a request; Starlette and FastAPI as they are."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import TYPE_CHECKING, Annotated, Any

import fastapi
import msgspec
import pytest
import trio.testing
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from securelight.handlers.application import check
from securelight.handlers.asgi import FEATURE, AsgiConfig, AsgiHandler, build
from securelight.handlers.asgi_lifespan import LifespanService
from securelight.model.errors import ClientDisconnected, ConfigError
from securelight.model.headers import Headers
from securelight.model.limits import Limits
from securelight.model.request import UNIX, Facts, Peer, Request, TlsFacts
from tests.handlers.asgi_exchange import (
    MemoryExchange,
    RecordedEvents,
    answer,
    handler_for,
    run_application,
    upload_request,
)
from tests.helpers import make_context, make_facts, make_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.middleware.base import RequestResponseEndpoint
    from starlette.requests import Request as AppRequest
    from starlette.responses import Response as AppResponse

    from securelight.handlers.asgi_lifespan import Receive, Scope, Send

GOOD = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": __name__.encode()})

class Holder:
    inner = app

def make():
    return app

def broken_factory():
    raise LookupError("no settings")

def wsgi(environ, start_response):
    return []

number = 7
"""


@pytest.fixture
def app_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory with modules; whatever is imported from it is forgotten afterwards."""
    directory = tmp_path / "apps"
    directory.mkdir()
    before, path = set(sys.modules), list(sys.path)
    yield directory
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(directory) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def build_from(directory: Path, app: str, **more: Any) -> AsgiHandler:
    handler = build(AsgiConfig(app, app_directory="apps", **more), make_context(directory.parent))
    assert isinstance(handler, AsgiHandler)
    return handler


async def body_of(handler: AsgiHandler) -> bytes:
    exchange = MemoryExchange(make_request())
    await handler(exchange.request, exchange.facts).run(exchange)
    return exchange.body


# Settings


def test_the_settings_are_read_strictly() -> None:
    assert FEATURE.name == "asgi"
    settings = msgspec.convert({"app": "a:b", "root_path": "/x"}, FEATURE.config_class)
    assert settings == AsgiConfig("a:b", root_path="/x")
    with pytest.raises(msgspec.ValidationError, match="ap_directory"):
        msgspec.convert({"app": "a:b", "ap_directory": "."}, FEATURE.config_class)


def test_good_settings_have_no_faults_and_are_not_imported(app_directory: Path) -> None:
    (app_directory / "good_app.py").write_text("raise LookupError('imported')")
    assert check(AsgiConfig("good_app:app", app_directory="apps", root_path="/api/v1"), app_directory.parent) == []
    assert check(AsgiConfig("starlette.applications:Starlette", factory=True), app_directory) == []


@pytest.mark.parametrize(
    "app", ["", "app", "module.app", ":app", "module:", "a b:c", "a/b.py:app", "1a:b", "a:b:c", "..a:b"]
)
def test_an_application_is_named_by_module_and_attribute(tmp_path: Path, app: str) -> None:
    (fault,) = check(AsgiConfig(app), tmp_path)
    assert '"module:attribute"' in fault


@pytest.mark.parametrize("root_path", ["api", "/", "/api/", "//api", "/a b", "/a%20b", "/a?b", "/a#b", "/a\nb"])
def test_a_root_path_is_a_path(app_directory: Path, root_path: str) -> None:
    (app_directory / "any_app.py").touch()
    (fault,) = check(AsgiConfig("any_app:app", app_directory="apps", root_path=root_path), app_directory.parent)
    assert "root_path" in fault


def test_every_fault_is_reported(tmp_path: Path) -> None:
    faults = check(AsgiConfig("no_such_module_here:app", app_directory="nowhere", root_path="x"), tmp_path)
    assert len(faults) == 3


# Import


async def test_an_application_is_imported_from_its_directory(app_directory: Path) -> None:
    (app_directory / "one_app.py").write_text(GOOD)
    package = app_directory / "package_of_apps"
    package.mkdir()
    (package / "inner.py").write_text(GOOD)
    assert await body_of(build_from(app_directory, "one_app:app")) == b"one_app"
    assert await body_of(build_from(app_directory, "one_app:Holder.inner")) == b"one_app"
    assert await body_of(build_from(app_directory, "one_app:make", factory=True)) == b"one_app"
    assert await body_of(build_from(app_directory, "package_of_apps.inner:app")) == b"package_of_apps.inner"


@pytest.mark.parametrize(
    ("app", "factory", "told"),
    [
        ("no_module_of_this_name:app", False, "no module 'no_module_of_this_name'.*set app_directory"),
        ("faulty_app.sub:app", False, "no module 'faulty_app.sub'|fails when imported"),
        ("faulty_app:missing", False, "has no attribute 'missing'"),
        ("faulty_app:Holder.missing", False, "has no attribute 'Holder.missing'"),
        ("faulty_app:number", False, "is a int, not an application"),
        ("faulty_app:make", False, "set factory = true"),
        ("faulty_app:broken_factory", True, "factory 'broken_factory' fails: LookupError: no settings"),
        ("needy_app:app", False, "needs 'a_library_that_nobody_has'"),
        ("raising_app:app", False, "fails when imported: ZeroDivisionError"),
        ("exiting_app:app", False, "fails when imported: SystemExit"),
        ("unparsable_app:app", False, "fails when imported: SyntaxError"),
    ],
)
def test_an_application_that_cannot_be_loaded_says_why(app_directory: Path, app: str, factory: bool, told: str) -> None:
    (app_directory / "faulty_app.py").write_text(GOOD)
    (app_directory / "needy_app.py").write_text("import a_library_that_nobody_has")
    (app_directory / "raising_app.py").write_text("1 / 0")
    (app_directory / "exiting_app.py").write_text("raise SystemExit(2)")
    (app_directory / "unparsable_app.py").write_text("def")
    with pytest.raises(ConfigError, match=told) as caught:
        build_from(app_directory, app, factory=factory)
    assert caught.value.where == "test.toml"


def test_the_traceback_of_an_application_goes_to_the_log(app_directory: Path) -> None:
    (app_directory / "tracing_app.py").write_text("1 / 0")
    context = make_context(app_directory.parent)
    events = RecordedEvents()
    context.events = events
    with pytest.raises(ConfigError):
        build(AsgiConfig("tracing_app:app", app_directory="apps"), context)
    assert isinstance(events.values[0]["exc_info"], ZeroDivisionError)


def test_one_application_has_one_lifespan_whatever_leads_to_it(app_directory: Path) -> None:
    (app_directory / "shared_app.py").write_text(GOOD)
    (app_directory / "other_app.py").write_text(GOOD)
    context = make_context(app_directory.parent)
    for app in ("shared_app:app", "shared_app:Holder.inner", "other_app:app"):
        build(AsgiConfig(app, app_directory="apps"), context)
    assert sum(isinstance(service, LifespanService) for service in context.services) == 2


# The scope


def request_with(target: bytes, path: str, **more: Any) -> Request:
    tls = TlsFacts(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256")
    peer = Peer("2001:db8::7", 50_000, "2001:db8::1", 443, tls)
    fields = Headers(((b"host", b"a.test"), (b"cookie", b"a=1"), (b"cookie", b"b=2")))
    return Request("GET", path, fields, peer=peer, target=target, **more)


def scope_of(request: Request, root_path: str = "", route_path: str = "", client: str = "2001:db8::7") -> Scope:
    facts = Facts(client)
    facts.route_path = route_path

    async def application(_scope: Scope, _receive: Receive, _send: Send) -> None: ...

    return handler_for(application, root_path).scope(request, facts)


def test_a_scope_is_what_the_specification_says() -> None:
    scope = scope_of(request_with(b"/caf%C3%A9/?q=%20", "/café/", query=b"q=%20", http_version="2"))
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "2",
        "method": "GET",
        "scheme": "https",
        "path": "/café/",
        "raw_path": b"/caf%C3%A9/",
        "query_string": b"q=%20",
        "root_path": "",
        "headers": [(b"host", b"a.test"), (b"cookie", b"a=1; b=2")],  # RFC 9113, section 8.2.3
        "client": ("2001:db8::7", 50_000),
        "server": ("2001:db8::1", 443),
        "state": {},
        "extensions": {
            "http.response.trailers": {},
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "tls": {
                "server_cert": None,
                "client_cert_chain": [],
                "client_cert_name": None,
                "client_cert_error": None,
                "tls_version": 0x0304,
                "cipher_suite": 0x1301,
            },
        },
    }


def test_the_path_includes_the_root_path() -> None:
    scope = scope_of(request_with(b"/app/x?y", "/app/x", query=b"y"), "/ä", "/app")
    assert (scope["root_path"], scope["path"]) == ("/ä/app", "/ä/app/x")
    assert scope["raw_path"] == b"/%C3%A4/app/x"


def test_a_path_that_is_not_utf_8_can_be_encoded_again() -> None:
    scope = scope_of(request_with(b"/%ff", b"/\xff".decode("utf-8", "surrogateescape")))
    assert scope["path"].encode() == "/\ufffd".encode()
    assert scope["raw_path"] == b"/%ff"


def test_a_client_behind_a_proxy_has_no_port_that_is_known() -> None:
    assert scope_of(request_with(b"/", "/"), client="198.51.100.3")["client"] == ("198.51.100.3", 0)


def test_a_unix_socket_has_no_addresses() -> None:
    request = Request("GET", "/", Headers(), peer=Peer(UNIX, 7, "unix:/run/web.sock"), target=b"/")
    scope = scope_of(request, client=UNIX)
    assert scope["client"] is None
    assert scope["server"] == ("/run/web.sock", None)
    assert "tls" not in scope["extensions"]


async def test_each_request_has_its_own_copy_of_the_state() -> None:
    seen: list[dict[str, Any]] = []

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append(dict(scope["state"]))
        scope["state"]["count"] += 1
        scope["state"]["shared"].append(1)
        scope["extensions"].clear()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    lifespan = LifespanService(application, "test:app", RecordedEvents(), 1.0)
    lifespan.state.update(count=0, shared=[])
    handler = AsgiHandler(application, "", lifespan, Limits())
    for _ in range(2):
        assert await body_of(handler) == b""
    assert seen == [{"count": 0, "shared": [1, 1]}] * 2
    assert handler.scope(make_request(), make_facts())["extensions"]


async def test_an_application_that_raises_raises_with_its_own_traceback() -> None:
    async def application(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug") as caught:
        await answer(application)
    assert caught.traceback[-1].name == "application"


async def test_an_application_on_asyncio_is_told_what_it_needs() -> None:
    async def application(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="no running event loop") as caught:
        await answer(application)
    assert any("anyio" in note for note in caught.value.__notes__)


# Frameworks


async def test_starlette_answers_and_works_on_in_the_background() -> None:
    done = trio.Event()
    go_on = trio.Event()

    async def work() -> None:
        await go_on.wait()
        done.set()

    async def page(request: AppRequest) -> AppResponse:
        return JSONResponse({"path": request.url.path}, background=BackgroundTask(work))

    exchange = MemoryExchange(make_request(path="/page"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_application, Starlette(routes=[Route("/page", page)]), exchange)
        await exchange.until_said("respond")
        assert exchange.body == b'{"path":"/page"}'
        assert not done.is_set()
        go_on.set()
    assert done.is_set()


async def test_starlette_links_below_the_route_of_the_site() -> None:
    async def page(request: AppRequest) -> AppResponse:
        return PlainTextResponse(f"{request.url_for('page').path} {request.path_params['name']}")

    app = Starlette(routes=[Mount("/sub", routes=[Route("/{name}", page, name="page")], name="sub")])

    async def links(request: AppRequest) -> AppResponse:
        return PlainTextResponse(request.url_for("sub:page", name="x").path)

    app.router.routes.append(Route("/links", links))
    exchange = MemoryExchange(make_request(path="/app/links"))
    exchange.facts.route_path = "/app"
    await run_application(app, exchange)
    assert exchange.body == b"/app/sub/x"


async def test_starlette_reads_an_upload_in_pieces() -> None:
    async def page(request: AppRequest) -> AppResponse:
        sizes = [len(piece) async for piece in request.stream()]
        return JSONResponse(sizes)

    exchange = MemoryExchange(upload_request())
    exchange.upload(b"a" * 10, b"b" * 20, b"")
    await run_application(Starlette(routes=[Route("/", page, methods=["POST"])]), exchange)
    assert exchange.body == b"[10,20,0]"


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # Starlette leaves it to the collector
async def test_starlette_streams_until_the_client_leaves_and_cleans_up() -> None:
    cleaned = False

    async def events() -> AsyncIterator[bytes]:
        nonlocal cleaned
        try:
            while True:
                yield b"data: tick\n\n"
        finally:
            cleaned = True

    async def page(_request: AppRequest) -> AppResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    exchange = MemoryExchange(make_request(), room_bytes=100)

    async def run() -> None:
        with pytest.raises(ClientDisconnected):
            await run_application(Starlette(routes=[Route("/", page)]), exchange)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await exchange.until_said("send", 5)
        exchange.leave()
    assert exchange.body.startswith(b"data: tick\n\n")
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()
    assert cleaned


async def test_starlettes_middlewares_work() -> None:
    async def page(_request: AppRequest) -> AppResponse:
        return PlainTextResponse("x" * 2000)

    async def mark(request: AppRequest, call_next: RequestResponseEndpoint) -> AppResponse:
        response = await call_next(request)
        response.headers["x-marked"] = "yes"
        return response

    middlewares = [Middleware(BaseHTTPMiddleware, dispatch=mark), Middleware(GZipMiddleware)]
    app = Starlette(routes=[Route("/", page)], middleware=middlewares)
    exchange = await answer(app, headers={b"accept-encoding": b"gzip"})
    assert (b"x-marked", b"yes") in exchange.fields
    assert (b"content-encoding", b"gzip") in exchange.fields
    exchange = await answer(app)
    assert exchange.body == b"x" * 2000


async def test_starlette_sends_files_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(b"x" * 100_000)

    async def page(_request: AppRequest) -> AppResponse:
        return FileResponse(tmp_path / "file.txt")

    app = Starlette(routes=[Route("/", page)])
    exchange = await answer(app)
    assert (exchange.said, exchange.body) == (["respond"], b"x" * 100_000)
    exchange = await answer(app, headers={b"range": b"bytes=10-19"})
    assert (exchange.status, exchange.body) == (206, b"x" * 10)
    exchange = await answer(app, method="HEAD")
    assert (exchange.body, exchange.content_length) == (b"", 100_000)


async def test_fastapi_validates_and_answers() -> None:
    app = fastapi.FastAPI()

    @app.post("/items/{item}")
    async def item(item: int, body: Annotated[dict[str, int], fastapi.Body()]) -> dict[str, int]:
        return {"item": item, **body}

    @app.get("/in-a-thread")
    def in_a_thread() -> dict[str, bool]:
        return {"threads": True}

    request = upload_request(len(b'{"count": 2}'))
    request.path, request.headers = "/items/7", Headers(((b"content-type", b"application/json"),))
    exchange = MemoryExchange(request)
    exchange.upload(b'{"count"', b": 2}")
    await run_application(app, exchange)
    assert exchange.body == b'{"item":7,"count":2}'
    assert (await answer(app, path="/in-a-thread")).body == b'{"threads":true}'
    assert (await answer(app, path="/items/x", method="GET")).status == 405
    assert (await answer(app, path="/openapi.json")).status == 200
