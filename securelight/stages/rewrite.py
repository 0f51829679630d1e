"""Asks for something else than the client did, without the client seeing it: the first rule that fits decides.

Everything starts anew with what a rule makes of the request, so that the route, the passwords and the rules of the new
path are those that count. A rule is used once for a request unless it says `repeat`; what goes round in a circle ends
after Limits.rewrites in a 500, and the rule is named in the log.

A single-page application: every path that is no file is the page itself.

    [[site.rewrite.rule]]
    when = { method = ["GET"], not = { file_exists = "dist" } }
    to = "/index.html"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from securelight.config.conditions import Condition
from securelight.model.headers import Headers
from securelight.model.request import Request
from securelight.model.uri import parse_target
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.conditions import captured_names
from securelight.pipeline.rule_index import rules_for
from securelight.pipeline.stage import Rewritten
from securelight.pipeline.template import url_template
from securelight.stages.rules import head_only, refuse_faults, target_rule_faults, test_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Peer
    from securelight.pipeline.stage import Stage


class RewriteRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.rewrite.rule]]`: what is asked for instead."""

    to: str
    """A path of this site, perhaps with a query: `/index.php?page={page}`. Without one, the client's is kept."""
    when: Condition | None = None
    """Which requests; all of them without it."""
    repeat: bool = False
    """Use the rule again on what it has made; Limits.rewrites bounds it."""


class RewriteConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rewrite`: rules that change what is asked for, the first that fits."""

    rule: list[RewriteRule]


class RewrittenRequest(Request):
    """A request that rules have made.

    Attributes:
        rules: by which; each is used once.
        first: the target that the client asked for.
    """

    __slots__ = ("first", "rules")
    first: bytes
    rules: frozenset[str]

    def again(self, stream_id: int, peer: Peer, fields: Fields = ()) -> RewrittenRequest:
        """See Request.again; what later stages change of it is still a request that these rules have made."""
        copy = _copy(self)
        copy.stream_id, copy.peer = stream_id, peer
        if fields:
            copy.headers = Headers(fields)
        copy.rules, copy.first = self.rules, self.first
        return copy


def _copy(request: Request) -> RewrittenRequest:
    copy = RewrittenRequest.__new__(RewrittenRequest)
    for slot in Request.__slots__:
        setattr(copy, slot, getattr(request, slot))
    return copy


def first_target(request: Request) -> bytes:
    """The target that the client asked for, whatever rules have made of it."""
    return request.first if isinstance(request, RewrittenRequest) else request.target


def check(settings: RewriteConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return target_rule_faults(settings.rule, absolute=False)


def build(settings: RewriteConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    rules = tuple(
        (test_of(rule.when, f"rule[{number}]", context), _change(rule, f"{context.where}.rule[{number}]"))
        for number, rule in enumerate(settings.rule)
    )
    candidates = rules_for([rule.when for rule in settings.rule], rules, context)

    def rewrite(request: Request, facts: Facts) -> Rewritten | None:
        for test, change in candidates(request.path):
            if test(request, facts):
                rewritten = change(request, facts)
                if rewritten is not None:
                    return rewritten
        return None

    return rewrite


def _change(rule: RewriteRule, name: str) -> Callable[[Request, Facts], Rewritten | None]:
    make = url_template(rule.to, captured_names(rule.when))
    keep_query = "?" not in rule.to
    repeat = rule.repeat

    def change(request: Request, facts: Facts) -> Rewritten | None:
        """The new request; None if the rule has been used, or changes nothing."""
        rules = request.rules if isinstance(request, RewrittenRequest) else frozenset()
        if name in rules and not repeat:
            return None
        target = make(request, facts).encode("ascii", "replace")
        if keep_query and request.query:
            target += b"?" + request.query
        path, query = parse_target(target)
        if path == request.path and query == request.query:
            return None
        rewritten = _copy(request)
        rewritten.path, rewritten.query, rewritten.target = path, query, target
        rewritten.rules = rules | {name}
        rewritten.first = first_target(request)
        return Rewritten(rewritten, name)

    return change


FEATURE = Feature(
    name="rewrite",
    kind="stage",
    config_class=RewriteConfig,
    build=build,
    check=check,
    repeatable=lambda settings: head_only(rule.when for rule in settings.rule),
)
