"""HTTP/2 servers behind us: only ResponseFault is raised, and what is held of bodies stays within the windows."""

from __future__ import annotations

import contextlib
import dataclasses

from securelight.model.limits import Limits
from securelight.protocol.http2_upstream import Http2Upstream
from securelight.protocol.response_head import ResponseFault
from tests.protocol.http2_support import data as data_frame, goaway, ping, raw_frame, reset, settings, window_update

LIMITS = dataclasses.replace(Limits(), upstream_head_bytes=1000, upstream_fields=10)
HEAD = raw_frame(1, 4, 1, b"\x88\x5c\x015")
SEEDS = [
    settings() + HEAD + data_frame(1, b"hello", end=True) + ping() + window_update(0, 9),
    settings({3: 1}) + raw_frame(1, 4, 1, b"\x08\x03103") + raw_frame(1, 5, 1, b"\x89") + raw_frame(1, 5, 3, b"\x88"),
    settings({4: 0, 1: 0}) + raw_frame(1, 0, 1, b"\x88") + raw_frame(9, 4, 1, b"\x40\x01a\x01b") + reset(1) + goaway(),
    settings() + HEAD + data_frame(1, b"hello") + raw_frame(1, 5, 1, b"\x40\x01a\x01b") + data_frame(3, b"x"),
]
WORDS = [raw_frame(kind, flags, 1) for kind in range(10) for flags in (0, 1, 4, 5)] + [
    HEAD,
    b"\x88",
    b"\x8b",
    b"\x08\x03101",
]
FIELDS = [(b"host", b"a.test")]


def fuzz(data: bytes) -> None:
    upstream = Http2Upstream(LIMITS)
    upstream.start()
    streams = [
        upstream.open("GET", "https", b"/", FIELDS, end=True, on_change=lambda: None),
        upstream.open("POST", "https", b"/", FIELDS, end=False, on_change=lambda: None),
    ]
    middle = len(data) // 2
    try:
        for piece in (data[:middle], data[middle:]):
            upstream.receive(piece)
            upstream.take_output()
            for stream in streams:
                assert sum(credit for _, credit in stream.pieces) <= LIMITS.upstream_buffer_bytes
                with contextlib.suppress(ResponseFault):
                    if stream.pieces:
                        upstream.consumed(stream, stream.pieces.popleft()[1])
                    if not stream.sent and upstream.room(stream):
                        upstream.send(stream, b"x")
        upstream.close(streams[0])
        with contextlib.suppress(ResponseFault):
            upstream.finish(streams[1], ())
        upstream.take_output()
    except ResponseFault:
        upstream.fail("a fault")
    for stream in streams:
        upstream.close(stream)
    assert upstream.streams == 0
