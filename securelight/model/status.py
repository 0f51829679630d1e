"""Error answers that the server makes itself: short, the same on every path, nothing of the server's inside in them."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from securelight.model.response import Response, reason_phrase

if TYPE_CHECKING:
    from securelight.model.errors import Refusal

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{status} {phrase}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:34rem;padding:0 1rem}}\
h1{{font-size:1.5rem;font-weight:600}}code{{font-size:.9em}}</style>
<h1>{status} {phrase}</h1>
<p>{public}</p>{identifier}
</html>
"""


def error_response(refusal: Refusal, error_id: str = "") -> Response:
    """The page for `refusal`. `error_id` is shown so that the client can name our log line to us."""
    identifier = f"\n<p>Reference: <code>{html.escape(error_id)}</code></p>" if error_id else ""
    phrase = reason_phrase(refusal.status)
    page = _PAGE.format(
        status=refusal.status, phrase=phrase, public=html.escape(refusal.public or phrase + "."), identifier=identifier
    )
    fields = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *refusal.fields,
    )
    return Response(refusal.status, fields, page.encode())
