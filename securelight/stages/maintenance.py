"""A site that is being worked on: 503 with Retry-After for everybody but those who work on it (RFC 9110, 15.6.4).

It is on while it stands in the configuration, or, with `flag_file`, while that file exists: `touch` closes the site and
`rm` opens it again, without a reload. The file is looked for once a second.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import msgspec

from securelight.model.errors import Refusal
from securelight.model.forwarded import parse_networks
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.conditions import address_test
from securelight.stages.rules import refuse_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Stage

_LOOK_SECONDS = 1.0


class MaintenanceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`maintenance`: the site is closed."""

    message: str = "This site is being worked on. Please come back later."
    """What visitors read; error_pages may have a page for 503 instead."""
    retry_after_seconds: Annotated[int, msgspec.Meta(ge=1)] = 600
    """When to come back."""
    allow: list[str] = []
    """Addresses and networks that see the site as it is."""
    flag_file: str = ""
    """Closed only while this file exists, relative to the file that this stands in."""


def check(settings: MaintenanceConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults: list[str] = []
    try:
        parse_networks(settings.allow)
    except ValueError as error:
        faults.append(f"allow: {error}")
    if settings.flag_file and not (base / settings.flag_file).parent.is_dir():
        faults.append(f"flag_file: there is no folder {str((base / settings.flag_file).parent)!r}")
    return faults


def build(settings: MaintenanceConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    allowed = address_test(parse_networks(settings.allow))
    fields = ((b"retry-after", b"%d" % settings.retry_after_seconds),)
    message = settings.message
    closed = _flag(os.fspath(context.base / settings.flag_file)) if settings.flag_file else lambda: True

    def maintenance(_request: Request, facts: Facts) -> None:
        if closed() and not allowed(facts.client_address):
            raise Refusal(503, message, "maintenance", fields)

    return maintenance


def _flag(path: str) -> Callable[[], bool]:
    seen, until = False, 0.0

    def is_there() -> bool:
        nonlocal seen, until
        now = monotonic()
        if now >= until:
            seen, until = os.path.exists(path), now + _LOOK_SECONDS
        return seen

    return is_there


FEATURE = Feature(name="maintenance", kind="stage", config_class=MaintenanceConfig, build=build, check=check)
