"""Answers requests by an application that speaks the uwsgi protocol, as the program uWSGI does.

One request on each connection; the answer is a whole HTTP response that ends with the connection, so that one which
breaks off looks whole unless it announced a Content-Length or the connection was reset. Refused: what
handlers/cgi_call refuses, and requests whose variables are too many for one packet, with 431.

Source: the protocol's description in the documentation of uWSGI.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated

import msgspec

from securelight.handlers.cgi_route import ScriptFinder
from securelight.handlers.cgi_settings import UpstreamConfig, common_faults, handler_of
from securelight.handlers.cgi_stream import OneRequestConnection
from securelight.model.errors import ConfigError, Refusal
from securelight.pipeline.compile import BuildContext, Feature
from securelight.upstream.cgi_response import StatusLine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.pipeline.stage import Handler
    from securelight.upstream.cgi_variables import Variable

_PACKET = struct.Struct("<BHB")
_SIZE = struct.Struct("<H")
PACKET_BYTES = 65_535
"""The most that one packet of variables holds."""


class UwsgiConfig(UpstreamConfig, frozen=True, forbid_unknown_fields=True):
    """`uwsgi`: an application that speaks the uwsgi protocol."""

    modifier1: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    """Which of its plugins uWSGI asks; 0 for Python."""


def check(settings: UwsgiConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return common_faults(settings, base)


def build(settings: UwsgiConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))

    def head(variables: Sequence[Variable]) -> bytes:
        return request_head(variables, settings.modifier1)

    finder = ScriptFinder(None, (), "", "", context.route_path)
    return handler_of(settings, lambda stream, _log: OneRequestConnection(stream, head, StatusLine()), finder, context)


def request_head(variables: Sequence[Variable], modifier1: int = 0) -> bytes:
    """The packet that begins a request.

    Errors: Refusal 431 if they are too many.
    """
    size = sum(len(name) + len(value) + 4 for name, value in variables)
    if size > PACKET_BYTES:
        raise Refusal(431, "The request has too many header fields.", f"{size} bytes of uwsgi variables")
    pieces = [_PACKET.pack(modifier1, size, 0)]
    for name, value in variables:
        pieces += (_SIZE.pack(len(name)), name, _SIZE.pack(len(value)), value)
    return b"".join(pieces)


FEATURE = Feature(name="uwsgi", kind="handler", config_class=UwsgiConfig, build=build, check=check)
