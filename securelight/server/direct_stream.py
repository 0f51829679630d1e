"""A Stream whose work may go on without a task (pipeline.stage.DirectlyDeferred), and gets one when it has to wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from securelight.model.body import ChangedPush
from securelight.model.errors import ClientDisconnected, Refusal
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from securelight.pipeline.run import Outcome
from securelight.pipeline.stage import Deferred, DirectlyDeferred, Responded
from securelight.protocol.direct_data import DIRECT_BYTES
from securelight.server.stream_task import Stream

if TYPE_CHECKING:
    from securelight.pipeline.exchange import DirectWork, Exchange
    from securelight.server.http_session import HttpSession


class DirectStream(Stream):
    """One request in progress; implements pipeline.exchange.DirectExchange.

    Args:
        session, request, facts, started: as of a Stream.
    """

    __slots__ = ("direct",)

    def __init__(self, session: HttpSession, request: Request, facts: Facts, started: float) -> None:
        super().__init__(session, request, facts, started)
        self.direct: DirectWork | None = None

    # What the connection tells the stream.

    def abandon(self) -> None:
        """See Stream."""
        if not self.gone:
            super().abandon()
            if self.direct is not None:
                self.direct.fail(ClientDisconnected())

    def give_up(self) -> None:
        """See Stream."""
        super().give_up()
        if self.direct is not None:
            self.direct.fail(Refusal(504, "The application took too long."))

    # pipeline.exchange.DirectExchange

    def begin_directly(self, work: Outcome | Response) -> bool:
        """Begin the work of a DirectlyDeferred; False if it has to be run in a task."""
        assert isinstance(work, Outcome)
        deferred = work.deferred
        assert isinstance(deferred, DirectlyDeferred)
        self._outcome, self.request = work, work.request
        try:
            return deferred.begin(self)
        except Exception as error:  # our own fault: the stream ends as if a task had raised it
            failure = error

        async def failed(_exchange: Exchange) -> Responded:
            raise failure

        self.go_on(failed)
        return True

    def go_on(self, run: Callable[[Exchange], Awaitable[Responded]]) -> None:
        """See pipeline.exchange.DirectExchange."""
        work = self._outcome
        assert work is not None
        work.deferred = Deferred(run)
        self._session.service.runners.start_soon(self, self.run, work)

    def answer(self, response: Response) -> None:
        """See pipeline.exchange.DirectExchange."""
        outcome = self._outcome
        assert outcome is not None
        if outcome.route.filters:
            response = outcome.route.filtered(outcome.request, self.facts, response)
        self.begun = True
        self._session.answer(self.received, self.facts, response, self.started)
        self._finish()

    def begin_now(self, response: Response, data: bytes) -> bool:
        """See pipeline.exchange.DirectExchange."""
        outcome = self._outcome
        assert outcome is not None
        response = outcome.route.filtered(outcome.request, self.facts, response)
        if isinstance(response.body, ChangedPush):
            self._change = response.body
        session = self._session
        if self._change is not None or len(data) > session.capacity(self):
            self._begin(response, end=False)
            return self._change is None and self.send_now(data, end=False)
        self.begun = True
        self.status = response.status
        if len(data) < DIRECT_BYTES:
            session.respond(self, response, data, end=False)
        else:  # what comes with the head is copied by an engine, what is written by itself need not be
            session.respond(self, response, end=False)
            session.write(self, data, end=False)
        self.sent_bytes = len(data)
        return True

    def send_now(self, data: bytes, *, end: bool) -> bool:
        """See pipeline.exchange.DirectExchange."""
        session = self._session
        room = session.capacity(self)
        if len(data) > room:
            if room < 0:
                return False
            session.push()
            if len(data) > session.capacity(self):
                return False
        session.write(self, data, end=end)
        self.sent_bytes += len(data)
        if end:
            self._finish()
        return True

    def over(self) -> None:
        """See pipeline.exchange.DirectExchange."""
        self._session.stream_done(self)
