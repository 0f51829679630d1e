"""What stands between a handler and its client while its answer may be worth keeping: an Exchange that listens.

It passes on what the handler sends, and keeps a copy up to a bound. An answer that only says that a kept one is still
good, or that the server behind us fails while a kept one may stand in, is not passed on: the cache answers instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from securelight.model.body import AsyncBody, PushedBody
from securelight.upstream.single_flight import for_ever

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.compile import InThread
    from securelight.pipeline.exchange import Exchange

T = TypeVar("T")


class Recorder:
    """An Exchange around another.

    Args:
        exchange: the client's.
        request: what the handler is asked, which may differ from what the client asked.
        judge: told of the head of the answer: gives the head to pass on, or None to keep the answer from the client,
            and whether its body is worth recording.
        maximum_bytes: of the body; a longer one is not recorded.
        too_long: called when that is so.
        kept: called once the body was recorded to its end, before the client has all of it: one that leaves then does
            not take the answer from the others.

    Attributes:
        withheld: the head that was not passed on.
    """

    def __init__(
        self,
        exchange: Exchange,
        request: Request,
        judge: Callable[[Response], Awaitable[tuple[Response | None, bool]]],
        maximum_bytes: int,
        too_long: Callable[[], None],
        kept: Callable[[Response, bytes], None],
    ) -> None:
        self.request = request
        self.facts: Facts = exchange.facts
        self.withheld: Response | None = None
        self._recorded: Response | None = None
        self._exchange = exchange
        self._judge = judge
        self._maximum_bytes = maximum_bytes
        self._too_long = too_long
        self._kept = kept
        self._pieces: list[bytes] = []
        self._bytes = 0

    async def take(self, response: Response) -> Response | None:
        """The answer to pass on in place of `response`, which the handler has whole; None if it is withheld."""
        passed, record = await self._judge(response)
        if passed is None:
            self.withheld = response
            response.release()
            return None
        body = response.body
        if record and isinstance(body, bytes) and len(body) <= self._maximum_bytes:
            if len(body) == (response.content_length or 0):
                self._kept(response, body)
        elif isinstance(body, AsyncBody) and not isinstance(body, PushedBody):
            passed.body = body
        return passed

    async def respond(self, response: Response) -> None:
        """See pipeline.exchange.Exchange."""
        passed = await self.take(response)
        if passed is not None:
            await self._exchange.respond(passed)

    async def begin(self, response: Response) -> None:
        """See pipeline.exchange.Exchange."""
        passed, record = await self._judge(response)
        if passed is None:
            self.withheld = response
            return
        if record and (response.content_length or 0) <= self._maximum_bytes:
            self._recorded = response
        elif record:
            self._too_long()
        await self._exchange.begin(passed)

    async def send(self, data: bytes) -> None:
        """See pipeline.exchange.Exchange."""
        if self.withheld is not None:
            return
        if self._recorded is not None:
            self._bytes += len(data)
            if self._bytes > self._maximum_bytes:
                self._recorded = None
                self._pieces.clear()
                self._too_long()
            else:
                self._pieces.append(bytes(data))
        await self._exchange.send(data)

    async def end(self, trailers: Fields = ()) -> None:
        """See pipeline.exchange.Exchange."""
        if self.withheld is not None:
            return
        recorded = self._recorded
        if recorded is not None and not trailers and recorded.content_length in (None, self._bytes):
            self._kept(recorded, b"".join(self._pieces))
        await self._exchange.end(trailers)

    async def receive(self, *, ahead: bool = False) -> bytes:
        """See pipeline.exchange.Exchange."""
        return await self._exchange.receive(ahead=ahead)

    def trailers(self) -> Fields:
        """See pipeline.exchange.Exchange."""
        return self._exchange.trailers()

    def inform(self, status: int, fields: Fields) -> None:
        """See pipeline.exchange.Exchange."""
        self._exchange.inform(status, fields)

    async def upgrade(self, protocol: bytes, fields: Fields) -> None:
        """See pipeline.exchange.Exchange."""
        await self._exchange.upgrade(protocol, fields)

    async def in_thread(self, function: Callable[[], T]) -> T:
        """See pipeline.exchange.Exchange."""
        return await self._exchange.in_thread(function)

    async def disconnected(self) -> None:
        """See pipeline.exchange.Exchange."""
        await self._exchange.disconnected()


class Nobody:
    """The Exchange of a fetch that no client waits for."""

    def __init__(self, request: Request, facts: Facts, in_thread: InThread) -> None:
        self.request = request
        self.facts = facts
        self._in_thread = in_thread

    async def receive(self, *, ahead: bool = False) -> bytes:
        """See pipeline.exchange.Exchange."""
        return b""

    def trailers(self) -> Fields:
        """See pipeline.exchange.Exchange."""
        return ()

    def inform(self, status: int, fields: Fields) -> None:
        """See pipeline.exchange.Exchange."""

    async def respond(self, response: Response) -> None:
        """See pipeline.exchange.Exchange."""
        response.release()

    async def begin(self, response: Response) -> None:
        """See pipeline.exchange.Exchange."""

    async def send(self, data: bytes) -> None:
        """See pipeline.exchange.Exchange."""

    async def end(self, trailers: Fields = ()) -> None:
        """See pipeline.exchange.Exchange."""

    async def upgrade(self, protocol: bytes, fields: Fields) -> None:
        """See pipeline.exchange.Exchange; there is nobody to speak with."""
        raise RuntimeError("nobody asked for an upgrade")

    async def in_thread(self, function: Callable[[], T]) -> T:
        """See pipeline.exchange.Exchange."""
        return await self._in_thread(function)

    async def disconnected(self) -> None:
        """See pipeline.exchange.Exchange."""
        await for_ever()
