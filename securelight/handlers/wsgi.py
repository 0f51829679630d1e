"""Runs WSGI applications (PEP 3333), such as those of Flask and Django, in a bounded number of threads.

Owns the settings and the threads. One request is in wsgi_call, its environ in wsgi_environ. A thread cannot be killed:
one that never returns keeps its place, its client gets 504 after Limits.handler_seconds, and once all places are taken,
others get 503 after Limits.application_wait_seconds. Refused: running more threads than Limits.application_threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from securelight.handlers.application import check as check_application, load
from securelight.handlers.sendfile import SendfileConfig, faults as sendfile_faults, make_sendfile
from securelight.handlers.wsgi_call import WsgiCall
from securelight.handlers.wsgi_environ import ErrorStream, make_environ
from securelight.model.errors import ConfigError, Refusal
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import RESPONDED, Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securelight.handlers.sendfile import Sendfile
    from securelight.model.limits import Limits
    from securelight.model.request import Facts, Request
    from securelight.pipeline.compile import EventLog
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler, Responded


class WsgiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`wsgi`: a WSGI application, whatever it looks like; `app = "module:attribute"` finds out by itself."""

    app: str
    """The application, `module:attribute`."""
    app_directory: str = "."
    """Where its module lies, relative to the file that this stands in; put at the front of Python's path."""
    factory: bool = False
    """The attribute is a function without arguments that makes the application."""
    root_path: str = ""
    """The path that a proxy in front of us takes away, such as `/api`. The route's own path is added by itself."""
    sendfile: SendfileConfig = SendfileConfig()


class WsgiThreads:
    """The worker's places for WSGI calls, shared by all applications (a pipeline.compile.Service).

    Args:
        limits: how many, and how long a request waits for one.
        events: where it is told that there are too few.

    Attributes:
        abandoned: how many threads go on although nobody waits for them any more.
    """

    def __init__(self, limits: Limits, events: EventLog) -> None:
        self.abandoned = 0
        self._limits = limits
        self._events = events
        self._places = trio.CapacityLimiter(limits.application_threads)

    async def run(self, ready: Callable[[], None]) -> None:
        """Nothing has to be started; see pipeline.compile.Service."""
        ready()
        await trio.sleep_forever()

    async def take(self, holder: object) -> None:
        """A place for `holder`.

        Errors: Refusal 503 if none becomes free in time.
        """
        with trio.move_on_after(self._limits.application_wait_seconds) as waiting:
            await self._places.acquire_on_behalf_of(holder)
        if waiting.cancelled_caught:
            self._events.warning(
                "no thread for an application", threads=self._limits.application_threads, abandoned=self.abandoned
            )
            raise Refusal(503, "The application is busy.", fields=((b"retry-after", b"5"),))

    def give_back(self, holder: object, *, abandoned: bool) -> None:
        """The thread of `holder` has ended."""
        self._places.release_on_behalf_of(holder)
        self.abandoned -= abandoned


class WsgiHandler:
    """Answers requests by a WSGI application.

    Args:
        application: the callable.
        name: its `module:attribute`, for the log.
        root_path: what a proxy in front has taken off the path.
        threads: the worker's.
        events: where `wsgi.errors` goes.
        sendfile: answers with files that the application names; None where it may not.
    """

    __slots__ = ("_application", "_errors", "_root_path", "_sendfile", "_threads")

    def __init__(
        self,
        application: Any,
        name: str,
        root_path: str,
        threads: WsgiThreads,
        events: EventLog,
        sendfile: Sendfile | None = None,
    ) -> None:
        self._sendfile = sendfile
        self._application = application
        self._root_path = root_path
        self._threads = threads
        self._errors = ErrorStream(events, name)

    def __call__(self, _request: Request, _facts: Facts) -> Deferred:
        """Every answer of an application has to be waited for."""
        return Deferred(self._run)

    async def _run(self, exchange: Exchange) -> Responded:
        environ = make_environ(exchange.request, exchange.facts, self._root_path)
        environ["wsgi.errors"] = self._errors
        threads = self._threads
        holder = object()
        await threads.take(holder)
        call = WsgiCall(
            exchange,
            self._application,
            environ,
            lambda abandoned: threads.give_back(holder, abandoned=abandoned),
            self._sendfile,
        )
        try:
            await call.run()
        except trio.Cancelled:
            threads.abandoned += call.running
            raise
        return RESPONDED


def make_handler(
    application: Any, name: str, root_path: str, context: BuildContext, sendfile: Sendfile | None = None
) -> WsgiHandler:
    """The handler of an application that is loaded; all of a worker share their threads."""
    threads = next((service for service in context.services if isinstance(service, WsgiThreads)), None)
    if threads is None:
        threads = WsgiThreads(context.limits, context.events)
        context.services.append(threads)
    return WsgiHandler(application, name, root_path, threads, context.events, sendfile)


def check(settings: WsgiConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return [*check_application(settings, base), *sendfile_faults(settings.sendfile, base)]


def build(settings: WsgiConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports, and for an application that cannot be imported.
    """
    faults = sendfile_faults(settings.sendfile, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    application, _interface = load(settings, context, "wsgi")
    sendfile = make_sendfile(settings.sendfile, context.base, context.limits, context.events)
    return make_handler(application, settings.app, settings.root_path, context, sendfile)


FEATURE = Feature(name="wsgi", kind="handler", config_class=WsgiConfig, build=build, check=check)
