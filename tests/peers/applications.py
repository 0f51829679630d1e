"""The ASGI application that the peers talk to: it digests, counts, echoes fields, hints and sends trailers."""

from __future__ import annotations

import hashlib
import json
from typing import Any


async def digest(_scope: Any, receive: Any, send: Any) -> None:
    """The size and SHA-256 of the request's body."""
    made, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        piece = message.get("body", b"")
        made.update(piece)
        size += len(piece)
        more = message.get("more_body", False)
    await answer(send, {"size": size, "sha256": made.hexdigest()})


async def fields(scope: Any, _receive: Any, send: Any) -> None:
    """The request as it came: method and fields, in their order."""
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    await answer(send, {"method": scope["method"], "http_version": scope["http_version"], "fields": pairs})


async def hints(_scope: Any, _receive: Any, send: Any) -> None:
    """103 first, then a body with a trailer."""
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload; as=style"]})
    await send({"type": "http.response.start", "status": 200, "trailers": True})
    await send({"type": "http.response.body", "body": b"hinted\n"})
    await send({"type": "http.response.trailers", "headers": [(b"x-checksum", b"42")]})


async def hello(_scope: Any, _receive: Any, send: Any) -> None:
    """The shortest answer."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Hello, world!\n"})


async def stream(_scope: Any, _receive: Any, send: Any) -> None:
    """A hundred pieces of a body whose length nobody knows."""
    await send({"type": "http.response.start", "status": 200})
    for number in range(100):
        await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
    await send({"type": "http.response.body"})


async def answer(send: Any, value: object) -> None:
    """Sends `value` as JSON."""
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    await send(start)
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


_PATHS = {"/digest": digest, "/fields": fields, "/hints": hints, "/hello": hello, "/stream": stream}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Chooses by path."""
    if scope["type"] == "http":
        await _PATHS[scope["path"].removeprefix(scope["root_path"])](scope, receive, send)
    else:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
