"""Answers every request with one fixed status, fields and body, in which parts of the request may stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from securelight.model.errors import ConfigError
from securelight.model.field_syntax import field_fault, is_field_value
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.template import field_template, template_faults, text_template

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Handler


class RespondConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`respond`: a fixed answer."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    """Of the body, if there is one."""
    fields: dict[str, str] = {}
    """Further response fields."""
    placeholders: bool = False
    """Names in braces, such as `{client_address}` or `{country}`, stand for parts of the request, in body and fields;
    `{{` and `}}` are braces. In the body they are escaped as its type, which is text, HTML, XML or JSON, has it."""


def check(settings: RespondConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults: list[str] = []
    if settings.body and settings.status in BODYLESS_STATUSES:
        faults.append(f"status {settings.status} has no body; leave body out")
    if not settings.content_type or not is_field_value(settings.content_type):
        faults.append(f"content_type {settings.content_type!r} is not a content type")
    for name, value in settings.fields.items():
        fault = field_fault(name, value)
        if name.lower() == "content-type":
            fault = "write content-type as content_type, beside fields"
        if fault is not None:
            faults.append(f"fields: {fault}")
    if settings.placeholders:
        faults += [f"fields: {fault}" for value in settings.fields.values() for fault in template_faults(value)]
        faults += [f"body: {fault}" for fault in template_faults(settings.body)]
        if not faults:
            try:
                text_template(settings.body, settings.content_type)
            except ValueError as error:
                faults.append(f"content_type: {error}")
    return faults


def build(settings: RespondConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    fields = [(name.lower().encode(), value.encode()) for name, value in settings.fields.items()]
    if settings.body:
        fields.insert(0, (b"content-type", settings.content_type.encode()))
    response = Response(settings.status, tuple(fields), settings.body.encode(), shared=True)

    if settings.placeholders:
        return _filled(settings)

    def respond(_request: Request, _facts: Facts) -> Response:
        return response

    return respond


def _filled(settings: RespondConfig) -> Handler:
    status = settings.status
    made = [(name.lower().encode(), field_template(value)) for name, value in settings.fields.items()]
    body = text_template(settings.body, settings.content_type)
    before: Fields = ((b"content-type", settings.content_type.encode()),) if settings.body else ()

    def respond(request: Request, facts: Facts) -> Response:
        fields = (*before, *((name, make(request, facts).encode("ascii", "replace")) for name, make in made))
        return Response(status, fields, body(request, facts).encode("utf-8", "replace"))

    return respond


FEATURE = Feature(name="respond", kind="handler", config_class=RespondConfig, build=build, check=check)
