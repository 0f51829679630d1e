"""Who may come in, by address and by whatever conditions can tell: 403 for the others.

Rules are asked first, and the first that fits decides. Then the addresses: `deny` wins over `allow`, and where there is
an `allow`, nobody else comes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from securelight.config.conditions import Condition
from securelight.model.errors import Refusal
from securelight.model.forwarded import parse_networks
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.conditions import address_test
from securelight.pipeline.rule_index import rules_for
from securelight.stages.rules import head_only, refuse_faults, test_of, when_faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Stage


class AccessRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.access.rule]]`: who is let in, or not."""

    action: Literal["allow", "deny"]
    when: Condition | None = None
    """Which requests; all of them without it."""


class AccessConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`access`: who may come in."""

    allow: list[str] = []
    """Addresses and networks; nobody else comes in."""
    deny: list[str] = []
    """Addresses and networks that do not come in."""
    rule: list[AccessRule] = []
    """Asked before the addresses; the first that fits decides."""
    status: Literal[403, 404] = 403
    """What the others get: 404 does not tell that there is something."""


def check(settings: AccessConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults: list[str] = []
    for key, texts in (("allow", settings.allow), ("deny", settings.deny)):
        try:
            parse_networks(texts)
        except ValueError as error:
            faults.append(f"{key}: {error}")
    for number, rule in enumerate(settings.rule):
        faults += when_faults(rule.when, f"rule[{number}]")
    if not (settings.allow or settings.deny or settings.rule):
        faults.append("lets everybody in: add allow, deny or a rule")
    return faults


def build(settings: AccessConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    rules = tuple(
        (test_of(rule.when, f"rule[{number}]", context), rule.action == "allow")
        for number, rule in enumerate(settings.rule)
    )
    candidates = rules_for([rule.when for rule in settings.rule], rules, context)
    denied = address_test(parse_networks(settings.deny))
    allowed = address_test(parse_networks(settings.allow)) if settings.allow else None
    status = settings.status
    public = "You may not see this." if status == 403 else ""

    def may_enter(request: Request, facts: Facts) -> bool:
        for test, allow in candidates(request.path):
            if test(request, facts):
                return allow
        address = facts.client_address
        return not denied(address) and (allowed is None or allowed(address))

    context.guards.append(may_enter)

    def access(request: Request, facts: Facts) -> None:
        if not may_enter(request, facts):
            raise Refusal(status, public, f"access denied to {facts.client_address}")

    return access


FEATURE = Feature(
    name="access",
    kind="stage",
    config_class=AccessConfig,
    build=build,
    check=check,
    repeatable=lambda settings: (
        not settings.allow and not settings.deny and head_only(rule.when for rule in settings.rule)
    ),
)
