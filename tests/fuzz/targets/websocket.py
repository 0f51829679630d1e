"""WebSocket frames, with and without permessage-deflate: no exception leaves, messages stay within their bounds, and
the same is read however it comes in pieces, but for which of a frame's faults is noticed."""

from __future__ import annotations

import dataclasses

from securelight.model.limits import Limits
from securelight.protocol.websocket import Closed, WebSocket

LIMITS = dataclasses.replace(Limits(), websocket_message_bytes=200, websocket_message_frames=5)
SEEDS = [
    b"\x81\x82\0\0\0\0hi",
    b"\x89\x80\0\0\0\0",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\xc1\x83\0\0\0\0\x4a\x04\0",
    b"\x01\x81\0\0\0\0h\x89\x81\0\0\0\0p\x80\x81\1\0\0\0h",
    b"\x82\xfe\0\x7e\0\0\0\0" + bytes(126),
]
WORDS = [
    b"\x81\x80\0\0\0\0",
    b"\x01\x81\0\0\0\0",
    b"\x80\x80\0\0\0\0",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\xc1\x83\0\0\0\0",
]


def _read(pieces: list[bytes], *, deflate: bool) -> list[tuple[str, object]]:
    socket = WebSocket(LIMITS, deflate=deflate)
    read: list[tuple[str, object]] = []
    for piece in pieces:
        for event in socket.receive(piece):
            assert not read or read[-1][0] not in ("Closed", "Breach")
            if isinstance(event, str | bytes):
                size = len(event.encode() if isinstance(event, str) else event)
                assert size <= LIMITS.websocket_message_bytes
                read.append((type(event).__name__, event))
            else:
                read.append((type(event).__name__, event.code if isinstance(event, Closed) else None))
    return read


def fuzz(data: bytes) -> None:
    middle = len(data) // 2
    for deflate in (False, True):
        whole = _read([data], deflate=deflate)
        assert _read([data[:1], data[1:middle], data[middle:]] if middle else [data], deflate=deflate) == whole
