"""Loads the application that `module:attribute` names, and finds out whether it is of ASGI 3 or of WSGI (PEP 3333).

What is awaited is ASGI: coroutine functions, and objects whose `__call__` is one (Starlette, FastAPI, Django's
ASGIHandler). Else the number of arguments tells: two are WSGI's (Flask, Django's WSGIHandler, classes that take
environ and start_response), three are ASGI's. What takes both is not guessed at; the configuration has a word for it.
The attribute is imported in the worker, after privileges were dropped.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any, Literal, Protocol

from securelight.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.pipeline.compile import BuildContext

Interface = Literal["asgi", "wsgi"]

_REFERENCE = re.compile(r"(?!\d)\w+(?:\.(?!\d)\w+)*:(?!\d)\w+(?:\.(?!\d)\w+)*")
_ROOT_PATH = re.compile(r"(?:/[^/\s?#%\\\x00-\x1f\x7f]+)*")


class ApplicationSettings(Protocol):
    """What the settings of both kinds of application have."""

    @property
    def app(self) -> str: ...  # noqa: D102 - see AsgiConfig
    @property
    def app_directory(self) -> str: ...  # noqa: D102 - see AsgiConfig
    @property
    def factory(self) -> bool: ...  # noqa: D102 - see AsgiConfig
    @property
    def root_path(self) -> str: ...  # noqa: D102 - see AsgiConfig


def check(settings: ApplicationSettings, base: Path) -> Sequence[str]:
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


def _not_found(settings: ApplicationSettings) -> str:
    module = settings.app.partition(":")[0]
    return (
        f"there is no module {module!r} in app_directory {settings.app_directory!r} nor in {sys.prefix}; "
        "set app_directory to the folder that holds it, or install it there"
    )


def load(
    settings: ApplicationSettings, context: BuildContext, wanted: Literal["auto", "asgi", "wsgi"]
) -> tuple[Any, Interface]:
    """The application, and of which kind it is: as found out, or as `wanted` says.

    Errors: ConfigError for what `check` reports, for an application that cannot be imported, and for what is none. The
    traceback of its own error goes to the event log.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    directory = str((context.base / settings.app_directory).resolve())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    found = _import(settings, context)
    if not callable(found):
        raise ConfigError(context.where, f"app {settings.app!r} is a {type(found).__name__}, not an application")
    if wanted != "auto":
        return found, wanted
    interface = interface_of(found)
    if interface is None:
        raise ConfigError(context.where, f"app {settings.app!r} {_why_neither(found, settings)}")
    return found, interface


def interface_of(found: Any) -> Interface | None:
    """Which of the two the callable `found` is; None if it could be both, or is neither."""
    call = None if inspect.isclass(found) else getattr(type(found), "__call__", None)  # noqa: B004 - the method itself
    if inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(call):
        return "asgi"
    two, three = _takes(found, 2), _takes(found, 3)
    if two and three:
        first = next(iter(inspect.signature(found).parameters))
        names: dict[str, Interface] = {"environ": "wsgi", "scope": "asgi"}
        return names.get(first)
    return "wsgi" if two else "asgi" if three else None


def _takes(found: Any, count: int) -> bool:
    try:
        inspect.signature(found).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _why_neither(found: Any, settings: ApplicationSettings) -> str:
    if _takes(found, 2) or not _has_signature(found):
        return 'could be of ASGI or of WSGI; say which with interface = "asgi" or "wsgi" in its asgi table'
    what = "takes neither (scope, receive, send), as ASGI does, nor (environ, start_response), as WSGI does"
    if not settings.factory and _takes(found, 0):
        what += "; if it makes the application, set factory = true"
    return what


def _has_signature(found: Any) -> bool:
    try:
        inspect.signature(found)
    except (TypeError, ValueError):
        return False
    return True


def _import(settings: ApplicationSettings, context: BuildContext) -> Any:
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
    return found


def _own_error(settings: ApplicationSettings, context: BuildContext, error: BaseException, what: str) -> ConfigError:
    context.events.error("application cannot be loaded", application=settings.app, exc_info=error)
    return ConfigError(
        context.where,
        f"app {settings.app!r}: {what}: {type(error).__name__}: {error} (the event log has the traceback)",
    )
