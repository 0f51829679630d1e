"""The site's own pages for the errors that the server answers with itself.

The answers of handlers (an application's own 404) are left alone: `facts.refusal` tells them apart. Status and fields
stay as they are; only the body and its type are replaced. The pages are read once, when the site is built, so that an
error never waits for a file; a reload reads them anew.

`handlers` are for pages that a route makes, such as an application: see pipeline/error_route. A page of this file is
sent where such a route has nothing to say.

In a page, `{{status}}`, `{{reason}}` and `{{reference}}` are replaced by the status code, its phrase, and the id under
which an error of ours was logged.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from securelight.files.mime_types import content_type
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response, reason_phrase
from securelight.model.uri import parse_target
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.error_route import ErrorHandlers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Filter

_KEY = re.compile(r"[45](?:[0-9][0-9]|xx)")
_PLACEHOLDER = re.compile(rb"\{\{(status|reason|reference)\}\}")
_PAGE_BYTES = 262_144
"""The largest page: it is sent with every error, and held in memory."""


class ErrorPagesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`error_pages`: a file for each error status."""

    pages: dict[str, str] = {}
    """From a status (`"404"`) or a class of them (`"4xx"`, `"5xx"`) to a file, relative to the file this stands in."""
    handlers: dict[str, str] = {}
    """From a status or class to a path of this site, whose route answers: `"/errors/404"`. Its stages are not asked, so
    it may be closed for clients."""
    keep_status: bool = True
    """The client gets the status of the error. Without it, that of the handler's answer."""


def _read_pages(settings: ErrorPagesConfig, base: Path) -> tuple[dict[str, tuple[bytes, bytes]], list[str]]:
    """(status or class -> (content type, page), faults)."""
    pages: dict[str, tuple[bytes, bytes]] = {}
    faults: list[str] = []
    for status, name in settings.pages.items():
        path = base / name
        if not _KEY.fullmatch(status):
            faults.append(f'pages: {status!r} is not an error status; write "404", "4xx" or "5xx"')
            continue
        try:
            if not path.is_file():
                faults.append(f"pages.{status}: {str(path)!r} is not a file")
            elif path.stat().st_size > _PAGE_BYTES:
                faults.append(f"pages.{status}: {str(path)!r} is larger than {_PAGE_BYTES} bytes")
            else:
                pages[status] = content_type(os.fsencode(path.name)), path.read_bytes()
        except OSError as error:
            faults.append(f"pages.{status}: {str(path)!r} cannot be read: {error.strerror}")
    return pages, faults


def check(settings: ErrorPagesConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = _read_pages(settings, base)[1] + _handler_faults(settings)
    return faults if settings.pages or settings.handlers else ["has neither pages nor handlers"]


def _handler_faults(settings: ErrorPagesConfig) -> list[str]:
    faults = []
    for status, path in settings.handlers.items():
        if not _KEY.fullmatch(status):
            faults.append(f'handlers: {status!r} is not an error status; write "404", "4xx" or "5xx"')
        try:
            if not (path.startswith("/") and path.isascii()):
                raise Refusal(400)
            parse_target(path.encode("ascii"))
        except Refusal:
            faults.append(f'handlers.{status}: {path!r} is not a path of this site, such as "/errors/{status}"')
    return faults


def build(settings: ErrorPagesConfig, context: BuildContext) -> Filter:
    """The filter.

    Errors: ConfigError for what `check` reports.
    """
    pages, faults = _read_pages(settings, context.base)
    faults += _handler_faults(settings)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    if settings.handlers:
        context.error_handlers = ErrorHandlers(settings.handlers, keep_status=settings.keep_status)

    def error_pages(_request: Request, facts: Facts, response: Response) -> Response:
        if facts.refusal is None:
            return response
        status = str(response.status)
        page = pages.get(status) or pages.get(status[0] + "xx")
        if page is None:
            return response
        kind, body = page
        values = {
            b"status": status.encode(),
            b"reason": reason_phrase(response.status).encode(),
            b"reference": facts.error_id.encode(),
        }
        body = _PLACEHOLDER.sub(lambda match: values[match[1]], body)
        fields = ((b"content-type", kind), *(field for field in response.fields if field[0] != b"content-type"))
        return Response(response.status, fields, body)

    return error_pages


FEATURE = Feature(
    name="error_pages", kind="filter", config_class=ErrorPagesConfig, build=build, check=check, repeatable=True
)
