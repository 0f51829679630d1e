"""What slow work sees of its request: the head, the body as it arrives, and the ways to speak before the answer.

The server implements it in server/stream_task; handlers that wait are given it by `Deferred.run`. Everything here runs
in the stream's own task, or in those that it has started, one call at a time for each direction; it is cancelled with
it when the client goes away. Once the answer is whole, what is left of the work is the handler's own affair: it is no
longer cancelled by the client's leaving, only by the end of the worker and Limits.handler_seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.stage import Responded

T = TypeVar("T")


class Exchange(Protocol):
    """One request in progress.

    Attributes:
        request: its head.
        facts: what the stages found out.
    """

    request: Request
    facts: Facts

    async def receive(self, *, ahead: bool = False) -> bytes:
        """The next piece of the request body, in the sizes in which it came; b"" once it is whole.

        The first call answers an `Expect: 100-continue`. Back-pressure is built in: the client may send more only as
        pieces are taken. With `ahead` it may send Limits.upload_window_bytes before they are, on HTTP/2, where every
        time that it has to wait costs a long body as much as the body itself.

        Errors: ClientDisconnected if the client went away before the body was whole. Refusal 413 if it grows past
        Limits.request_body_bytes, 408 if it comes slower than the minimum rate, 400 if it is malformed.
        """
        ...

    def trailers(self) -> Fields:
        """The request's trailer fields; empty until `receive` has returned b""."""
        ...

    def inform(self, status: int, fields: Fields) -> None:
        """Send an interim response (103 Early Hints); dropped where the protocol or client does not take it."""

    async def respond(self, response: Response) -> None:
        """Send a whole answer now, while the work behind it goes on (an application's background tasks).

        The same as returning it from `Deferred.run`, filters included; `run` then returns RESPONDED. Nothing but
        `receive` and `disconnected` may be called afterwards. Returns once the last byte is queued.

        Errors: ClientDisconnected. BodyAborted if the body turned out shorter than announced; the stream is reset.
        """

    async def begin(self, response: Response) -> None:
        """Send the head of an answer whose body follows by `send`, and is closed by `end`.

        The head goes through the route's filters. `response.body` is a model.body.PushedBody, which stands for what
        follows; `response.content_length` announces it, None if it is not known.

        Errors: ClientDisconnected.
        """

    async def send(self, data: bytes) -> None:
        """Send more of the body after `begin`; waits until the client has room, so that little is held here.

        The caller keeps to the announced length, and sends nothing for HEAD or a status without content.

        Errors: ClientDisconnected.
        """

    async def end(self, trailers: Fields = ()) -> None:
        """The body is whole. If `run` returns or raises after `begin` without this, the stream is reset.

        Errors: ClientDisconnected.
        """

    async def upgrade(self, protocol: bytes, fields: Fields) -> None:
        """Grant a request that asks for another protocol: from now on both directions are bytes, without a length.

        101 on HTTP/1.1, 200 on HTTP/2; the route's filters do not see it. `receive` then gives what the client sends,
        b"" once it has ended its side; `send` and `end` are as after `begin`. The work is no longer cancelled when the
        client leaves: `receive` and `send` raise ClientDisconnected, and the work ends by itself, soon. Neither the
        minimum rate of bodies nor Limits.handler_seconds apply.

        Args:
            protocol: as the Upgrade field names it.
            fields: of the answer.

        Errors: ClientDisconnected. From then on `receive` may raise ServerLeaving, once: the server stops, or another
        generation takes its place.
        """

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run a blocking `function` in a worker thread, bounded by Limits.worker_threads. Not cancelled half-way."""
        ...

    async def disconnected(self) -> None:
        """Return when the client is gone or the stream was reset; used beside the work, in a nursery."""


class DirectWork(Protocol):
    """Work that goes on without a task."""

    def fail(self, error: Exception) -> None:
        """End it, and have a task raise `error` by `DirectExchange.go_on`, or the one that is to go on with it already:
        the client is gone, or it took too long."""


class DirectExchange(Exchange, Protocol):
    """One request in progress for which no task waits; see pipeline.stage.DirectlyDeferred. Nothing here waits.

    Attributes:
        direct: the work; None when it is over, or a task has begun to go on with it.
    """

    direct: DirectWork | None

    def go_on(self, run: Callable[[Exchange], Awaitable[Responded]]) -> None:
        """Leave what is to be done to `run`, in a task, as if it had been deferred.

        It is not called if the client is found gone before: `direct` stays until then, and hears of it by `fail`.
        """

    def answer(self, response: Response) -> None:
        """As `respond`, for a body that is bytes. `over` follows.

        Errors: those of filters, with nothing sent.
        """

    def begin_now(self, response: Response, data: bytes) -> bool:
        """As `begin`, and with it `data`, the beginning of the body. False if that has to be given to `send`.

        Errors: those of filters, with nothing sent.
        """
        ...

    def send_now(self, data: bytes, *, end: bool) -> bool:
        """As `send`, if there is room for all of it, and `end`; False, with nothing done, if not."""
        ...

    def over(self) -> None:
        """The answer is whole, and nothing is left to be done."""
