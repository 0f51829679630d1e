"""The applications that servers are loaded with. ASGI: a hello, 10 kB of JSON, a sink for uploads, a WebSocket that
echoes, and a Starlette application with a route and, for servers that have no files of their own, a mounted folder.
WSGI: a hello.

BENCH_STATIC names the folder that is served below /static; without it there are no files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DOCUMENT = json.dumps([{"id": number, "name": f"thing {number}", "price": number * 1.5} for number in range(205)])
ANSWERS = {
    "/hello": (b"text/plain", b"Hello, world!\n"),
    "/json": (b"application/json", DOCUMENT.encode()),
}


async def show_item(request: Request) -> PlainTextResponse:
    """A route with a parameter, as most applications are made of."""
    return PlainTextResponse(f"item {request.path_params['number']}\n")


def routes() -> list[BaseRoute]:
    """Of the Starlette application."""
    found: list[BaseRoute] = [Route("/items/{number:int}", show_item)]
    if folder := os.environ.get("BENCH_STATIC"):
        found.append(Mount("/static", StaticFiles(directory=folder)))
    return found


starlette = Starlette(routes=routes())


async def answer(send: Send, content_type: bytes, body: bytes) -> None:
    """Send a whole answer."""
    fields = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] == "http":
        path = scope["path"]
        if ready := ANSWERS.get(path):
            await answer(send, *ready)
            return
        if path == "/upload":
            size = 0
            while True:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    break
            await answer(send, b"text/plain", b"%d\n" % size)
            return
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            data = message.get("bytes")
            await send({"type": "websocket.send", **({"text": message["text"]} if data is None else {"bytes": data})})
        return
    await starlette(scope, receive, send)


def wsgi(_environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
    """The WSGI application, whatever is asked for."""
    content_type, body = ANSWERS["/hello"]
    start_response("200 OK", [("Content-Type", content_type.decode()), ("Content-Length", str(len(body)))])
    return [body]
