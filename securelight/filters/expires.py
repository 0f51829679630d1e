"""How long browsers and caches may keep what (Cache-Control, RFC 9111, section 5.2), by media type and path.

The preset `sane` says of files with a hash in their name (`app.3f9c2b71.js`) that they never change, of pages that they
are asked for each time, and of the rest an hour. What an answer says of itself is left alone, and so are errors.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from securelight.config.conditions import Condition, condition_faults
from securelight.files.mime_types import content_type
from securelight.filters.changed_fields import FieldChange
from securelight.model.errors import ConfigError
from securelight.model.field_syntax import is_field_value
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.conditions import depends_on_head_only, glob_test

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.conditions import Test, TextTest
    from securelight.pipeline.stage import Filter

_STATUSES = frozenset({200, 203, 206, 300, 301, 304, 308})
_METHODS = frozenset({"GET", "HEAD"})
_NAME = b"cache-control"
_HEXADECIMAL = re.compile(r"[0-9a-f]{8,64}")
_BASE_64 = re.compile(r"(?=[A-Za-z_-]*[0-9])(?=[0-9a-z_-]*[A-Z])[A-Za-z0-9_-]{8}")
_IMMUTABLE = b"public, max-age=31536000, immutable"
_ASK = b"no-cache"
_HOUR = b"max-age=3600"


class ExpiresRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[site.expires.rule]]`: what is kept for how long."""

    types: list[str] = []
    """Media types, with `*` for any characters: `["image/*", "text/css"]`."""
    when: Condition | None = None
    """Which requests: `{ path = ["*.woff2"] }`."""
    max_age_seconds: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """How long it may be kept; 0: asked for again each time."""
    immutable: bool = False
    """It never changes: browsers do not even ask when the user reloads."""
    cache_control: str = ""
    """The whole field, in place of the two before."""


class ExpiresConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`expires`: how long answers may be kept: the first rule that fits, then the preset."""

    preset: Literal["sane", "none"] = "sane"
    rule: list[ExpiresRule] = []


def check(settings: ExpiresConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults: list[str] = []
    for number, rule in enumerate(settings.rule):
        key = f"rule[{number}]"
        if rule.when is not None:
            faults += condition_faults(rule.when, f"{key}.when")
        if not is_field_value(rule.cache_control):
            faults.append(f"{key}.cache_control is not a field value: use visible ASCII")
        if not rule.cache_control and rule.max_age_seconds is None:
            faults.append(f"{key} says nothing; add max_age_seconds or cache_control")
        if rule.cache_control and (rule.max_age_seconds is not None or rule.immutable):
            faults.append(f"{key}.cache_control stands in place of max_age_seconds and immutable; keep one")
    if settings.preset == "none" and not settings.rule:
        faults.append('does nothing with preset = "none"; add a rule')
    return faults


def build(settings: ExpiresConfig, context: BuildContext) -> Filter:
    """The filter.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    rules = tuple(_compiled(rule, f"rule[{number}].when", context) for number, rule in enumerate(settings.rule))
    sane = {value: _change(value) for value in (_IMMUTABLE, _ASK, _HOUR)} if settings.preset == "sane" else None

    def expires(request: Request, facts: Facts, response: Response) -> Response:
        if response.status not in _STATUSES or request.method not in _METHODS or facts.refusal is not None:
            return response
        kind = b""
        for name, value in response.fields:
            if name in (_NAME, b"set-cookie"):
                return response
            if name == b"content-type":
                kind = value
        if not kind and response.status == 304:  # it has no type, and lives as long as the 200 that it stands for
            kind = _type_of(request.path)
        kind_text = kind.partition(b";")[0].strip().lower().decode("latin-1")
        for of_kind, test, change in rules:
            if (of_kind is None or of_kind(kind_text)) and (test is None or test(request, facts)):
                return change.apply(response)
        if sane is None or not kind:
            return response
        return sane[_sane(request.path, kind_text)].apply(response)

    return expires


def _compiled(rule: ExpiresRule, key: str, context: BuildContext) -> tuple[TextTest | None, Test | None, FieldChange]:
    value = rule.cache_control
    if not value:
        value = f"max-age={rule.max_age_seconds}" if rule.max_age_seconds else "no-cache"
        value += ", immutable" if rule.immutable else ""
    of_kind = glob_test([kind.lower() for kind in rule.types]) if rule.types else None
    return of_kind, context.condition(rule.when, key), _change(value.encode())


def _change(value: bytes) -> FieldChange:
    return FieldChange(lambda fields: (*fields, (_NAME, value)))


def _type_of(path: str) -> bytes:
    name = path.rpartition("/")[2]
    return content_type(name.encode("utf-8", "surrogateescape")) if name else b"text/html"


def _sane(path: str, kind: str) -> bytes:
    if has_hash(path.rpartition("/")[2]):
        return _IMMUTABLE
    if kind in ("text/html", "application/xhtml+xml") or path.endswith("/"):
        return _ASK
    return _HOUR


def has_hash(name: str) -> bool:
    """Whether the file name has a hash of its content in it, as bundlers write them: `app.3f9c2b71.js`."""
    parts = re.split(r"[.-]", name)[1:-1]
    return any(_is_hash(part) for part in parts)


def _is_hash(part: str) -> bool:
    if _HEXADECIMAL.fullmatch(part):
        return not part.isdigit() and not part.isalpha()  # neither a date nor a word
    return _BASE_64.fullmatch(part) is not None


FEATURE = Feature(
    name="expires",
    kind="filter",
    config_class=ExpiresConfig,
    build=build,
    check=check,
    repeatable=lambda settings: all(rule.when is None or depends_on_head_only(rule.when) for rule in settings.rule),
)
