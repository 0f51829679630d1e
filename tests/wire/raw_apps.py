"""A small ASGI application without a framework, for what tests need of one: it reads, waits, or streams for ever."""

from __future__ import annotations

import hashlib
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/upload` counts the body, `/pieces` says its digest and its largest piece, `/deaf` never reads it,
    `/stream` sends until the client leaves.
    """
    assert scope["type"] == "http"
    path = scope["path"]
    if path.endswith("/upload"):
        count = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            count += len(message["body"])
            more = message["more_body"]
        await answer(send, b"%d" % count)
    elif path.endswith("/pieces"):
        await answer(send, await pieces(receive))
    elif path.endswith("/deaf"):
        await begin(send)
        await send({"type": "http.response.body", "body": b"deaf", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
    elif path.endswith("/stream"):
        await begin(send)
        while True:
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
    else:
        await answer(send, b"app\n")


async def pieces(receive: Any) -> bytes:
    digest, largest, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        digest.update(message["body"])
        largest = max(largest, len(message["body"]))
        more = message["more_body"]
    return b"%b %d" % (digest.hexdigest().encode(), largest)


async def begin(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})


async def answer(send: Any, body: bytes) -> None:
    await begin(send)
    await send({"type": "http.response.body", "body": body})


async def same_head(scope: Any, _receive: Any, send: Any) -> None:
    """Says the query, which is three bytes long, with the same head each time."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"3")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["query_string"]})
