"""HTTP/2 connections on both engines: no exception leaves, and what is sent back consists of whole frames."""

from __future__ import annotations

from tests.protocol.http2_support import ENGINES, Client, data as data_frame, ping, raw_frame, reset, settings

HEAD = raw_frame(1, 4, 1, b"\x82\x84\x87\x41\x06a.test")
SEEDS = [settings() + ping() + HEAD + data_frame(1, b"hello", end=True), HEAD + reset(1), settings({4: 0}) + HEAD]


def fuzz(data: bytes) -> None:
    for engine in ENGINES:
        for cut in (0, len(data) // 2):
            client = Client(engine)
            for piece in (data[:cut], data[cut:]):
                client.send(piece)
                client.read()
