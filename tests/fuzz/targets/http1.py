"""HTTP/1 requests: both engines tell the same events, whole and in pieces."""

from __future__ import annotations

from tests.protocol.test_http1_differential import agree

SEEDS = [
    b"GET /a?b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
]


def fuzz(data: bytes) -> None:
    agree(data, [1, len(data) // 2])
