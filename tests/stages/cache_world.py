"""An origin, a cache before it and its clients, in the test's own event loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from securelight.model.body import PUSHED_BODY
from securelight.model.errors import Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from securelight.pipeline.compile import InThread
from securelight.pipeline.scoreboard import Scoreboard
from securelight.pipeline.stage import RESPONDED, Deferred
from securelight.stages.cache import Cache
from securelight.stages.cache_settings import CacheConfig
from tests.helpers import in_thread, make_context, make_facts, make_request

KEEP = (b"cache-control", b"max-age=60")


class Client:
    """An Exchange that remembers what it was sent."""

    def __init__(self, request: Request, facts: Facts) -> None:
        self.request = request
        self.facts = facts
        self.head: Response | None = None
        self.body = b""
        self.ended = False

    async def respond(self, response: Response) -> None:
        assert isinstance(response.body, bytes)
        self.head, self.body, self.ended = response, response.body, True

    async def begin(self, response: Response) -> None:
        self.head = response

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.body += data

    async def end(self, trailers: Any = ()) -> None:
        self.ended = True

    async def receive(self) -> bytes:
        return b""

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(function)


def reading_slowly(read: trio.Event, go_on: trio.Event) -> type[Client]:
    """Clients for whom something is read in a thread, which sets `read`, and who hear of it after `go_on`."""

    class Reading(Client):
        async def in_thread(self, function: Callable[[], Any]) -> Any:
            found = await super().in_thread(function)
            read.set()
            await go_on.wait()
            return found

    return Reading


class Origin:
    """What the cache asks: answers by a list of responses, the last one again and again; pushes unless told not to."""

    def __init__(self, *answers: Response | Refusal, push: bool = True) -> None:
        self.answers = list(answers)
        self.push = push
        self.requests: list[Request] = []
        self.gate: trio.Event | None = None
        self.asked, self.asked_twice = trio.Event(), trio.Event()

    def handle(self, request: Request, facts: Facts) -> Deferred:
        async def run(exchange: Any) -> Any:
            self.requests.append(request)
            self.asked.set()
            number = len(self.requests)
            if number == 2:
                self.asked_twice.set()
            answer = self.answers[min(number, len(self.answers)) - 1]
            if self.gate is not None:
                await self.gate.wait()
            if isinstance(answer, Refusal):
                raise answer
            body = answer.body
            if not self.push or not isinstance(body, bytes):
                return answer
            length = answer.content_length
            await exchange.begin(Response(answer.status, answer.fields, PUSHED_BODY, content_length=length))
            for piece in (body[:3], body[3:]):
                if piece:
                    await exchange.send(piece)
            await exchange.end()
            return RESPONDED

        return Deferred(run)


class World:
    """A cache around an origin, in the test's own event loop."""

    def __init__(
        self,
        origin: Origin,
        base: Path,
        board: Scoreboard | None = None,
        in_thread: InThread = in_thread,
        **settings: Any,
    ) -> None:
        context = make_context(base)
        context.in_thread = in_thread
        context.scoreboard = board or Scoreboard(1)
        self.cache = Cache(CacheConfig(**settings), context)
        self.handle = self.cache.around(origin.handle)
        self.services = context.services
        self.client: type[Client] = Client

    async def get(
        self, path: str = "/a", headers: dict[bytes, bytes] | None = None, method: str = "GET", user: str | None = None
    ) -> tuple[Response, bytes]:
        request = make_request(method, path, headers)
        request.target = path.encode()
        facts = make_facts()
        facts.user = user
        answer = self.handle(request, facts)
        client: Any = self.client(request, facts)
        if isinstance(answer, Deferred):
            result = await answer.run(client)
            if result is RESPONDED:
                assert client.ended
                assert isinstance(client.head, Response)
                return client.head, client.body
            assert isinstance(result, Response)
            answer = result
        assert isinstance(answer.body, bytes)
        return answer, answer.body

    async def said(self, *args: Any, **values: Any) -> str:
        """What Cache-Status says of the answer."""
        return field_of((await self.get(*args, **values))[0], b"cache-status").removeprefix("securelight; ")


def field_of(response: Response, name: bytes) -> str:
    return (Headers(response.fields).get(name) or b"").decode()


def ok(body: bytes = b"hello", *fields: tuple[bytes, bytes], status: int = 200) -> Response:
    return Response(status, fields or (KEEP,), body)
