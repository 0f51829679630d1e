"""What the stages that follow rules have in common: what is wrong with a rule, and which one fits a request."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Protocol

from securelight.config.conditions import Condition, condition_faults
from securelight.model.errors import ConfigError
from securelight.pipeline.conditions import captured_names, depends_on_head_only
from securelight.pipeline.template import template_faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from securelight.pipeline.compile import BuildContext
    from securelight.pipeline.conditions import Test


def when_faults(when: Condition | None, key: str) -> list[str]:
    """What is wrong with the condition at `key`."""
    return [] if when is None else condition_faults(when, f"{key}.when" if key else "when")


class TargetRule(Protocol):
    """A rule that leads elsewhere: a condition, and the template of a path or URL."""

    @property
    def to(self) -> str: ...  # noqa: D102 - as the class says
    @property
    def when(self) -> Condition | None: ...  # noqa: D102 - as the class says


def target_rule_faults(rules: Sequence[TargetRule], *, absolute: bool) -> list[str]:
    """What is wrong with the rules of a table `rule`, the first of which that fits decides.

    Args:
        rules: in their order.
        absolute: whether they may lead to a URL, and not only to a path.
    """
    faults: list[str] = []
    for number, rule in enumerate(rules):
        key = f"rule[{number}]"
        faults += [*when_faults(rule.when, key), *_target_faults(rule.to, rule.when, key, absolute=absolute)]
        if rule.when is None and number != len(rules) - 1:
            faults.append(f"{key} has no condition, so that the rules after it are never reached; make it the last")
    return faults


def _target_faults(to: str, when: Condition | None, key: str, *, absolute: bool) -> list[str]:
    faults = [f"{key}.to: {fault}" for fault in template_faults(to, captured_names(when))]
    begins = ("/", "{path}", "https://", "http://") if absolute else ("/", "{path}")
    if not to.startswith(begins):
        wanted = "a path or a URL: begin it with / or https://" if absolute else "a path: begin it with /"
        faults.append(f"{key}.to: {to!r} is not {wanted}")
    elif any(character <= " " or character > "~" for character in to) or "\\" in to:
        faults.append(f"{key}.to: {to!r} has characters that no URL has; write them as %XX")
    elif "://" in to and to.partition("://")[2].startswith("/"):
        faults.append(f"{key}.to: {to!r} has no host")
    return faults


def head_only(conditions: Iterable[Condition | None]) -> bool:
    """Whether which of them fit depends on nothing but the request's head, its credentials aside."""
    return all(when is None or depends_on_head_only(when) for when in conditions)


def refuse_faults(faults: Sequence[str], context: BuildContext) -> None:
    """Raise ConfigError if there are any."""
    if faults:
        raise ConfigError(context.where, "; ".join(faults))


def test_of(when: Condition | None, key: str, context: BuildContext) -> Test:
    """The condition at `key`, ready to run; one that always fits for None."""
    return context.condition(when, f"{key}.when" if key else "when") or (lambda _request, _facts: True)


def client_key(address: str) -> str:
    """Under what a client is counted: an IPv4 address, or the /64 of an IPv6 one, of which everybody has 2**64."""
    if ":" not in address:
        return address
    try:
        number = int(IPv6Address(address.partition("%")[0]))
    except ValueError:
        return address
    if number >> 32 == 0xFFFF:  # ::ffff:192.0.2.1
        return str(IPv4Address(number & 0xFFFF_FFFF))
    return str(IPv6Address(number >> 64 << 64))
