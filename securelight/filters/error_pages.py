"""The site's own pages for the errors that the server answers with itself.

The answers of handlers (an application's own 404) are left alone: `facts.refusal` tells them apart. Status and fields
stay as they are; only the body and its type are replaced. The pages are read once, when the site is built, so that an
error never waits for a file; a reload reads them anew.

In a page, `{{status}}`, `{{reason}}` and `{{reference}}` are replaced by the status code, its phrase, and the id under
which an error of ours was logged.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from securelight.files.mime_types import content_type
from securelight.model.errors import ConfigError
from securelight.model.response import Response, reason_phrase
from securelight.pipeline.compile import BuildContext, Feature

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

    pages: dict[str, str]
    """From a status (`"404"`) or a class of them (`"4xx"`, `"5xx"`) to a file, relative to the file this stands in."""


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
    return _read_pages(settings, base)[1]


def build(settings: ErrorPagesConfig, context: BuildContext) -> Filter:
    """The filter.

    Errors: ConfigError for what `check` reports.
    """
    pages, faults = _read_pages(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))

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
