"""Tells browsers what a page will need while it is still being made: 103 Early Hints (RFC 8297).

Only for GET, and by default only on HTTP/2: old HTTP/1.1 clients take an interim answer for the answer (RFC 8297,
section 3). A browser acts on hints only while it navigates, so where it says what it fetches for (Sec-Fetch-Mode), it
gets them for pages alone. Worth it for applications that take their time; a file is sent faster than its hints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from securelight.config.conditions import Condition
from securelight.model.field_syntax import is_field_value
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred
from securelight.stages.rules import refuse_faults, test_of, when_faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Stage

MAXIMUM_LINKS = 32
"""Of one rule; they go out with every page."""


class EarlyHintsRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.early_hints.rule]]`: what a page needs."""

    link: list[str]
    """Link fields: `</style.css>; rel=preload; as=style`."""
    when: Condition | None = None
    """Which requests; all of them without it."""


class EarlyHintsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`early_hints`: links that are sent before the answer is there, of the first rule that fits."""

    rule: list[EarlyHintsRule]
    http1: bool = False
    """Send them on HTTP/1.1 too."""


def check(settings: EarlyHintsConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults: list[str] = []
    for number, rule in enumerate(settings.rule):
        key = f"rule[{number}]"
        faults += when_faults(rule.when, key)
        if not rule.link or len(rule.link) > MAXIMUM_LINKS:
            faults.append(f"{key}.link has {len(rule.link)} links; give it 1 to {MAXIMUM_LINKS}")
        faults += [
            f"{key}.link: {link!r} is not a link; write </style.css>; rel=preload; as=style"
            for link in rule.link
            if not (link.startswith("<") and ">" in link and "rel=" in link and is_field_value(link))
        ]
    return faults


def build(settings: EarlyHintsConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    rules = tuple(
        (
            test_of(rule.when, f"rule[{number}]", context),
            Hints(tuple((b"link", link.encode()) for link in rule.link)).send,
        )
        for number, rule in enumerate(settings.rule)
    )
    versions = frozenset({"2", "1.1"} if settings.http1 else {"2"})

    def early_hints(request: Request, facts: Facts) -> Deferred | None:
        if request.method != "GET" or request.http_version not in versions:
            return None
        if request.headers.get(b"sec-fetch-mode") not in (None, b"navigate"):
            return None
        for test, send in rules:
            if test(request, facts):
                return Deferred(send)
        return None

    return early_hints


class Hints:
    """The hints of one rule."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    async def send(self, exchange: Exchange) -> None:
        """Send them, and let the request go on."""
        exchange.inform(103, self._fields)


FEATURE = Feature(name="early_hints", kind="stage", config_class=EarlyHintsConfig, build=build, check=check)
