"""An application that needs asyncio itself: its tasks, queues and timeouts, at startup, in requests, in WebSockets."""

from __future__ import annotations

import asyncio
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await answer(scope, receive, send)


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    questions: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue()

    async def work() -> None:
        while True:
            number, future = await questions.get()
            future.set_result(number * number)

    worker = asyncio.create_task(work())
    scope["state"]["questions"] = questions
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.sleep(0.01)
    worker.cancel()
    await send({"type": "lifespan.shutdown.complete"})


async def square(scope: Any, number: int) -> int:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    await scope["state"]["questions"].put((number, future))
    return await asyncio.wait_for(future, 10)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"].endswith("/body"):
        count, more = 0, True
        while more:
            message = await receive()
            count += len(message["body"])
            more = message["more_body"]
        body = b"%d" % count
    elif scope["path"].endswith("/needs"):
        await asyncio.sleep(0.001)
        body = b"slept"
    else:
        results = await asyncio.gather(*(square(scope, number) for number in range(5)))
        body = repr(results).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body[:1], "more_body": True})
    await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": body[1:]})


async def websocket(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(await square(scope, int(message["text"])))})
