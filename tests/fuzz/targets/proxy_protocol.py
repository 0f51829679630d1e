"""PROXY headers, versions 1 and 2: only ProxyFault is raised."""

from __future__ import annotations

from securelight.protocol.proxy_protocol import ProxyFault, ProxyHeaderReader, write_v1

SEEDS = [
    write_v1(("192.0.2.1", 1), ("192.0.2.2", 2)),
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
]


def fuzz(data: bytes) -> None:
    try:
        ProxyHeaderReader(1000).feed(data)
    except ProxyFault:
        return
