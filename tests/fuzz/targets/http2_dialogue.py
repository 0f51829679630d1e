"""HTTP/2 connections, deep: the input is a list of what peer and server do, frame by frame, on both engines at once.

The client keeps account of all that comes back (tests/protocol/http2_witness.py). Both engines have to report the same,
up to where they may differ (tests/protocol/test_http2_differential.py).
"""

from __future__ import annotations

from securelight.model.errors import Http2Code
from tests.protocol.http2_support import ENGINES, GET, POST, raw_frame
from tests.protocol.http2_witness import Witness

STEPS = 60
MOST_FIELDS = 12
TABLE = [
    (b":method", b"POST"), (b":path", b"*"), (b":scheme", b"http"), (b":authority", b"[::1]:1"), (b"te", b"trailers"),
    (b"content-length", b"4"), (b"expect", b"100-continue"), (b"cookie", b"a=b"), (b"host", b"a.test"),
    (b"x-sum", b"1"), (b"priority", b"u=1, i"), (b"connection", b"close"), (b"X", b""), (b"x", b"\xff\n"),
    (b"x-long", b"a" * 200), (b":path", b""), (b":protocol", b"websocket"),
    (b"content-length", b"x"), (b"transfer-encoding", b"chunked"),
]  # fmt: skip
"""Fields that a head may have beside those of GET; each byte of a step's content names one."""
RESPOND, RESPOND_PART, WRITE, END, TRAILERS, CONSUME, CANCEL, INFORM, GOODBYE, ANNOUNCE, TIME, END_INPUT, WHOLE = range(
    64, 77
)
HEAD, HEAD_OF_TABLE, TRAILING_HEAD = range(32, 35)


def step(kind: int, stream_id: int = 0, argument: int = 0, content: bytes = b"") -> bytes:
    """One action: a frame of the type `kind` with the flags `argument`, or one of those named above."""
    return bytes([kind, stream_id, argument, len(content)]) + content


SEEDS = [
    step(HEAD, 1, 1) + step(RESPOND, 1, 5) + step(4, 0, 0, b"\0\4\0\0\0\1") + step(HEAD, 3, 1) + step(RESPOND, 3, 200)
    + step(8, 3, 0, b"\0\0\0\x09") + step(8, 0, 0, b"\0\1\0\0"),
    step(HEAD, 1, 2) + step(0, 1, 0, b"ab") + step(CONSUME, 1) + step(0, 1, 1, b"cd") + step(RESPOND_PART, 1, 9)
    + step(WRITE, 1, 90) + step(TRAILERS, 1),
    step(HEAD_OF_TABLE, 1, 0, b"\0\5") + step(RESPOND, 1, 1) + step(0, 1, 8, b"\2ab\0\0") + step(TIME, 0, 30)
    + step(6, 0, 0, bytes(8)),
    step(HEAD, 1, 0) + step(TRAILING_HEAD, 1, 1) + step(WHOLE, 1) + step(HEAD, 3, 0) + step(3, 3, 0, bytes(4))
    + step(ANNOUNCE) + step(HEAD, 5, 1) + step(GOODBYE) + step(HEAD, 7, 1) + step(END, 5) + step(END_INPUT),
    step(HEAD, 1, 0) + step(CANCEL, 1) + step(0, 1, 0, b"late") + step(7, 0, 0, bytes(8)) + step(INFORM, 1),
    step(1, 1, 5, b"\x82\x84\x87\x41\x06a.test") + step(1, 3, 1, b"\x82\x84") + step(9, 3, 4, b"\x87\x41\x01a"),
]  # fmt: skip
WORDS = [step(kind, 1, argument) for kind in (*range(10), 16, *range(32, 35), *range(64, 77)) for argument in (0, 1)]


def fuzz(data: bytes) -> None:
    sides = [Witness(engine) for engine in ENGINES]
    comparable = True
    place = 0
    for _ in range(STEPS):
        if place + 4 > len(data):
            break
        kind, stream_id, argument, size = data[place : place + 4]
        content = data[place + 4 : place + 4 + size]
        place += 4 + size
        if kind in (1, 5, 9):
            comparable = False  # a block that hpack has not encoded
        said = [_act(side, kind, stream_id, argument, content) for side in sides]
        for side in sides:
            side.look()
        if any(("failed", Http2Code.FLOW_CONTROL_ERROR) in one for one in said):
            comparable = False
        if comparable:
            assert _comparable(said[0]) == _comparable(said[1]), said
    for side in sides:
        side.finish()


def _comparable(said: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [
        (*event[:2], Http2Code.PROTOCOL_ERROR)
        if event[0] == "aborted" and event[2] == Http2Code.REFUSED_STREAM
        else event[:3] for event in said
    ]  # fmt: skip


def _send_head(
    side: Witness, stream_id: int, argument: int, fields: list[tuple[bytes, bytes]]
) -> list[tuple[object, ...]]:
    block = side.client.encoder.encode(fields)
    return side.send(raw_frame(1, 4 | argument & 1, stream_id, block), argument >> 1)


def _act(side: Witness, kind: int, stream_id: int, argument: int, content: bytes) -> list[tuple[object, ...]]:
    adapter = side.adapter
    if kind < HEAD:
        return side.send(raw_frame(kind, argument, stream_id, content), argument % 32)
    if kind == HEAD:
        return _send_head(side, stream_id, argument, GET if argument & 1 else POST)
    if kind == HEAD_OF_TABLE:
        chosen = [TABLE[byte % len(TABLE)] for byte in content[:MOST_FIELDS]]
        again = [pair for pair, byte in zip(chosen, content, strict=False) if byte >= 128]
        return _send_head(side, stream_id, argument, [*(dict(GET) | dict(chosen)).items(), *again][:MOST_FIELDS])
    if kind == TRAILING_HEAD:
        return _send_head(side, stream_id, argument, [(b"x-sum", b"1")])
    if kind == RESPOND:
        side.respond(stream_id, b"b" * (argument * argument * 2), end=True)
    elif kind == RESPOND_PART:
        side.respond(stream_id, b"b" * argument, end=False)
    elif kind in (WRITE, END):
        side.write(stream_id, b"c" * (argument * argument), end=kind == END)
    elif kind == TRAILERS:
        side.end_with_trailers(stream_id)
    elif kind == CONSUME:
        side.consume(stream_id)
    elif kind == CANCEL:
        side.cancel(stream_id)
    elif kind == INFORM:
        side.inform(stream_id)
    elif kind == GOODBYE:
        adapter.goodbye()
    elif kind == ANNOUNCE:
        adapter.announce_shutdown()
    elif kind == TIME:
        side.pass_time(argument / 10)
    elif kind == END_INPUT:
        return side.end_input()
    elif kind == WHOLE:
        side.respond_whole(stream_id)
    return []
