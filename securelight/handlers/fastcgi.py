"""Answers requests by an application that speaks FastCGI, in the role of a responder, such as php-fpm.

Refused: paths that name no script below the root, TRACE and CONNECT, several requests at once on one connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.files.safe_path import DocumentRoot
from securelight.handlers.cgi_route import ScriptFinder
from securelight.handlers.cgi_settings import UpstreamConfig, common_faults, handler_of
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import BuildContext, Feature
from securelight.upstream.fastcgi_connection import FastCgiConnection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.pipeline.stage import Handler


class FastcgiConfig(UpstreamConfig, frozen=True, forbid_unknown_fields=True):
    """`fastcgi`: an application that speaks FastCGI, such as php-fpm."""

    root: str = ""
    """The directory with the scripts; empty for an application that has none, which is given every path."""
    split: tuple[str, ...] = (".php",)
    """What the names of scripts end in; what follows such a name in a path is PATH_INFO."""
    index: str = "index.php"
    """The script of a directory; empty for none."""
    fallback: str = ""
    """The script for every path that names none, such as `/index.php`; empty for 404."""
    follow_symlinks: bool = False
    """Let symbolic links lead out of the root."""


def check(settings: FastcgiConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = common_faults(settings, base)
    if settings.root and not (base / settings.root).is_dir():
        faults.append(f"root {settings.root!r} is not a directory")
    if settings.fallback and not settings.root:
        faults.append("fallback is of use with root only")
    faults += [
        f"split: {suffix!r} must be a dot and a name, such as '.php'"
        for suffix in settings.split
        if len(suffix) < 2 or suffix[0] != "." or "/" in suffix or "\0" in suffix
    ]
    if settings.root and not settings.split:
        faults.append("split must name what scripts end in, or every uploaded file is one")
    if settings.fallback and not settings.fallback.startswith("/"):
        faults.append(f"fallback {settings.fallback!r} must begin with a slash")
    if "/" in settings.index or "\0" in settings.index + settings.fallback:
        faults.append(f"index {settings.index!r} is not the name of a file")
    return faults


def build(settings: FastcgiConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    root = None
    if settings.root:
        root = DocumentRoot((context.base / settings.root).resolve(), follow_symlinks=settings.follow_symlinks)
    finder = ScriptFinder(root, settings.split, settings.index, settings.fallback, context.route_path)
    return handler_of(settings, FastCgiConnection, finder, context)


FEATURE = Feature(name="fastcgi", kind="handler", config_class=FastcgiConfig, build=build, check=check)
