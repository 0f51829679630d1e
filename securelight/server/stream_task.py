"""One request that has to wait: its work, and what its handler sees of it (pipeline/exchange).

A Stream belongs to its connection's session, which feeds it body events and cancels it when the client goes. It is run
by one of the listener's runners (stream_runners) and never lets an exception out: Refusal becomes an error page, our
own failures go through the fence, and where the answer has begun already the stream is broken off so that the client
sees an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import trio

from securelight.model.body import AsyncBody, ChangedPush
from securelight.model.errors import BodyAborted, ClientDisconnected, Refusal, ServerLeaving
from securelight.model.headers import Fields
from securelight.model.request import Facts, Request
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.model.status import error_response
from securelight.pipeline.run import Outcome, finish, refuse
from securelight.pipeline.stage import Responded
from securelight.server.deadlines import Pace
from securelight.server.fence import contained
from securelight.server.gate import Gate

if TYPE_CHECKING:
    from securelight.server.http_session import HttpSession

T = TypeVar("T")
PIECE_BYTES = 65_536
"""Of request bodies, at the most, that handlers are given at once: what a turn reads."""


class Stream:
    """One request in progress; implements pipeline.exchange.Exchange.

    Args:
        session: of the connection whose stream it is.
        request, facts: as the pipeline saw them. What a stage makes of the request is `request` later, and `received`
            the one that came.
        started: time.monotonic() at the request's head.
    """

    __slots__ = (
        "_ahead", "_buffer", "_change", "_disconnected", "_fault", "_leaving_untold", "_outcome", "_overdue", "_reader",
        "_received_bytes", "_session", "_trailers", "_waited_seconds", "_waiting_since", "_whole", "answered", "begun",
        "buffered_bytes", "facts", "gone", "leaving", "made", "pace", "received", "request", "scope",
        "sent_bytes", "started", "status", "upgraded", "writer",
    )  # fmt: skip

    def __init__(self, session: HttpSession, request: Request, facts: Facts, started: float) -> None:
        self.request = self.received = request
        self.facts = facts
        self.started = started
        self.scope: trio.CancelScope | None = None
        """What cancels the work, while it runs; set by the runner."""
        self.writer = Gate()
        self.pace = Pace()
        self.sent_bytes = 0
        self.status = 0
        self.begun = False
        self.answered = False
        self.gone = self.made = False
        self.upgraded = False
        """It is a tunnel, which outlives the limits of a request, and ends by itself when the client is gone."""
        self.leaving = False
        """The server is about to stop."""
        self._leaving_untold = False
        """A tunnel's handler has yet to hear of it."""
        self.buffered_bytes = 0
        self._session = session
        self._outcome: Outcome | None = None
        self._buffer: deque[tuple[bytes, int]] = deque()
        self._change: ChangedPush | None = None
        self._reader = Gate()
        self._disconnected: trio.Event | None = None
        self._fault: Refusal | None = None
        self._trailers: Fields = ()
        self._overdue = False
        self._whole = not request.has_body
        self._ahead = False
        """The client was told that it may send more ahead."""
        self._received_bytes = 0
        self._waited_seconds = 0.0
        self._waiting_since = 0.0

    # What the connection tells the stream.

    def body_received(self, data: bytes, credit: int) -> None:
        """A piece of the request body came."""
        self._buffer.append((data, credit))
        self.buffered_bytes += len(data)
        self._received_bytes += len(data)
        self._reader.open()

    def body_ended(self, trailers: Fields) -> None:
        """The request is whole."""
        self._whole = True
        self._trailers = trailers
        self._reader.open()

    def body_refused(self, refusal: Refusal) -> None:
        """The request body is malformed, too large or too slow."""
        self._fault = refusal
        self._reader.open()

    def drop_buffer(self) -> int:
        """Drop what nobody has received; returns its credit."""
        credit = sum(credit for _data, credit in self._buffer)
        self._buffer.clear()
        self.buffered_bytes = 0
        return credit

    def abandon(self) -> None:
        """The client is gone or has reset the stream: cancel the work."""
        if self.gone:
            return
        self.gone = True
        if self._disconnected is not None:
            self._disconnected.set()
        if self.upgraded:
            self._reader.open()
            self.writer.open()
        elif self.scope is not None:
            self.scope.cancel()

    def leave(self) -> None:
        """The server is about to stop: tell the handler of a tunnel."""
        if self.upgraded and not self.leaving:
            self.leaving = self._leaving_untold = True
            self._reader.open()

    def give_up(self) -> None:
        """The handler has taken longer than limits.handler_seconds: 504, or a broken answer if one has begun."""
        self._overdue = True
        if self.scope is not None:
            self.scope.cancel()

    def too_slow(self, now: float) -> Refusal | None:
        """Whether the client sends its body too slowly; only the time that its handler waits for it counts."""
        limits = self._session.service.limits
        waited = self._waited_seconds + (now - self._waiting_since if self._reader.waiting else 0.0)
        if waited > limits.body_grace_seconds and self._received_bytes < waited * limits.body_minimum_bytes_per_second:
            return Refusal(408, "The request body came too slowly.", f"{self._received_bytes} bytes in {waited:.0f} s")
        return None

    # pipeline.exchange.Exchange

    async def receive(self, *, ahead: bool = False) -> bytes:
        """See pipeline.exchange.Exchange."""
        if ahead and not self._ahead and not self._whole:
            self._ahead = True
            if self._session.adapter is not None:
                self._session.adapter.widen(self.request.stream_id)
                self._session.consumed(self, 0)  # a turn that says so
        if not self._buffer and not self._whole and self.request.expects_continue and not self._received_bytes:
            self._session.inform(self, 100, ())
        while not self._buffer:
            if self.gone or self.answered:
                raise ClientDisconnected
            if self._fault is not None:
                raise self._fault
            if self._whole:
                return b""
            if self._leaving_untold:
                self._leaving_untold = False
                raise ServerLeaving
            self._waiting_since = monotonic()
            await self._reader.wait()
            self._waited_seconds += monotonic() - self._waiting_since
        data, credit = self._buffer.popleft()
        if self._buffer:
            data, credit = self._joined(data, credit)
        self.buffered_bytes -= len(data)
        self._session.consumed(self, credit)
        return data

    def _joined(self, data: bytes, credit: int) -> tuple[bytes, int]:
        """`data` and what else is there: each piece costs who takes it more than its bytes do."""
        buffer, pieces, room = self._buffer, [data], PIECE_BYTES - len(data)
        while buffer and len(buffer[0][0]) <= room:
            more, more_credit = buffer.popleft()
            pieces.append(more)
            room -= len(more)
            credit += more_credit
        return b"".join(pieces), credit

    def trailers(self) -> Fields:
        """See pipeline.exchange.Exchange."""
        return self._trailers if not self._buffer else ()

    def inform(self, status: int, fields: Fields) -> None:
        """See pipeline.exchange.Exchange."""
        if not self.gone and not self.begun:
            self._session.inform(self, status, fields)

    async def respond(self, response: Response) -> None:
        """See pipeline.exchange.Exchange."""
        outcome = self._outcome
        if outcome is not None and outcome.route.filters:
            response = outcome.route.filtered(outcome.request, self.facts, response)
        if type(response.body) is bytes and not self.gone:
            self.begun = True
            self._session.answer(self.received, self.facts, response, self.started)
            self._finish()
        else:
            await self._answer(response)

    async def begin(self, response: Response) -> None:
        """See pipeline.exchange.Exchange."""
        outcome = self._outcome
        if outcome is not None:
            response = outcome.route.filtered(outcome.request, self.facts, response)
        if isinstance(response.body, ChangedPush):
            self._change = response.body
        self._begin(response, end=False)

    def _begin(self, response: Response, *, end: bool) -> None:
        if self.gone:
            raise ClientDisconnected
        self.begun = True
        self.status = response.status
        self._session.respond(self, response, end=end)
        if end:
            self._finish()

    def _finish(self) -> None:
        """The answer is whole. What its handler still does is its own affair, and goes on when the client leaves."""
        self.answered = True
        self._reader.open()
        self._session.stream_answered(self)

    async def send(self, data: bytes) -> None:
        """See pipeline.exchange.Exchange."""
        change = self._change
        most = len(data) if change is None else change.piece_bytes or len(data)
        for start in range(0, len(data), most or 1):
            piece = data[start : start + most]
            await self._send(piece if change is None else await change.change(piece))

    async def _send(self, data: bytes) -> None:
        session = self._session
        room = session.capacity(self)
        if len(data) <= room and not self.gone:
            session.write(self, data, end=False)
            self.sent_bytes += len(data)
            return
        view = memoryview(data)
        while view:
            room = session.capacity(self)
            if room == 0:
                session.push()
                # A client that reads as fast as a handler writes must not keep the worker to itself.
                await trio.lowlevel.checkpoint()
                room = session.capacity(self)
            if room < 0 or self.gone:
                raise ClientDisconnected
            if room == 0:
                session.wait_for_room(self)
                await self.writer.wait()
                continue
            piece, view = view[:room], view[room:]
            session.write(self, bytes(piece), end=False)
            self.sent_bytes += len(piece)
        if self.gone:
            raise ClientDisconnected

    async def end(self, trailers: Fields = ()) -> None:
        """See pipeline.exchange.Exchange."""
        if self._change is not None:
            await self._send(await self._change.last())
        if self.gone:
            raise ClientDisconnected
        if trailers:
            self._session.end_with_trailers(self, trailers)
        else:
            self._session.write(self, b"", end=True)
        self._finish()

    async def upgrade(self, protocol: bytes, fields: Fields) -> None:
        """See pipeline.exchange.Exchange."""
        if self.gone:
            raise ClientDisconnected
        self._whole = self._whole and self.request.has_body  # HTTP/1.1's request had none: its tunnel begins now
        self.status = self._session.upgrade(self, protocol, fields)
        self.begun = self.upgraded = True
        if self._session.service.draining:
            self.leave()

    async def in_thread(self, function: Callable[[], T]) -> T:
        """See pipeline.exchange.Exchange."""
        return await trio.to_thread.run_sync(function, limiter=self._session.service.threads)

    async def disconnected(self) -> None:
        """See pipeline.exchange.Exchange."""
        if self._disconnected is None:
            self._disconnected = trio.Event()
        if self.gone:
            self._disconnected.set()
        await self._disconnected.wait()

    # The task.

    async def run(self, work: Outcome | Response) -> None:
        """Wait for the answer and send it. The task's main function; never raises but for cancellation.

        Whatever happens in it, or in telling the client of it, ends with this stream.
        """
        try:
            try:
                while isinstance(work, Outcome):
                    if self.gone:
                        raise ClientDisconnected
                    self._outcome, self.request = work, work.request
                    try:
                        answer = await work.deferred.run(self)
                    except Refusal as refusal:
                        if self.begun:
                            raise
                        work = refuse(self._session.service.sites, work, refusal)
                        continue
                    if isinstance(answer, Responded):
                        return
                    work = finish(self._session.service.sites, work, answer)
                await self._answer(work)
            except Refusal as refusal:
                await self._refused(refusal)
            except Exception as error:
                self._failed(error)
            except BaseException as error:
                self._failed(contained(error))
        except Exception as error:
            self._session.service.fence.report(error, "ending a stream")
        finally:
            if self._change is not None:
                self._change.close()
            if self._overdue:
                self._too_late()
            self._session.stream_done(self)

    def _too_late(self) -> None:
        try:
            if not self.gone and not self.begun:
                self._begin_error(Refusal(504, "The application took too long."))
        except Exception as error:
            self._session.service.fence.report(error, "ending a stream")

    async def _answer(self, response: Response) -> None:
        body = response.body
        if self.request.method == "HEAD" or response.status in BODYLESS_STATUSES:
            response.release()
            self._begin(response, end=True)
        elif isinstance(body, AsyncBody):
            await self._send_async_body(response, body)
        elif self.gone:
            response.release()
            raise ClientDisconnected
        else:
            self.begun = True
            self._session.answer(self.received, self.facts, response, self.started)
            self._finish()

    async def _send_async_body(self, response: Response, body: AsyncBody) -> None:
        self._begin(response, end=False)
        announced, self.made = response.content_length, body.made
        chunks = body.chunks()
        try:
            async for chunk in chunks:
                if announced is not None and self.sent_bytes + len(chunk) > announced:
                    raise BodyAborted("the body is longer than its content-length")
                await self._send(chunk)
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await close()
        if announced is not None and self.sent_bytes != announced:
            raise BodyAborted("the body is shorter than its content-length")
        await self.end(body.trailers())

    async def _refused(self, refusal: Refusal) -> None:
        if self.begun:
            self._session.break_off(self, refusal.detail)
        elif not self.gone:
            outcome = self._outcome
            if outcome is None:
                response = error_response(refusal)
            else:
                response = outcome.route.refuse(self.request, self.facts, refusal)
            await self._answer(response)

    def _failed(self, error: Exception) -> None:
        """Our failure, or an application's: a traceback in the log, an id for the client."""
        if isinstance(error, ClientDisconnected) or (self.gone and isinstance(error, OSError)):
            return
        if isinstance(error, BodyAborted) and not self.answered:
            self._session.break_off(self, str(error))
            return
        self.facts.error_id = self._session.service.fence.report(
            error, "answering", method=self.request.method, target=self.request.target.decode("ascii", "replace")
        )
        if self.answered:
            return
        if self.begun:
            self._session.break_off(self, "internal error")
        elif not self.gone:
            self._begin_error(Refusal(500))

    def _begin_error(self, refusal: Refusal) -> None:
        outcome = self._outcome
        try:
            if outcome is None:
                response = error_response(refusal, self.facts.error_id)
            else:
                response = outcome.route.refuse(self.request, self.facts, refusal)
        except Exception as error:
            self._session.service.fence.report(error, "making an error page")
            response = error_response(refusal, self.facts.error_id)
        self.begun = True
        self._session.answer(self.received, self.facts, response, self.started)
        self._finish()
