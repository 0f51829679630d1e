"""WebSocket frames, with and without permessage-deflate: no exception leaves."""

from __future__ import annotations

from securelight.model.limits import Limits
from securelight.protocol.websocket import WebSocket

SEEDS = [b"\x81\x82\0\0\0\0hi", b"\x89\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8", b"\xc1\x83\0\0\0\0\x4a\x04\0"]


def fuzz(data: bytes) -> None:
    for deflate in (False, True):
        list(WebSocket(Limits(), deflate=deflate).receive(data))
