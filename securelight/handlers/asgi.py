"""Runs ASGI 3 applications on Trio: those on anyio (Starlette and FastAPI among them) and on trio itself.

Owns the settings, the import of the application and the scope of a request. What the two of them say to each other is
in asgi_call, startup and shutdown in asgi_lifespan, the TLS extension in asgi_tls. Refused: WebSocket (an upgrade is
ignored, the request answered as an ordinary one), applications that need asyncio, WSGI.

The application is imported in the worker, after privileges were dropped, and is run in the stream's own task: it is
cancelled when the client leaves.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec

from securelight.handlers.asgi_call import AsgiCall
from securelight.handlers.asgi_lifespan import ASYNCIO_HINT, Application, LifespanService, needs_asyncio
from securelight.handlers.asgi_tls import tls_extension
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import RESPONDED, Deferred

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.handlers.asgi_lifespan import Scope
    from securelight.model.limits import Limits
    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler, Responded

_REFERENCE = re.compile(r"(?!\d)\w+(?:\.(?!\d)\w+)*:(?!\d)\w+(?:\.(?!\d)\w+)*")
_ROOT_PATH = re.compile(r"(?:/[^/\s?#%\\\x00-\x1f\x7f]+)*")


class AsgiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`asgi`: an ASGI 3 application; `app = "module:attribute"` is short for it."""

    app: str
    """The application, `module:attribute`."""
    app_directory: str = "."
    """Where its module lies, relative to the file that this stands in; put at the front of Python's path."""
    factory: bool = False
    """The attribute is a function without arguments that makes the application."""
    root_path: str = ""
    """The path that a proxy in front of us takes away, such as `/api`. The route's own path is added by itself."""


def check(settings: AsgiConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types. Runs nothing of the application."""
    faults: list[str] = []
    directory = base / settings.app_directory
    if not directory.is_dir():
        faults.append(f"app_directory {settings.app_directory!r} is not a directory")
    if not _REFERENCE.fullmatch(settings.app):
        faults.append(f'app {settings.app!r} is not of the form "module:attribute", such as "shop.main:app"')
    elif _find_top_level(settings.app, directory) is None:
        faults.append(f"app: {_not_found(settings)}")
    if not _ROOT_PATH.fullmatch(settings.root_path):
        faults.append(f'root_path {settings.root_path!r} must begin with a slash and not end with one, such as "/api"')
    return faults


def _find_top_level(reference: str, directory: Path) -> object | None:
    name = reference.partition(":")[0].partition(".")[0]
    if name in sys.modules or name in sys.builtin_module_names:
        return name
    return importlib.machinery.PathFinder.find_spec(name, [str(directory.resolve()), *sys.path])


def _not_found(settings: AsgiConfig) -> str:
    module = settings.app.partition(":")[0]
    return (
        f"there is no module {module!r} in app_directory {settings.app_directory!r} nor in {sys.prefix}; "
        "set app_directory to the folder that holds it, or install it there"
    )


def build(settings: AsgiConfig, context: BuildContext) -> Handler:
    """The handler; the application's lifespan is added to the worker's services.

    Errors: ConfigError for what `check` reports, and for an application that cannot be imported. The traceback of its
    own error goes to the event log.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    directory = str((context.base / settings.app_directory).resolve())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    application = _load(settings, context)
    return AsgiHandler(application, settings.root_path, _lifespan_of(application, settings, context), context.limits)


def _load(settings: AsgiConfig, context: BuildContext) -> Application:
    module_name, _, attributes = settings.app.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise ConfigError(context.where, f"app: {_not_found(settings)}") from error
        raise _own_error(settings, context, error, f"its module {module_name!r} needs {error.name!r}") from error
    except (Exception, SystemExit) as error:
        raise _own_error(settings, context, error, f"its module {module_name!r} fails when imported") from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise ConfigError(context.where, f"app: module {module_name!r} has no attribute {attributes!r}")
        found = getattr(found, attribute)
    if settings.factory:
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise _own_error(settings, context, error, f"its factory {attributes!r} fails") from error
    _check_callable(found, settings, context)
    return cast("Application", found)


def _own_error(settings: AsgiConfig, context: BuildContext, error: BaseException, what: str) -> ConfigError:
    context.events.error("application cannot be loaded", application=settings.app, exc_info=error)
    return ConfigError(
        context.where,
        f"app {settings.app!r}: {what}: {type(error).__name__}: {error} (the event log has the traceback)",
    )


def _check_callable(found: Any, settings: AsgiConfig, context: BuildContext) -> None:
    """Tell an application from what people write instead of it.

    Errors: ConfigError.
    """
    what = ""
    if not callable(found):
        what = f"is a {type(found).__name__}, not an application"
    else:
        try:
            signature = inspect.signature(found)
        except ValueError:
            return
        try:
            signature.bind({}, None, None)
        except TypeError:
            what = "does not take (scope, receive, send)"
            if not settings.factory and not any(
                parameter.default is parameter.empty
                and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
                for parameter in signature.parameters.values()
            ):
                what += "; if it makes the application, set factory = true"
            elif len(signature.parameters) == 2:
                what += "; WSGI applications are not supported"
    if what:
        raise ConfigError(context.where, f"app {settings.app!r} {what}")


def _lifespan_of(application: Application, settings: AsgiConfig, context: BuildContext) -> LifespanService:
    """One lifespan for each application object, however many routes lead to it."""
    for service in context.services:
        if isinstance(service, LifespanService) and service.application is application:
            return service
    lifespan = LifespanService(application, settings.app, context.events, context.limits.graceful_stop_seconds)
    context.services.append(lifespan)
    return lifespan


class AsgiHandler:
    """Answers requests by an application.

    Args:
        application: the ASGI callable.
        root_path: what a proxy in front has taken off the path.
        lifespan: whose state each request gets a copy of.
        limits: the server's bounds.
    """

    __slots__ = ("_application", "_lifespan", "_limits", "_raw_root_path", "_root_path")

    def __init__(self, application: Application, root_path: str, lifespan: LifespanService, limits: Limits) -> None:
        self._application = application
        self._root_path = root_path
        self._raw_root_path = quote(root_path).encode("ascii")
        self._lifespan = lifespan
        self._limits = limits

    def __call__(self, _request: Request, _facts: Facts) -> Deferred:
        """Every answer of an application has to be waited for."""
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

    def scope(self, request: Request, facts: Facts) -> Scope:
        """The connection scope of `request` (ASGI HTTP 2.5)."""
        peer = request.peer
        path = request.path
        if not path.isascii():
            # Bytes that are not UTF-8 would break applications that encode the path again; raw_path has them.
            path = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        address = facts.client_address
        client = (address, peer.port if address == peer.address else 0) if address else None
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
            "headers": list(request.headers.fields),
            "client": client,
            "server": (peer.local_address, peer.local_port) if peer.local_address else None,
            "state": self._lifespan.state.copy(),
            "extensions": extensions,
        }


FEATURE = Feature(name="asgi", kind="handler", config_class=AsgiConfig, build=build, check=check)
