"""The response fields that tell browsers to be careful, as presets that can be changed one by one.

`strict` is for sites that load nothing from elsewhere and are framed by nobody; `balanced` breaks hardly anything. What
an answer says of itself wins, so that an application can open one page. The server's own error pages get a policy of
their own, because their style is in the page.

Sources: CSP level 3, HTML (Cross-Origin-Opener-Policy, -Embedder-Policy), Fetch (Cross-Origin-Resource-Policy,
nosniff), Referrer Policy, Permissions Policy, RFC 6797 (HSTS). `securelight conform --suite headers` grades the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from securelight.filters.changed_fields import FieldChange
from securelight.model.errors import ConfigError
from securelight.model.field_syntax import is_field_value
from securelight.pipeline.compile import BuildContext, Feature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.stage import Filter

_NAMES: Final = {
    "content_security_policy": b"content-security-policy",
    "cross_origin_opener_policy": b"cross-origin-opener-policy",
    "cross_origin_resource_policy": b"cross-origin-resource-policy",
    "cross_origin_embedder_policy": b"cross-origin-embedder-policy",
    "permissions_policy": b"permissions-policy",
    "referrer_policy": b"referrer-policy",
    "frame_options": b"x-frame-options",
    "content_type_options": b"x-content-type-options",
}
_PERMISSIONS: Final = ", ".join(
    f"{name}=()"
    for name in (
        "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "geolocation", "gyroscope",
        "magnetometer", "microphone", "midi", "payment", "publickey-credentials-get", "screen-wake-lock", "usb",
        "xr-spatial-tracking",
    )
)  # fmt: skip
_PRESETS: Final[dict[str, dict[str, str]]] = {
    "strict": {
        "content_security_policy": (
            "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
            "upgrade-insecure-requests"
        ),
        "cross_origin_opener_policy": "same-origin",
        "cross_origin_resource_policy": "same-origin",
        "permissions_policy": _PERMISSIONS,
        "referrer_policy": "no-referrer",
        "frame_options": "DENY",
        "content_type_options": "nosniff",
    },
    "balanced": {
        "content_security_policy": "object-src 'none'; base-uri 'self'; frame-ancestors 'self'",
        "cross_origin_opener_policy": "same-origin-allow-popups",
        "permissions_policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "referrer_policy": "strict-origin-when-cross-origin",
        "frame_options": "SAMEORIGIN",
        "content_type_options": "nosniff",
    },
    "none": {},
}
_HSTS_SECONDS: Final = {"strict": 31_536_000, "balanced": 86_400, "none": 0}
_OWN_PAGE_POLICY: Final = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


class SecurityHeadersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`security_headers`: a preset, and what of it is different here. An empty text leaves a field out."""

    preset: Literal["strict", "balanced", "none"] = "balanced"
    content_security_policy: str | None = None
    report_only: bool = False
    """Send the content security policy as one that only reports, to try it."""
    cross_origin_opener_policy: str | None = None
    cross_origin_resource_policy: str | None = None
    cross_origin_embedder_policy: str | None = None
    permissions_policy: str | None = None
    referrer_policy: str | None = None
    frame_options: str | None = None
    content_type_options: str | None = None
    hsts_seconds: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Strict-Transport-Security without subdomains: a year in `strict`, a day in `balanced`; 0 leaves it out. The
    feature `hsts` has more to it, and wins."""


def check(settings: SecurityHeadersConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = [
        f"{key}: {value!r} is not a field value: use visible ASCII in one line"
        for key in _NAMES
        if (value := getattr(settings, key)) is not None and not is_field_value(value)
    ]
    if not _fields(settings) and not _hsts(settings):
        faults.append('does nothing with preset = "none"; name a field')
    return faults


def build(settings: SecurityHeadersConfig, context: BuildContext) -> Filter:
    """The filter.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    fields, hsts = _fields(settings), _hsts(settings)
    policy = _NAMES["content_security_policy"]
    own_fields = tuple((name, _OWN_PAGE_POLICY if name == policy else value) for name, value in fields)
    plain, encrypted = _adding(fields), _adding((*fields, *hsts))
    own_plain, own_encrypted = _adding(own_fields), _adding((*own_fields, *hsts))

    def security_headers(request: Request, facts: Facts, response: Response) -> Response:
        secure = request.scheme == "https"
        if facts.refusal is not None:
            return (own_encrypted if secure else own_plain).apply(response)
        return (encrypted if secure else plain).apply(response)

    return security_headers


def _fields(settings: SecurityHeadersConfig) -> Fields:
    preset = _PRESETS[settings.preset]
    fields = []
    for key, name in _NAMES.items():
        own: str | None = getattr(settings, key)
        value = preset.get(key, "") if own is None else own
        if value:
            reports = settings.report_only and key == "content_security_policy"
            fields.append((name + b"-report-only" if reports else name, value.encode()))
    return tuple(fields)


def _hsts(settings: SecurityHeadersConfig) -> Fields:
    seconds = _HSTS_SECONDS[settings.preset] if settings.hsts_seconds is None else settings.hsts_seconds
    return ((b"strict-transport-security", b"max-age=%d" % seconds),) if seconds else ()


def _adding(added: Fields) -> FieldChange:
    def change(fields: Fields) -> Fields:
        present = {name for name, _ in fields}
        return (*fields, *(field for field in added if field[0] not in present))

    return FieldChange(change)


FEATURE = Feature(
    name="security_headers",
    kind="filter",
    config_class=SecurityHeadersConfig,
    build=build,
    check=check,
    repeatable=True,
)
