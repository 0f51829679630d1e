"""Sends clients elsewhere (RFC 9110, section 15.4): the first rule that fits decides.

A rule is a condition and where to. What the client chose is encoded in the answer, see pipeline/template, so that no
path can lead to a host that the rule does not name. A query is carried over, unless `to` has one of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from securelight.config.conditions import Condition
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.conditions import captured_names
from securelight.pipeline.rule_index import rules_for
from securelight.pipeline.template import is_constant, url_template
from securelight.stages.rules import head_only, refuse_faults, target_rule_faults, test_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Stage


class RedirectRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.redirect.rule]]`: who is sent where."""

    to: str
    """A URL, or a path on this site: `https://www.example.org{path}`, `/posts/{slug}`."""
    when: Condition | None = None
    """Which requests; all of them without it."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """308 for ever, 307 for now; 301 and 302 are the same for old clients, which may turn a POST into a GET. 303 is
    the way from a form to its result."""
    keep_query: bool = True
    """Carry the query over to a `to` that has none."""


class RedirectConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`redirect`: rules that send clients elsewhere, the first that fits."""

    rule: list[RedirectRule]


def check(settings: RedirectConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = target_rule_faults(settings.rule, absolute=True)
    faults += [
        f"rule[{number}] sends everybody to this site again, for ever; add a condition"
        for number, rule in enumerate(settings.rule)
        if rule.when is None and rule.to.startswith(("/", "{path}"))
    ]
    return faults


def build(settings: RedirectConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    rules = tuple(
        (test_of(rule.when, f"rule[{number}]", context), _answer(rule)) for number, rule in enumerate(settings.rule)
    )
    candidates = rules_for([rule.when for rule in settings.rule], rules, context)

    def redirect(request: Request, facts: Facts) -> Response | None:
        for test, answer in candidates(request.path):
            if test(request, facts):
                return answer(request, facts)
        return None

    return redirect


def _answer(rule: RedirectRule) -> Callable[[Request, Facts], Response]:
    make = url_template(rule.to, captured_names(rule.when))
    keep_query = rule.keep_query and "?" not in rule.to
    status = rule.status
    constant = Response(status, ((b"location", rule.to.encode()),), shared=True) if is_constant(rule.to) else None

    def answer(request: Request, facts: Facts) -> Response:
        query = request.query if keep_query else b""
        if constant is not None and not query:
            return constant
        location = make(request, facts).encode("ascii", "replace")
        return Response(status, ((b"location", location + b"?" + query if query else location),))

    return answer


FEATURE = Feature(
    name="redirect",
    kind="stage",
    config_class=RedirectConfig,
    build=build,
    check=check,
    repeatable=lambda settings: head_only(rule.when for rule in settings.rule),
)
