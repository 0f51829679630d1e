"""Heads of CGI answers: only ValueError is raised."""

from __future__ import annotations

from securelight.model.limits import Limits
from securelight.upstream.cgi_response import split_head

SEEDS = [b"Content-Type: text/plain\r\nStatus: 404 No\r\n\r\nx", b"Location: /a?b\n\n"]


def fuzz(data: bytes) -> None:
    try:
        result = split_head(data, Limits())
    except ValueError:
        return
    assert result is None or 200 <= result[0].status <= 599
