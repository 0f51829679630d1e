"""An ASGI application whose answers are worth compressing, sent in each of the ways there are."""

from __future__ import annotations

import json
import sys
from typing import Any

LINE = b"A line that comes again and again.\n"


async def received_bytes(receive: Any) -> int:
    """How long the request's body is."""
    count, more = 0, True
    while more:
        message = await receive()
        count += len(message.get("body", b""))
        more = message.get("more_body", False)
    return count


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The last segment of the path says how the answer is sent."""
    assert scope["type"] == "http"
    kind = scope["path"].rpartition("/")[2]
    if kind == "taken":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"%d" % await received_bytes(receive)})
        return
    headers = [(b"content-type", b"text/plain")]
    if kind == "announced":
        headers.append((b"content-length", b"%d" % (100 * len(LINE))))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if kind == "whole":
        await send({"type": "http.response.body", "body": LINE * 100})
    elif kind == "large":
        await send({"type": "http.response.body", "body": LINE * 100_000})
    elif kind == "endless":
        try:
            while True:
                await send({"type": "http.response.body", "body": LINE * 100, "more_body": True})
        finally:
            print(json.dumps({"event": "the client of endless left"}), file=sys.stderr, flush=True)
    else:
        for _ in range(10):
            await send({"type": "http.response.body", "body": LINE * 10, "more_body": True})
        if kind == "broken":
            raise ValueError("broken on purpose")
        await send({"type": "http.response.body", "body": b""})
