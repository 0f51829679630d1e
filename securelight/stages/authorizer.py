"""Lets an application decide which requests may pass: a FastCGI authorizer (specification, section 6.3).

It is asked before whatever answers the route, files and proxies too, and sees the head of the request, never its body.
The conversation is in upstream/authorizer. Refused: letting anything pass because the authorizer is late or broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from securelight.model.errors import ConfigError
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred
from securelight.upstream.authorizer import Authorizer
from securelight.upstream.cgi_address import parse_upstream, variable_faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Stage


class AuthorizerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`authorizer`: an application that decides which requests may pass."""

    upstream: str
    """Where it listens: `unix:/run/authorizer.sock` or `127.0.0.1:9000`."""
    variables: dict[str, str] = {}
    """More variables for it, such as SCRIPT_FILENAME for PHP."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 8
    """To it, from each worker."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 5.0
    """For its answer; then 504."""


def check(settings: AuthorizerConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = variable_faults(settings.variables)
    try:
        parse_upstream(settings.upstream)
    except ValueError as error:
        faults.append(f"upstream: {error}")
    return faults


def build(settings: AuthorizerConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))

    def log(text: str) -> None:
        context.events.warning("application error output", upstream=settings.upstream, text=text)

    asked = Authorizer(
        settings.upstream, settings.connections, settings.seconds, settings.variables, context.limits, log
    )
    context.services.append(asked)

    def authorizer(request: Request, facts: Facts) -> Deferred:
        return Deferred(lambda _exchange: asked.ask(request, facts))

    return authorizer


FEATURE = Feature(
    name="authorizer", kind="stage", config_class=AuthorizerConfig, build=build, check=check, finds_user=True
)
