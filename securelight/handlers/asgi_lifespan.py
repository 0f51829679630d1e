"""The lifespan of an ASGI application: startup before the first request, shutdown after the last one.

Source: the ASGI lifespan protocol, version 2.0. One LifespanService runs one application object for as long as the
worker lives, whatever the number of routes that lead to it. The application's task is shielded from the worker's
cancellation, which is turned into `lifespan.shutdown`; only when its time is up is it cancelled.

An application that raises or returns before it has answered `lifespan.startup` does not know the protocol, and is
served without it. One that says `lifespan.startup.failed` must not be served: that is a LifespanFailed.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import trio

from securelight.model.errors import SecurelightError
from securelight.model.extras import install_command

if TYPE_CHECKING:
    from securelight.pipeline.compile import EventLog

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

ASYNCIO_HINT = (
    'applications run on Trio here: for one that needs asyncio set event_loop = "asyncio" in its asgi table, after '
    f"{install_command('asyncio')}; or use anyio, as Starlette and FastAPI do, instead of asyncio"
)
_NO_ASYNCIO = ("no running event loop", "There is no current event loop")
_FOREIGN_AWAIT = "library written for some other framework like asyncio"
"""What Trio says of an asyncio future that is awaited on it."""


class LifespanFailed(SecurelightError):
    """The application answered `lifespan.startup.failed`: the worker may not serve it."""


class _Phase(enum.Enum):
    STARTING = enum.auto()
    SERVING = enum.auto()
    FAILED = enum.auto()
    STOPPING = enum.auto()
    STOPPED = enum.auto()


class LifespanService:
    """Runs the lifespan of one application (a pipeline.compile.Service).

    Args:
        application: the ASGI callable.
        name: its `module:attribute`, for the log.
        events: the event log.
        shutdown_seconds: how long the application may take to shut down before it is cancelled.

    Attributes:
        application: what is called.
        given: the application itself.
        state: the namespace that the application fills at startup; each request gets a shallow copy.
    """

    def __init__(self, application: Application, name: str, events: EventLog, shutdown_seconds: float) -> None:
        self.application = application
        self.given = application
        self.state: dict[str, Any] = {}
        self._name = name
        self._events = events
        self._shutdown_seconds = shutdown_seconds
        self._phase = _Phase.STARTING
        self._failure = ""
        self._startup_given = False
        self._begun = trio.Event()
        self._stop = trio.Event()
        self._over = trio.Event()
        self._scope = trio.CancelScope(shield=True)

    async def run(self, ready: Callable[[], None]) -> None:
        """Start the application, call `ready`, and shut it down when cancelled.

        Errors: LifespanFailed if the application says that it cannot start.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_application)
            try:
                await self._begun.wait()
                if self._phase is not _Phase.FAILED:
                    ready()
                    await trio.sleep_forever()
            finally:
                if self._phase is _Phase.SERVING:
                    await self._shut_down()
                self._scope.cancel()
        raise LifespanFailed(f"application {self._name} failed to start: {self._failure}")

    async def _shut_down(self) -> None:
        self._phase = _Phase.STOPPING
        self._stop.set()
        with trio.move_on_after(self._shutdown_seconds, shield=True) as limit:
            await self._over.wait()
        if limit.cancelled_caught:
            self._events.warning(
                "application did not shut down in time", application=self._name, seconds=self._shutdown_seconds
            )

    async def _run_application(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            with self._scope:
                await self.application(scope, self._receive, self._send)
            self._ended(None)
        except (Exception, SystemExit) as error:
            self._ended(error)
        finally:
            self._begun.set()
            self._over.set()

    def _ended(self, error: BaseException | None) -> None:
        """The application's lifespan call came back; whether that is a fault depends on what it had said before."""
        if self._phase is _Phase.STARTING:
            if not self._scope.cancel_called:
                reason = repr(error) if error is not None else "it returned"
                hint = {"hint": ASYNCIO_HINT} if needs_asyncio(error) else {}
                self._events.info(
                    "application has no lifespan, serving without", application=self._name, reason=reason, **hint
                )
        elif error is not None and self._phase is not _Phase.FAILED:
            self._events.error("application failed in its lifespan", application=self._name, exc_info=error)

    async def _receive(self) -> Message:
        if not self._startup_given:
            self._startup_given = True
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        if self._phase is _Phase.STOPPING:
            self._phase = _Phase.STOPPED
            return {"type": "lifespan.shutdown"}
        await trio.sleep_forever()
        raise AssertionError("sleep_forever returned")

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and self._phase is _Phase.STARTING:
            self._phase = _Phase.SERVING
            self._begun.set()
        elif kind == "lifespan.startup.failed" and self._phase is _Phase.STARTING:
            self._phase = _Phase.FAILED
            self._failure = str(message.get("message", "")) or "it gave no reason"
            self._begun.set()
        elif kind == "lifespan.shutdown.complete" and self._phase is _Phase.STOPPED:
            self._over.set()
        elif kind == "lifespan.shutdown.failed" and self._phase is _Phase.STOPPED:
            reason = str(message.get("message", ""))
            self._events.error("application failed to shut down", application=self._name, reason=reason)
            self._over.set()
        else:
            raise RuntimeError(f"lifespan message {kind!r} is unknown or out of order")


def needs_asyncio(error: BaseException | None) -> bool:
    """True if `error`, or one in it or behind it, is what comes of asyncio's functions where there is no asyncio."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(needs_asyncio, error.exceptions))
    text = str(error)
    return (
        (isinstance(error, RuntimeError) and text.startswith(_NO_ASYNCIO))
        or (isinstance(error, TypeError) and _FOREIGN_AWAIT in text)
        or (error is not None and needs_asyncio(error.__cause__))
    )
