"""An Exchange in memory, as strict as the real one, and a way to run an application with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import trio

from securelight.handlers.asgi import AsgiHandler
from securelight.handlers.asgi_lifespan import LifespanService
from securelight.model.body import AsyncBody, FileSlice, PushedBody
from securelight.model.errors import ClientDisconnected, Refusal
from securelight.model.limits import Limits
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.pipeline.stage import RESPONDED
from tests.helpers import SilentEvents, make_facts, make_request, read_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.handlers.asgi_lifespan import Application
    from securelight.model.headers import Fields
    from securelight.model.request import Request

T = TypeVar("T")


class RecordedEvents:
    """An event log to look into."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.values: list[dict[str, Any]] = []

    def info(self, event: str, **values: Any) -> None:
        self.names.append(event)
        self.values.append(values)

    warning = error = info


class MemoryExchange:
    """One request whose client is the test.

    Args:
        request: the head.
        room_bytes: how much of a pushed body the client takes before `take` is called; None for all.
    """

    def __init__(self, request: Request, room_bytes: int | None = None) -> None:
        self.request = request
        self.facts = make_facts()
        self.said: list[str] = []
        """What was called, in order: respond, begin, send, end, inform."""
        self.status = 0
        self.fields: Fields = ()
        self.content_length: int | None = None
        self.body = b""
        self.response_trailers: Fields = ()
        self.hints: list[Fields] = []
        self.complete = False
        self.taken_pieces = 0
        """How many pieces of the request body the application has asked for and got."""
        self._room = room_bytes
        self._more_room = trio.Event()
        self._pieces: list[bytes | Refusal] = []
        self._news = trio.Event()
        self._gone = trio.Event()
        self._progress = trio.Event()

    # The client's side.

    def upload(self, *pieces: bytes | Refusal) -> None:
        """More of the request body; b"" ends it."""
        self._pieces += pieces
        self._news.set()

    def leave(self) -> None:
        """Close the connection."""
        self._gone.set()
        self._news.set()
        self._more_room.set()

    def take(self, count: int) -> None:
        """Make room for `count` more bytes of the response."""
        assert self._room is not None
        self._room += count
        self._more_room.set()

    async def until_said(self, what: str, times: int = 1) -> None:
        """Wait until `what` was called `times` times."""
        while self.said.count(what) < times:
            self._progress = trio.Event()
            await self._progress.wait()

    # The server's side: pipeline.exchange.Exchange.

    def _say(self, what: str) -> None:
        if self._gone.is_set():
            raise ClientDisconnected
        self.said.append(what)
        self._progress.set()

    async def receive(self, *, ahead: bool = False) -> bytes:
        while not self._pieces:
            if self._gone.is_set():
                raise ClientDisconnected
            self._news = trio.Event()
            await self._news.wait()
        piece = self._pieces[0]
        if isinstance(piece, Refusal):
            raise piece
        if piece:
            self.taken_pieces += 1
            del self._pieces[0]
        return piece

    def trailers(self) -> Fields:
        return ()

    def inform(self, status: int, fields: Fields) -> None:
        assert status == 103
        assert not {"begin", "respond"} & set(self.said), "an interim response after the final one"
        self._say("inform")
        self.hints.append(fields)

    def _head(self, response: Response) -> bool:
        """Note the head; returns whether the response has content."""
        assert not {"begin", "respond"} & set(self.said), "answered twice"
        self.status, self.fields, self.content_length = response.status, response.fields, response.content_length
        return self.request.method != "HEAD" and response.status not in BODYLESS_STATUSES

    async def respond(self, response: Response) -> None:
        has_content = self._head(response)
        self._say("respond")
        if has_content:
            assert not isinstance(response.body, AsyncBody)
            self.body = read_body(response)
            assert len(self.body) == response.content_length
        else:
            assert not isinstance(response.body, FileSlice) or response.body.file.descriptor >= 0
            response.release()
        self.complete = True

    async def begin(self, response: Response) -> None:
        assert self._head(response), "a response without content is not pushed"
        assert isinstance(response.body, PushedBody)
        self._say("begin")

    async def send(self, data: bytes) -> None:
        assert "begin" in self.said
        assert not self.complete
        assert data
        self._say("send")
        while data:
            while self._room == 0:
                if self._gone.is_set():
                    raise ClientDisconnected
                self._more_room = trio.Event()
                await self._more_room.wait()
            count = len(data) if self._room is None else min(self._room, len(data))
            self.body, data = self.body + data[:count], data[count:]
            assert self.content_length is None or len(self.body) <= self.content_length
            if self._room is not None:
                self._room -= count

    async def end(self, trailers: Fields = ()) -> None:
        assert "begin" in self.said
        assert not self.complete
        assert self.content_length in (None, len(self.body)), "ended short of its announced length"
        self._say("end")
        self.response_trailers = trailers
        self.complete = True

    async def upgrade(self, protocol: bytes, fields: Fields) -> None:
        self._say(f"upgrade to {protocol.decode()}")

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function)

    async def disconnected(self) -> None:
        await self._gone.wait()


def handler_for(application: Application, root_path: str = "", limits: Limits | None = None) -> AsgiHandler:
    """A handler of an application without lifespan."""
    lifespan = LifespanService(application, "test:app", SilentEvents(), 1.0)
    return AsgiHandler(application, root_path, lifespan, limits or Limits())


async def run_application(application: Application, exchange: MemoryExchange) -> None:
    """Answer the exchange's request by `application`.

    Errors: those of the handler.
    """
    deferred = handler_for(application)(exchange.request, exchange.facts)
    assert await deferred.run(exchange) is RESPONDED
    assert exchange.complete


async def answer(application: Application, **request: Any) -> MemoryExchange:
    """The exchange after `application` has answered a request without body."""
    exchange = MemoryExchange(make_request(**request))
    await run_application(application, exchange)
    return exchange


def upload_request(length: int | None = None, method: str = "POST") -> Request:
    """A request with a body to come."""
    request = make_request(method)
    request.has_body = True
    request.content_length = length
    return request
