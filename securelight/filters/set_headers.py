"""Sets, appends and removes response fields, error answers included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from securelight.filters.changed_fields import FieldChange
from securelight.model.errors import ConfigError
from securelight.model.field_syntax import field_fault, name_fault
from securelight.pipeline.compile import BuildContext, Feature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.stage import Filter


class SetHeadersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`set_headers`: changes to the fields of every response."""

    set: dict[str, str] = {}
    """Fields with their values, in place of what the response has."""
    append: dict[str, str] = {}
    """Fields to add beside what the response has."""
    remove: tuple[str, ...] = ()
    """Names of fields to take out."""


def check(settings: SetHeadersConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    found = [("set", field_fault(name, value)) for name, value in settings.set.items()]
    found += [("append", field_fault(name, value)) for name, value in settings.append.items()]
    found += [("remove", name_fault(name)) for name in settings.remove]
    return [f"{key}: {fault}" for key, fault in found if fault is not None]


def build(settings: SetHeadersConfig, context: BuildContext) -> Filter:
    """The filter.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    dropped = frozenset(name.lower().encode() for name in (*settings.set, *settings.remove))
    added = tuple(
        (name.lower().encode(), value.encode()) for name, value in (*settings.set.items(), *settings.append.items())
    )
    change = FieldChange(lambda fields: (*(field for field in fields if field[0] not in dropped), *added))

    def set_headers(_request: Request, _facts: Facts, response: Response) -> Response:
        return change.apply(response)

    return set_headers


FEATURE = Feature(
    name="set_headers", kind="filter", config_class=SetHeadersConfig, build=build, check=check, repeatable=True
)
