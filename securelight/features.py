"""The one table of all features, in the order in which they run: stages, handlers, filters.

A new feature is one new file and one name here. `config.load` and `pipeline.compile` are given the table as an
argument. A feature's file is imported when a configuration names it: what nobody uses takes no memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from securelight.pipeline.compile import Feature

if TYPE_CHECKING:
    from securelight.config.schema import FeatureKind

_FOLDERS: Final[dict[FeatureKind, str]] = {"stage": "stages", "handler": "handlers", "filter": "filters"}


class _Row(Feature):
    """A feature of which only kind and name are known until more is asked for."""

    __slots__ = ()

    def __init__(self, kind: FeatureKind, name: str) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "name", name)

    def __getattr__(self, attribute: str) -> Any:
        if attribute not in Feature.__slots__:
            raise AttributeError(attribute)
        loaded = import_module(f"securelight.{_FOLDERS[self.kind]}.{self.name}").FEATURE
        for known in Feature.__slots__:
            object.__setattr__(self, known, getattr(loaded, known))
        return getattr(loaded, attribute)


def _rows(kind: FeatureKind, *names: str) -> tuple[Feature, ...]:
    return tuple(_Row(kind, name) for name in names)


FEATURES: Final[tuple[Feature, ...]] = (
    # Who is turned away comes before what is asked for is looked at.
    *_rows(
        "stage",
        "log",
        "maintenance",
        "access",
        "rate_limit",
        "basic_auth",
        "digest_auth",
        "forward_auth",
        "signed_links",
        "referer",
        "redirect",
        "rewrite",
        "authorizer",
        "early_hints",
        "request_headers",
        "cache",
    ),
    # Exactly one answers.
    *_rows(
        "handler",
        "static_file",
        "directory_listing",
        "server_side_includes",
        "webdav",
        "asgi",
        "wsgi",
        "proxy",
        "fastcgi",
        "scgi",
        "uwsgi",
        "cgi",
        "respond",
        "status_page",
        "metrics",
        "health",
    ),
    # What replaces a body comes before what looks at fields.
    *_rows(
        "filter",
        "error_pages",
        "compress",
        "expires",
        "cors",
        "security_headers",
        "set_headers",
        "hsts",
        "bandwidth",
    ),
)
