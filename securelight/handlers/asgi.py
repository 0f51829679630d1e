"""Runs ASGI 3 applications on Trio: those on anyio (Starlette and FastAPI among them) and on trio itself.

Owns the settings and the scope of a request. `application` loads the application and finds out whether it is one of
WSGI, which then `wsgi` runs. What server and application say to each other is in asgi_call and asgi_websocket, startup
and shutdown in asgi_lifespan, the TLS extension in asgi_tls. Refused: upgrades to anything but WebSocket (on HTTP/1.1
they are ignored).

The application is imported in the worker, after privileges were dropped, and is run in the stream's own task: it is
cancelled when the client leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from securelight.handlers import application, asyncio_bridge
from securelight.handlers.asgi_call import AsgiCall
from securelight.handlers.asgi_lifespan import ASYNCIO_HINT, Application, LifespanService, needs_asyncio
from securelight.handlers.asgi_tls import tls_extension
from securelight.handlers.asgi_websocket import WebSocketCall
from securelight.handlers.asyncio_bridge import AsyncioLifespan
from securelight.handlers.websocket_link import SilenceWatch
from securelight.handlers.wsgi import make_handler
from securelight.model.errors import ConfigError, Refusal
from securelight.model.request import UNIX
from securelight.model.upgrade import wanted_protocols
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import RESPONDED, Deferred
from securelight.protocol.websocket import subprotocols_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.handlers.asgi_lifespan import Scope
    from securelight.model.limits import Limits
    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler, Responded


class AsgiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`asgi`: an application of ASGI 3, or of WSGI if it looks so; `app = "module:attribute"` is short for it."""

    app: str
    """The application, `module:attribute`."""
    app_directory: str = "."
    """Where its module lies, relative to the file that this stands in; put at the front of Python's path."""
    factory: bool = False
    """The attribute is a function without arguments that makes the application."""
    root_path: str = ""
    """The path that a proxy in front of us takes away, such as `/api`. The route's own path is added by itself."""
    interface: Literal["auto", "asgi", "wsgi"] = "auto"
    """What the application is; found out from its arguments unless this says it."""
    websocket_compression: bool = True
    """Grant permessage-deflate to clients that offer it."""
    event_loop: Literal["trio", "asyncio"] = "trio"
    """What it runs on: `asyncio` for applications that use neither anyio nor trio (extra: asyncio)."""


def check(settings: AsgiConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types. Runs nothing of the application."""
    faults = list(application.check(settings, base))
    if settings.event_loop == "asyncio" and not asyncio_bridge.available():
        faults.append(asyncio_bridge.MISSING)
    return faults


def build(settings: AsgiConfig, context: BuildContext) -> Handler:
    """The handler; an ASGI application's lifespan is added to the worker's services.

    Errors: ConfigError, as those of application.load.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    found, interface = application.load(settings, context, settings.interface)
    if interface == "wsgi":
        return make_handler(found, settings.app, settings.root_path, context)
    context.upgrades = True
    lifespan = _lifespan_of(found, settings, context)
    return AsgiHandler(
        lifespan.application,
        settings.root_path,
        lifespan,
        context.limits,
        _silence_watch(context),
        websocket_compression=settings.websocket_compression,
    )


def _silence_watch(context: BuildContext) -> SilenceWatch:
    """One for all of the worker."""
    for service in context.services:
        if isinstance(service, SilenceWatch):
            return service
    watch = SilenceWatch(context.limits)
    context.services.append(watch)
    return watch


def _lifespan_of(found: Application, settings: AsgiConfig, context: BuildContext) -> LifespanService:
    """One lifespan for each application object, however many routes lead to it."""
    kind = AsyncioLifespan if settings.event_loop == "asyncio" else LifespanService
    for service in context.services:
        if isinstance(service, LifespanService) and service.given is found and type(service) is kind:
            return service
    lifespan = kind(found, settings.app, context.events, context.limits.graceful_stop_seconds)
    context.services.append(lifespan)
    return lifespan


class AsgiHandler:
    """Answers requests by an application.

    Args:
        application: the ASGI callable.
        root_path: what a proxy in front has taken off the path.
        lifespan: whose state each request gets a copy of.
        limits: the server's bounds.
        silence_watch: runs beside the requests; without it silent WebSockets are not asked whether they are there.
        websocket_compression: grant it to clients that offer it.
    """

    __slots__ = ("_application", "_compress", "_lifespan", "_limits", "_raw_root_path", "_root_path", "_silence_watch")

    def __init__(
        self,
        application: Application,
        root_path: str,
        lifespan: LifespanService,
        limits: Limits,
        silence_watch: SilenceWatch | None = None,
        *,
        websocket_compression: bool = True,
    ) -> None:
        self._application = application
        self._root_path = root_path
        self._raw_root_path = quote(root_path).encode("ascii")
        self._lifespan = lifespan
        self._limits = limits
        self._compress = websocket_compression
        self._silence_watch = silence_watch or SilenceWatch(limits)

    def __call__(self, request: Request, _facts: Facts) -> Deferred:
        """Every answer of an application has to be waited for."""
        if request.headers.get(b"upgrade") is not None:
            if b"websocket" in wanted_protocols(request):
                return Deferred(self._run_websocket)
            if request.method == "CONNECT":
                raise Refusal(501, "The protocol is not supported.", "extended CONNECT to another protocol")
        return Deferred(self._run)

    async def _run(self, exchange: Exchange) -> Responded:
        call = AsgiCall(exchange, self._limits)
        try:
            await self._application(self.scope(exchange.request, exchange.facts), call.receive, call.send)
        except (Exception, SystemExit, BaseExceptionGroup) as error:
            if needs_asyncio(error):
                error.add_note(ASYNCIO_HINT)
            instead = call.failed(error)
            if instead is error:
                raise
            raise instead from error
        call.finish()
        return RESPONDED

    async def _run_websocket(self, exchange: Exchange) -> Responded:
        request = exchange.request
        offered = subprotocols_of(request)
        call = WebSocketCall(exchange, offered, self._limits, self._silence_watch, compress=self._compress)
        scope = self.scope(request, exchange.facts)
        del scope["method"]
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if request.scheme == "https" else "ws"
        scope["subprotocols"] = offered
        if request.method == "CONNECT":
            scope["headers"] = [field for field in scope["headers"] if field[0] != b"upgrade"]  # it was :protocol
        extensions = {name: value for name, value in scope["extensions"].items() if name == "tls"}
        scope["extensions"] = {**extensions, "websocket.http.response": {}}
        try:
            await call.run(self._application, scope)
        except Exception as error:
            if needs_asyncio(error):
                error.add_note(ASYNCIO_HINT)
            raise
        return RESPONDED

    def scope(self, request: Request, facts: Facts) -> Scope:
        """The connection scope of `request` (ASGI HTTP 2.5)."""
        peer = request.peer
        path = request.path
        if not path.isascii():
            # Bytes that are not UTF-8 would break applications that encode the path again; raw_path has them.
            path = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        address = facts.client_address
        client = None if address == UNIX else (address, peer.port if address == peer.address else 0)
        local = peer.local_address
        extensions: dict[str, Any] = {
            "http.response.trailers": {},
            "http.response.early_hint": {},
            "http.response.pathsend": {},
        }
        if peer.tls.version:
            extensions["tls"] = tls_extension(peer.tls, facts.certificate)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": request.http_version,
            "method": request.method,
            "scheme": request.scheme,
            "path": self._root_path + path,
            "raw_path": self._raw_root_path + request.target.partition(b"?")[0],
            "query_string": request.query,
            "root_path": self._root_path + facts.route_path,
            "headers": list(request.headers.with_one_cookie()),
            "client": client,
            "server": (local.removeprefix(UNIX), None if local.startswith(UNIX) else peer.local_port),
            "state": self._lifespan.state.copy(),
            "extensions": extensions,
        }


FEATURE = Feature(name="asgi", kind="handler", config_class=AsgiConfig, build=build, check=check)
