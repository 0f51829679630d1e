"""Responses of servers behind: only ResponseFault is raised."""

from __future__ import annotations

from securelight.model.limits import Limits
from securelight.protocol.http1_responses import Http1Responses
from securelight.protocol.response_head import ResponseFault

SEEDS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
]


def fuzz(data: bytes) -> None:
    reader = Http1Responses(Limits())
    try:
        if reader.head(data) is not None:
            assert len(reader.body()) <= len(data)
    except ResponseFault:
        return
