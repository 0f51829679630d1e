"""Which other origins may read the answers of a site (Fetch, CORS protocol), preflight requests included.

An origin that is not named gets the answer without the fields, and its browser then keeps it from the page; that is how
the protocol works. It protects users, not the server: whoever asks without a browser reads everything.

`Vary: Origin` is on every answer that could be another one for another origin, so that no cache mixes them up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from securelight.filters.changed_fields import FieldChange
from securelight.model.errors import ConfigError
from securelight.model.field_syntax import is_field_name
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.conditions import glob_test

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Filter

_ORIGIN = re.compile(
    r"https?://(?:\*\.)?(?:[a-z0-9_-]+\.)*[a-z0-9_-]+(?::\d{1,5})?|https?://\[[0-9a-f:.]+\](?::\d{1,5})?"
)
_OWN: Final = frozenset({b"access-control-allow-origin", b"access-control-allow-credentials",
                         b"access-control-expose-headers"})  # fmt: skip
_REMEMBERED: Final = 64
"""Origins for which an answer that is sent many times is kept ready."""


class CorsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cors`: which other origins may read the answers."""

    origins: list[str]
    """`https://app.example.org`, `https://*.example.org` for all below a name, or `*` for everybody."""
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    """What scripts may do, beyond what forms can do anyway."""
    headers: list[str] = []
    """Request fields that scripts may set."""
    expose: list[str] = []
    """Response fields that scripts may read."""
    credentials: bool = False
    """Whether they may come with cookies; never for everybody."""
    max_age_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 600
    """How long a browser remembers the answer to a preflight request."""


def check(settings: CorsConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = [
        f"origins: {origin!r} is not an origin; write https://app.example.org, without a path"
        for origin in settings.origins
        if origin != "*" and not _ORIGIN.fullmatch(origin)
    ]
    if not settings.origins:
        faults.append("origins is empty; name some, or leave cors out")
    if settings.credentials and "*" in settings.origins:
        faults.append('credentials with origins = ["*"] would let every site act as its visitors; name the origins')
    for key, names in (("methods", settings.methods), ("headers", settings.headers), ("expose", settings.expose)):
        faults += [f"{key}: {name!r} is not a token" for name in names if not is_field_name(name)]
    return faults


def build(settings: CorsConfig, context: BuildContext) -> Filter:
    """The filter; the stage that answers preflight requests goes to the context.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    everybody = "*" in settings.origins
    fits = glob_test([] if everybody else settings.origins)
    exposed = _listed(b"access-control-expose-headers", settings.expose)
    credentials = ((b"access-control-allow-credentials", b"true"),) if settings.credentials else ()
    changes: dict[bytes, FieldChange] = {}
    nobody = FieldChange(_varied)
    preflight_fields: Fields = (
        *_listed(b"access-control-allow-methods", settings.methods),
        *_listed(b"access-control-allow-headers", settings.headers),
        (b"access-control-max-age", b"%d" % settings.max_age_seconds),
    )

    def allows(origin: bytes) -> bool:
        text = origin.decode("latin-1")
        # A * stands for the names below one, not for "https://evil.test/.example.org".
        return everybody or (fits(text) and _ORIGIN.fullmatch(text) is not None)

    def change_for(origin: bytes) -> FieldChange:
        change = changes.get(origin)
        if change is None:
            added = ((b"access-control-allow-origin", origin), *credentials, *exposed)
            change = FieldChange(
                lambda fields: (*(field for field in _varied(fields, everybody) if field[0] not in _OWN), *added)
            )
            if len(changes) < _REMEMBERED:
                changes[origin] = change
        return change

    def preflight(request: Request, _facts: Facts) -> Response | None:
        if request.method != "OPTIONS":
            return None
        origin = request.headers.get(b"origin")
        if origin is None or b"access-control-request-method" not in request.headers:
            return None
        return Response(204, preflight_fields if allows(origin) else ())

    def cors(request: Request, _facts: Facts, response: Response) -> Response:
        origin = request.headers.get(b"origin")
        if everybody:
            return change_for(b"*").apply(response)
        if origin is None or not allows(origin):
            return nobody.apply(response)
        change = change_for(origin)
        # What is not remembered must not be kept with an answer that lives on: there is no end of such origins.
        return change.apply(response) if origin in changes else change.once(response)

    context.stages.append(preflight)
    return cors


def _listed(name: bytes, values: Sequence[str]) -> Fields:
    return ((name, ", ".join(values).encode()),) if values else ()


def _varied(fields: Fields, everybody: bool = False) -> Fields:
    """With Vary: Origin, unless the answer is the same for everybody."""
    if everybody:
        return fields
    vary = b", ".join(value for name, value in fields if name == b"vary")
    names = {name.strip().lower() for name in vary.split(b",")}
    if b"origin" in names or b"*" in names:
        return fields
    return (*(field for field in fields if field[0] != b"vary"), (b"vary", vary + b", origin" if vary else b"origin"))


FEATURE = Feature(name="cors", kind="filter", config_class=CorsConfig, build=build, check=check, repeatable=True)
