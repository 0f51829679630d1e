"""An answer for load balancers and orchestrators: 200 while the server takes work, 503 once it is about to end.

That a worker answers is proof that it lives. It says 503 while it drains, so that whoever balances sends the next
request elsewhere; with `upstreams`, also while no server behind this one is well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.status_report import ServerStatus, network_faults, only_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Handler

_FIELDS = ((b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"))
_READ_METHODS = frozenset({"GET", "HEAD"})


class HealthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`health`: whether this server takes work."""

    upstreams: bool = False
    """Say 503 too while every server behind this one is down, as far as that is known."""
    allow: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    """Addresses and networks that may ask."""


def check(settings: HealthConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return network_faults("allow", settings.allow)


def build(settings: HealthConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    board = context.scoreboard
    board.wanted = board.wanted or settings.upstreams
    everybody = set(settings.allow) >= {"0.0.0.0/0", "::/0"}
    admit = None if everybody else only_for(settings.allow)
    well = Response(200, _FIELDS, b"ok\n", shared=True)
    draining = Response(503, _FIELDS, b"draining\n", shared=True)
    alone = Response(503, _FIELDS, b"no upstream is well\n", shared=True)

    def health(request: Request, facts: Facts) -> Response:
        if admit is not None:
            admit(request, facts)
        if request.method not in _READ_METHODS:
            raise Refusal(405, "Use GET.", fields=((b"allow", b"GET, HEAD"),))
        if board.draining:
            return draining
        if settings.upstreams:
            upstreams = ServerStatus(board).upstreams.values()
            if upstreams and not any(up for up, _, _ in upstreams):
                return alone
        return well

    return health


FEATURE = Feature(name="health", kind="handler", config_class=HealthConfig, build=build, check=check)
