"""Keeps other sites from embedding what is ours: pictures and videos that are asked for from their pages are a 403.

The page is what `Referer` says (RFC 9110, section 10.1.3). Browsers tell the truth there or nothing; whoever is not a
browser can write what he likes, so this saves traffic and keeps no secrets: for those there are passwords and signed
links. Where there is no Referer, because the other site has switched it off, browsers still say in Sec-Fetch-Site that
it is another one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from securelight.config.conditions import Condition
from securelight.model.errors import Refusal
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.conditions import glob_test
from securelight.stages.rules import head_only, refuse_faults, test_of, when_faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Stage

_REFERER: Final = re.compile(
    r"(?i:https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*+)?(?:[/?#].*+)?", re.DOTALL
)
"""As browsers write it: without a user (section 10.1.3), and with names in punycode."""
_PATTERN: Final = re.compile(r"(?:[a-z0-9*_-]+(?:\.[a-z0-9*_-]+)*+|\[[0-9a-f:.]+\])\.?", re.IGNORECASE)


class RefererConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`referer`: only our own pages, and those of friends, may embed what is here."""

    hosts: list[Annotated[str, msgspec.Meta(min_length=1)]] = []
    """Patterns of the hosts of other sites that may: `["*.example.org", "blog.example.net"]`. The host of the request
    itself always may."""
    empty: Literal["allow", "deny"] = "allow"
    """Whether requests without a Referer come in: typed addresses, bookmarks, players, and browsers that keep quiet.
    What a browser calls cross-site does not, unless `hosts` has somebody who it could be."""
    when: Condition | None = None
    """Which requests; all of them without it."""


def check(settings: RefererConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = when_faults(settings.when, "")
    faults += [
        f"hosts: {host!r} is not a host or a pattern of hosts; write it without https:// and path, as *.example.org"
        for host in settings.hosts
        if not _PATTERN.fullmatch(host)
    ]
    return faults


def build(settings: RefererConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    test = test_of(settings.when, "", context)
    is_friend = glob_test([host.lower() for host in settings.hosts])
    has_friends, lets_empty_in = bool(settings.hosts), settings.empty == "allow"

    def may_enter(request: Request) -> bool:
        line = request.headers.get(b"referer")
        if not line:
            if not lets_empty_in:
                return False
            # A visit is no embedding, whoever has the link.
            embedded = (
                request.headers.get(b"sec-fetch-site") == b"cross-site"
                and request.headers.get(b"sec-fetch-dest") != b"document"
            )
            return has_friends or not embedded
        match = _REFERER.fullmatch(line.decode("latin-1"))
        if match is None:
            return False
        host = match["host"].lower()
        return host == request.host or is_friend(host)

    def referer(request: Request, facts: Facts) -> None:
        if test(request, facts) and not may_enter(request):
            said = (request.headers.get(b"referer") or b"none").decode("latin-1")
            raise Refusal(403, "Other sites may not embed this.", f"referer {said[:80]!r}")

    return referer


FEATURE = Feature(
    name="referer",
    kind="stage",
    config_class=RefererConfig,
    build=build,
    check=check,
    repeatable=lambda settings: head_only([settings.when]),
)
