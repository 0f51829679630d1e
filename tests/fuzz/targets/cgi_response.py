"""Heads of CGI answers, and status lines before them: only ValueError is raised, and what passes can be sent."""

from __future__ import annotations

import dataclasses

from securelight.model.limits import Limits
from securelight.protocol.http1_output import field_lines
from securelight.upstream.cgi_response import StatusLine, split_head

LIMITS = dataclasses.replace(Limits(), upstream_head_bytes=400, upstream_fields=10)
SEEDS = [
    b"Content-Type: text/plain\r\nStatus: 404 No\r\n\r\nx",
    b"Location: /a?b\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nDate: x\r\nSet-Cookie: a=b\r\n\r\n",
    b"Status: 304\nConnection: close\nServer: x\nX: \xff\n\n",
]
WORDS = [b"Status: ", b"Location: ", b"Content-Length: ", b"Transfer-Encoding: ", b"HTTP/1.0 ", b"\n\n", b"\r\n\r\n"]


def fuzz(data: bytes) -> None:
    _split(data)
    try:
        _split(StatusLine().feed(data))
    except ValueError:
        return


def _split(data: bytes) -> None:
    try:
        result = split_head(data, LIMITS)
    except ValueError:
        return
    if result is None:
        assert len(data) <= LIMITS.upstream_head_bytes
        return
    head, rest = result
    assert 200 <= head.status <= 599
    assert data.endswith(rest)
    assert head.length is None or head.length >= 0
    field_lines(tuple(head.fields))
    assert not set(head.redirect) & set(b"\r\n\0 ")
