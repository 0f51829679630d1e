"""Sets, appends and removes fields of requests, before their handler sees them.

Values may have parts of the request in them: `{client_address}`, `{user}`, captures of the rule (pipeline/template).
What is set or removed is so in all spellings, `x_user` for `X-User`, and the client's `Connection` does not undo it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from securelight.config.conditions import Condition
from securelight.model.claimed_fields import claimed_names, without_claims
from securelight.model.field_syntax import field_fault, name_fault
from securelight.model.headers import Headers
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.conditions import captured_names
from securelight.pipeline.rule_index import rules_for
from securelight.pipeline.stage import Rewritten
from securelight.pipeline.template import field_template, template_faults
from securelight.stages.rules import head_only, refuse_faults, test_of, when_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Stage

_FIXED = frozenset({"host", "transfer-encoding", "te", "trailer", "expect", "upgrade"})
"""Fields that were acted on already: to change them would only deceive the handler."""


class RequestHeadersRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.request_headers.rule]]`: changes for some requests."""

    when: Condition | None = None
    """Which requests; all of them without it."""
    set: dict[str, str] = {}
    """Fields with their values, in place of what the client sent."""
    append: dict[str, str] = {}
    """Fields to add beside what the client sent."""
    remove: list[str] = []
    """Names of fields to take out."""


class RequestHeadersConfig(RequestHeadersRule, frozen=True, forbid_unknown_fields=True):
    """`request_headers`: changes to the fields of requests, and rules with further ones, each that fits."""

    rule: list[RequestHeadersRule] = []


def _rules(settings: RequestHeadersConfig) -> list[tuple[str, RequestHeadersRule]]:
    """Each with its key."""
    own = [("", settings)] if settings.set or settings.append or settings.remove else []
    return [*own, *((f"rule[{number}]", rule) for number, rule in enumerate(settings.rule))]


def check(settings: RequestHeadersConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults: list[str] = []
    rules = _rules(settings)
    if not rules:
        faults.append("changes nothing; add set, append or remove")
    for key, rule in rules:
        faults += when_faults(rule.when, key)
        prefix = f"{key}." if key else ""
        for kind, values in (("set", rule.set), ("append", rule.append)):
            for name, value in values.items():
                found = [field_fault(name, value), *template_faults(value, captured_names(rule.when)), _fixed(name)]
                faults += [f"{prefix}{kind}: {fault}" for fault in found if fault is not None]
        for name in rule.remove:
            faults += [f"{prefix}remove: {fault}" for fault in (name_fault(name), _fixed(name)) if fault is not None]
    return faults


def _fixed(name: str) -> str | None:
    return f"{name} has been acted on before; it cannot be changed" if name.lower() in _FIXED else None


def build(settings: RequestHeadersConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    rules = tuple((test_of(rule.when, key, context), _change(rule)) for key, rule in _rules(settings))
    candidates = rules_for([rule.when for _, rule in _rules(settings)], rules, context)
    where = context.where

    def request_headers(request: Request, facts: Facts) -> Rewritten | None:
        before = request
        for test, change in candidates(request.path):
            if test(request, facts):
                request = change(request, facts)
        return None if request is before else Rewritten(request, where, restart=False)

    return request_headers


def _change(rule: RequestHeadersRule) -> Callable[[Request, Facts], Request]:
    captures = captured_names(rule.when)
    dropped = claimed_names((*rule.set, *rule.remove))
    added = tuple(
        (name.lower().encode(), field_template(value, captures))
        for name, value in (*rule.set.items(), *rule.append.items())
    )

    def change(request: Request, facts: Facts) -> Request:
        fields = without_claims(request.headers.fields, dropped) if dropped else list(request.headers.fields)
        fields += [(name, make(request, facts).encode("ascii", "replace")) for name, make in added]
        return request.changed(headers=Headers(fields))

    return change


FEATURE = Feature(
    name="request_headers",
    kind="stage",
    config_class=RequestHeadersConfig,
    build=build,
    check=check,
    repeatable=lambda settings: (
        head_only(rule.when for _, rule in _rules(settings))
        and not any(
            "{" in value for _, rule in _rules(settings) for value in (*rule.set.values(), *rule.append.values())
        )
    ),
)
