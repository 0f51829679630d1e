"""Strict-Transport-Security (RFC 6797): tells browsers to come by https only, for a time.

The default is a day: a mistake then mends itself. `preload` is never implied; being on the browsers' lists takes years
to undo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from securelight.filters.changed_fields import FieldChange
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import BuildContext, Feature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.stage import Filter

_NAME = b"strict-transport-security"
_PRELOAD_SECONDS = 31_536_000
"""What the browsers' lists ask for."""


class HstsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`hsts`: the Strict-Transport-Security field on every https response."""

    max_age_seconds: Annotated[int, msgspec.Meta(ge=0)] = 86_400
    """How long browsers remember it; 0 makes them forget. Raise it to 63072000 once all is well."""
    include_subdomains: bool = False
    preload: bool = False
    """Asks for the browsers' preload lists."""


def check(settings: HstsConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    if settings.preload and not (settings.include_subdomains and settings.max_age_seconds >= _PRELOAD_SECONDS):
        return [f"preload needs include_subdomains = true and max_age_seconds of at least {_PRELOAD_SECONDS}"]
    return []


def build(settings: HstsConfig, context: BuildContext) -> Filter:
    """The filter.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    value = f"max-age={settings.max_age_seconds}"
    value += "; includeSubDomains" if settings.include_subdomains else ""
    value += "; preload" if settings.preload else ""
    field = (_NAME, value.encode())
    change = FieldChange(lambda fields: (*(other for other in fields if other[0] != _NAME), field))

    def hsts(request: Request, _facts: Facts, response: Response) -> Response:
        if request.scheme != "https":  # RFC 6797, section 7.2
            return response
        return change.apply(response)

    return hsts


FEATURE = Feature(name="hsts", kind="filter", config_class=HstsConfig, build=build, check=check, repeatable=True)
