"""Sets, appends and removes response fields, error answers included.

Rules do it for some requests, and may put parts of the request into values: `{host}`, captures (pipeline/template).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from securelight.config.conditions import Condition, condition_faults
from securelight.filters.changed_fields import FieldChange
from securelight.model.errors import ConfigError
from securelight.model.field_syntax import field_fault, name_fault
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.conditions import captured_names, depends_on_head_only
from securelight.pipeline.rule_index import rules_for
from securelight.pipeline.template import field_template, is_constant, template_faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.conditions import Test
    from securelight.pipeline.stage import Filter


class SetHeadersRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.set_headers.rule]]`: changes to the fields of some responses."""

    when: Condition | None = None
    """The requests whose responses are meant; all of them without it."""
    set: dict[str, str] = {}
    """Fields with their values, in place of what the response has."""
    append: dict[str, str] = {}
    """Fields to add beside what the response has."""
    remove: tuple[str, ...] = ()
    """Names of fields to take out."""


class SetHeadersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`set_headers`: changes to the fields of every response."""

    set: dict[str, str] = {}
    """Fields with their values, in place of what the response has."""
    append: dict[str, str] = {}
    """Fields to add beside what the response has."""
    remove: tuple[str, ...] = ()
    """Names of fields to take out."""
    rule: list[SetHeadersRule] = []
    """Further changes, each for the requests that it fits."""


def check(settings: SetHeadersConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = _field_faults(settings)
    for number, rule in enumerate(settings.rule):
        key = f"rule[{number}]"
        if rule.when is not None:
            faults += condition_faults(rule.when, f"{key}.when")
        faults += [f"{key}.{fault}" for fault in _field_faults(rule)]
        captures = captured_names(rule.when)
        for value in (*rule.set.values(), *rule.append.values()):
            faults += [f"{key}: {fault}" for fault in template_faults(value, captures)]
    return faults


def _field_faults(settings: SetHeadersConfig | SetHeadersRule) -> list[str]:
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
    change = _constant(settings)
    rules = tuple(_compiled(rule, f"rule[{number}].when", context) for number, rule in enumerate(settings.rule))
    candidates = rules_for([rule.when for rule in settings.rule], rules, context)

    def set_headers(_request: Request, _facts: Facts, response: Response) -> Response:
        return change.apply(response)

    def set_headers_by_rules(request: Request, facts: Facts, response: Response) -> Response:
        response = change.apply(response)
        for test, apply in candidates(request.path):
            if test is None or test(request, facts):
                response = apply(request, facts, response)
        return response

    return set_headers_by_rules if rules else set_headers


def _dropped(settings: SetHeadersConfig | SetHeadersRule) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in (*settings.set, *settings.remove))


def _constant(settings: SetHeadersConfig | SetHeadersRule) -> FieldChange:
    dropped = _dropped(settings)
    added = tuple(
        (name.lower().encode(), value.encode()) for name, value in (*settings.set.items(), *settings.append.items())
    )
    return FieldChange(lambda fields: (*(field for field in fields if field[0] not in dropped), *added))


def _compiled(rule: SetHeadersRule, key: str, context: BuildContext) -> tuple[Test | None, Filter]:
    test = context.condition(rule.when, key)
    values = (*rule.set.items(), *rule.append.items())
    if all(is_constant(value) for _, value in values):
        change = _constant(rule)
        return test, lambda _request, _facts, response: change.apply(response)
    dropped, captures = _dropped(rule), captured_names(rule.when)
    made = tuple((name.lower().encode(), field_template(value, captures)) for name, value in values)

    def apply(request: Request, facts: Facts, response: Response) -> Response:
        added = [(name, make(request, facts).encode("ascii", "replace")) for name, make in made]
        return FieldChange(lambda fields: (*(field for field in fields if field[0] not in dropped), *added)).once(
            response
        )

    return test, apply


FEATURE = Feature(
    name="set_headers",
    kind="filter",
    config_class=SetHeadersConfig,
    build=build,
    check=check,
    repeatable=lambda settings: all(rule.when is None or depends_on_head_only(rule.when) for rule in settings.rule),
)
