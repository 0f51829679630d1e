"""The applications that tests/wire/test_asgi_apps.py serves: ordinary Starlette and FastAPI, and a bare ASGI callable.

`seen` is how they tell the test what became of them.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from fastapi import BackgroundTasks, FastAPI, Form, UploadFile
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

CHUNK = bytes(range(256)) * 256
"""64 KiB."""
DOWNLOAD_CHUNKS = 1600
"""100 MiB."""

seen: Counter[str] = Counter()
background_work: list[anyio.Event] = []
"""What each task in the background waits for."""


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"opened": "at startup"}
    await anyio.Path(os.environ["EXAMPLE_APPS_DIRECTORY"], "shut-down").write_text("cleanly")


async def show_seen(_request: Request) -> Response:
    return JSONResponse(seen)


async def show_state(request: Request) -> Response:
    return JSONResponse({"opened": request.state.opened})


async def show_scope(request: Request) -> Response:
    keys = ("http_version", "method", "scheme", "path", "root_path", "client", "server")
    shown = {key: request.scope[key] for key in keys}
    return JSONResponse(
        shown
        | {"raw_path": request.scope["raw_path"].decode(), "query": request.scope["query_string"].decode()}
        | {"tls": request.scope["extensions"]["tls"], "host": request.headers.getlist("host")}
    )


async def upload(request: Request) -> Response:
    async with request.form() as form:
        file = form["file"]
        assert not isinstance(file, str)
        digest = hashlib.sha256()
        while piece := await file.read(65_536):
            digest.update(piece)
        return JSONResponse({"name": file.filename, "size": file.size, "sha256": digest.hexdigest()})


async def echo(request: Request) -> Response:
    """Sends back what comes, while it comes."""
    return StreamingResponse(request.stream(), media_type="application/octet-stream")


async def count_body(request: Request) -> Response:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return PlainTextResponse(str(size))


async def events(_request: Request) -> Response:
    async def ticks() -> AsyncIterator[str]:
        try:
            for number in range(1_000_000):
                yield f"id: {number}\ndata: tick\n\n"
                await anyio.sleep(0.01)
        finally:
            seen["events ended"] += 1

    return StreamingResponse(ticks(), media_type="text/event-stream")


async def download(_request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        seen["chunks"] = 0
        for _ in range(DOWNLOAD_CHUNKS):
            seen["chunks"] += 1
            yield CHUNK

    headers = {"content-length": str(DOWNLOAD_CHUNKS * len(CHUNK))}
    return StreamingResponse(chunks(), headers=headers, media_type="application/octet-stream")


async def file(_request: Request) -> Response:
    return FileResponse(__file__)


async def wait(_request: Request) -> Response:
    seen["waiting"] += 1
    try:
        await anyio.sleep_forever()
    finally:
        seen["wait ended"] += 1
    raise AssertionError


async def with_background(_request: Request) -> Response:
    async def work() -> None:
        release = anyio.Event()
        background_work.append(release)
        await release.wait()
        seen["background done"] += 1

    return PlainTextResponse("accepted", background=BackgroundTask(work))


async def go_on(_request: Request) -> Response:
    for release in background_work:
        release.set()
    background_work.clear()
    return PlainTextResponse("")


async def fail(_request: Request) -> Response:
    raise LookupError("a bug in the application")


async def fail_in_stream(_request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"begun "
        raise LookupError("a bug in the stream")

    return StreamingResponse(chunks())


async def fail_in_background(_request: Request) -> Response:
    async def work() -> None:
        raise LookupError("a bug in the background")

    return PlainTextResponse("x" * 200_000, background=BackgroundTask(work))


async def inject(request: Request) -> Response:
    return PlainTextResponse("", headers={"x-value": request.query_params["value"]})


class Trailers:
    """Early hints and trailers, which the frameworks have no words for."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload; as=style"]})
        await send({"type": "http.response.body", "body": b"data"})
        await send({"type": "http.response.trailers", "headers": [(b"x-checksum", b"42")]})


api = FastAPI()


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


@api.post("/items/{item_id}")
async def put_item(item_id: int, item: Item, notify: BackgroundTasks) -> dict[str, Any]:
    notify.add_task(seen.update, ["notified"])
    return {"id": item_id, "total": item.price * 2, **item.model_dump()}


@api.post("/files")
async def put_file(note: Annotated[str, Form()], file: UploadFile) -> dict[str, Any]:
    return {"note": note, "name": file.filename, "size": len(await file.read())}


@api.get("/blocking")
def blocking() -> dict[str, str]:
    """FastAPI runs it in a thread."""
    return {"ran": "in a thread"}


app = Starlette(
    routes=[
        Route("/seen", show_seen),
        Route("/state", show_state),
        Route("/scope/{rest:path}", show_scope),
        Route("/upload", upload, methods=["POST"]),
        Route("/echo", echo, methods=["POST"]),
        Route("/count", count_body, methods=["POST"]),
        Route("/events", events),
        Route("/download", download),
        Route("/file", file),
        Route("/wait", wait),
        Route("/background", with_background),
        Route("/go-on", go_on),
        Route("/fail", fail),
        Route("/fail-in-stream", fail_in_stream),
        Route("/fail-in-background", fail_in_background),
        Route("/inject", inject),
        Mount("/trailers", Trailers()),
        Mount("/api", api),
    ],
    lifespan=lifespan,
)


async def refuses_to_start(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the database is not there"})


async def bare(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise LookupError("a bug without a framework")
