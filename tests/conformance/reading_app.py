"""An ASGI application that reads each request to its end before it answers, so that no question is too late for it."""

from __future__ import annotations

from typing import Any

PAGE = b"<!doctype html><title>Tide</title>" + b"<p>High water at noon.</p>" * 5_000
"""Longer than a connection's first window, or some questions do not arise."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer anything with the page."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        assert message["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    if message["type"] == "http.request":
        fields = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(PAGE))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else PAGE})
