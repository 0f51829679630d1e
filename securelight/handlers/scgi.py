"""Answers requests by an application that speaks SCGI: one request on each connection, whose end ends the answer.

That end says little: an application that dies in the middle looks like one that has finished, unless it announced a
Content-Length or its connection was reset. Where that matters, choose FastCGI. Refused: what handlers/cgi_call refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.handlers.cgi_route import ScriptFinder
from securelight.handlers.cgi_settings import UpstreamConfig, common_faults, handler_of
from securelight.handlers.cgi_stream import OneRequestConnection
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import BuildContext, Feature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.pipeline.stage import Handler
    from securelight.upstream.cgi_variables import Variable


class ScgiConfig(UpstreamConfig, frozen=True, forbid_unknown_fields=True):
    """`scgi`: an application that speaks SCGI."""


def check(settings: ScgiConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return common_faults(settings, base)


def build(settings: ScgiConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    finder = ScriptFinder(None, (), "", "", context.route_path)
    return handler_of(settings, lambda stream, _log: OneRequestConnection(stream, request_head), finder, context)


def request_head(variables: Sequence[Variable]) -> bytes:
    """The netstring that begins a request: CONTENT_LENGTH first, which is never empty, and SCGI."""
    values = dict(variables)
    length = values.pop(b"CONTENT_LENGTH") or b"0"
    pairs = [(b"CONTENT_LENGTH", length), (b"SCGI", b"1"), *values.items()]
    text = b"".join(name + b"\0" + value + b"\0" for name, value in pairs)
    return b"%d:%s," % (len(text), text)


FEATURE = Feature(name="scgi", kind="handler", config_class=ScgiConfig, build=build, check=check)
