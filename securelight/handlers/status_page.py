"""The status of the server: a page for people, live and readable on a phone, and JSON by Accept.

Only the machine itself may see it, unless others are named. It shows all workers, whichever one answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from securelight.handlers import status_html
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.status_report import LOOPBACK, ServerStatus, network_faults, only_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Handler

_READ_METHODS = frozenset({"GET", "HEAD"})
_COMMON = (
    (b"cache-control", b"no-store"),
    (b"vary", b"accept"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_FOR_EVER = ((b"cache-control", b"private, max-age=31536000, immutable"), (b"x-content-type-options", b"nosniff"))


class StatusPageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`status_page`: how the server is."""

    allow: tuple[str, ...] = LOOPBACK
    """Addresses and networks that may see it."""


def check(settings: StatusPageConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return network_faults("allow", settings.allow)


def build(settings: StatusPageConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    board = context.scoreboard
    board.wanted = True
    admit = only_for(settings.allow)
    parts = {
        status_html.STYLE_QUERY: Response(
            200, ((b"content-type", b"text/css; charset=utf-8"), *_FOR_EVER), status_html.STYLE, shared=True
        ),
        status_html.SCRIPT_QUERY: Response(
            200, ((b"content-type", b"text/javascript; charset=utf-8"), *_FOR_EVER), status_html.SCRIPT, shared=True
        ),
    }

    def status_page(request: Request, facts: Facts) -> Response:
        admit(request, facts)
        if request.method not in _READ_METHODS:
            raise Refusal(405, "Use GET.", fields=((b"allow", b"GET, HEAD"),))
        part = parts.get(request.query)
        if part is not None:
            return part
        status = ServerStatus(board)
        accept = request.headers.get(b"accept") or b""
        if b"application/json" in accept and b"text/html" not in accept:
            return Response(
                200, ((b"content-type", b"application/json"), *_COMMON), msgspec.json.encode(status.values())
            )
        fields = ((b"content-type", b"text/html; charset=utf-8"), status_html.POLICY, *_COMMON)
        return Response(200, fields, status_html.page(status).encode())

    return status_page


FEATURE = Feature(name="status_page", kind="handler", config_class=StatusPageConfig, build=build, check=check)
