"""Responses of servers behind: only ResponseFault is raised, and the same is read however it comes in pieces."""

from __future__ import annotations

import dataclasses

from securelight.model.limits import Limits
from securelight.protocol.http1_responses import Http1Responses
from securelight.protocol.response_head import ResponseFault

LIMITS = dataclasses.replace(
    Limits(), upstream_head_bytes=400, upstream_fields=8, chunk_extension_bytes=20, chunk_overhead_bytes=60,
    trailer_bytes=80,
)  # fmt: skip
SEEDS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200\r\nConnection: close\r\n\r\nuntil the end",
    b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
]
WORDS = [b"HTTP/1.1 ", b"\r\n\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked", b"0\r\n\r\n", b"304", b"205"]


def _read(pieces: list[bytes]) -> tuple[bytes, bool, bool] | None:
    """(content, whole, reusable); None for a fault."""
    reader = Http1Responses(LIMITS)
    body = b""
    final = False
    try:
        for piece in pieces:
            if final:
                body += reader.body(piece)
            else:
                head = reader.head(piece)
                while head is not None and head.status < 200:
                    head = reader.head(b"")
                final = head is not None
                if final and not reader.whole:
                    body += reader.body()
            assert len(reader._held) <= LIMITS.upstream_head_bytes + len(piece)
            if reader.whole:
                break
    except ResponseFault:
        return None
    return body, reader.whole, reader.reusable


def fuzz(data: bytes) -> None:
    middle = len(data) // 2
    whole, pieces = _read([data]), _read([data[:7], data[7:middle], data[middle:]] if middle > 7 else [data])
    assert (whole is None) == (pieces is None)
    if whole is not None and pieces is not None:
        assert whole[:2] == pieces[:2]
