"""The applications that the tests of WebSocket are served by: bare ASGI, Starlette, FastAPI.

`seen` is how they tell the test what became of them.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import trio
from fastapi import FastAPI, WebSocket as FastWebSocket, WebSocketDisconnect
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

seen: Counter[str] = Counter()


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """ASGI without a framework: the path says what it does."""
    what = scope["path"].rpartition("/")[2]
    if scope["type"] == "http":
        body = json.dumps(seen).encode() if what == "seen" else b"http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})
        return
    assert scope["type"] == "websocket"
    assert (await receive())["type"] == "websocket.connect"
    await globals()[f"do_{what}"](scope, receive, send)


async def do_echo(_scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    seen["echo begun"] += 1
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
    assert message["type"] == "websocket.disconnect"
    seen["echo ended"] += 1
    seen[f"echo ended with {message['code']} {message['reason']}"] += 1


async def do_subprotocol(scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][-1], "headers": [(b"x-who", b"app")]})
    await send({"type": "websocket.close", "code": 4321, "reason": "enough"})


async def do_scope(scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    shown = {key: scope[key] for key in ("type", "http_version", "scheme", "path", "root_path", "subprotocols")}
    shown["query"] = scope["query_string"].decode()
    shown["extensions"] = sorted(scope["extensions"])
    shown["names"] = sorted(name.decode() for name, _value in scope["headers"])
    shown["has_method"] = "method" in scope
    await send({"type": "websocket.send", "text": json.dumps(shown)})


async def do_refuse(_scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.close"})
    assert (await receive())["type"] == "websocket.disconnect"
    seen["refused"] += 1


async def do_deny(_scope: Any, _receive: Any, send: Any) -> None:
    start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic")]}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": b"log in ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"first"})


async def do_nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """Returns without a word."""


async def do_fail(_scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await receive()
    raise RuntimeError("planted failure")


async def do_fail_early(_scope: Any, _receive: Any, _send: Any) -> None:
    raise RuntimeError("planted failure")


async def do_flood(_scope: Any, _receive: Any, send: Any) -> None:
    """Sends for ever, whatever the client reads."""
    await send({"type": "websocket.accept"})
    try:
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 10_000})
    except OSError:
        seen["flood ended"] += 1


async def do_deaf(_scope: Any, _receive: Any, send: Any) -> None:
    """Never looks at what the client says, nor at its leaving: it has to be cancelled."""
    await send({"type": "websocket.accept"})
    try:
        await trio.sleep_forever()
    finally:
        seen["deaf ended"] += 1


async def do_wrong_subprotocol(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept", "subprotocol": "never-offered"})


async def star_echo(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][0] if websocket.scope["subprotocols"] else None)
    async for text in websocket.iter_text():
        await websocket.send_text(text)
    seen["starlette ended"] += 1


async def star_careless(websocket: WebSocket) -> None:
    """Does not expect the end, as the examples of many tutorials."""
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())


async def star_seen(_request: Any) -> JSONResponse:
    return JSONResponse(seen)


star = Starlette(
    routes=[
        WebSocketRoute("/echo", star_echo),
        WebSocketRoute("/careless", star_careless),
        Route("/seen", star_seen),
    ]
)

fast = FastAPI()


@fast.websocket("/items/{item}")
async def fast_items(websocket: FastWebSocket, item: int) -> None:
    await websocket.accept()
    try:
        while True:
            data = await websocket.receive_json()
            await websocket.send_json({"item": item, "got": data})
    except WebSocketDisconnect as end:
        seen[f"fastapi ended with {end.code}"] += 1


@fast.get("/seen")
async def fast_seen() -> dict[str, int]:
    return dict(seen)
