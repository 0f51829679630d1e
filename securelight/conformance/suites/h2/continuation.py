"""Header blocks in pieces (RFC 9113, sections 4.3, 6.10)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Topic, bound
from securelight.conformance.http2_accept import (
    ANSWERED,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    IGNORED,
    MALFORMED,
    PROTOCOL_ERROR,
    Accept,
    connection_error,
    stream_error,
)
from securelight.conformance.http2_questions import sends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.conformance.dial import Dial
    from securelight.conformance.http2_client import Http2Client

CONTINUATION = Topic(
    "CONTINUATION",
    rfc=9113,
    why="While a header block is open nothing else may come; a server that lets it reads one request into another, or "
    "collects header blocks without end (CVE-2024-27316).",
    cure="Keep one open block for the connection, refuse any other frame in it, and bound its frames and bytes.",
)


def _pieces(client: Http2Client, *cuts: int, end: bool = True) -> list[bytes]:
    """A request whose block is cut at these places."""
    block = client.encode(client.request())
    places = [0, *cuts, len(block)]
    parts = [block[start:stop] for start, stop in itertools.pairwise(places)]
    last = len(parts) - 1
    built = [frames.headers(1, parts[0], end=end, end_headers=False)]
    return built + [
        frames.continuation(1, part, end_headers=number == last) for number, part in enumerate(parts) if number
    ]


for _name, _title, _cuts in (
    ("two-pieces", "HEADERS and one CONTINUATION", (10,)),
    ("five-pieces", "HEADERS and four CONTINUATION frames", (1, 2, 3, 10)),
    ("empty-headers", "HEADERS without any of the block, and CONTINUATION with all of it", (0,)),
    ("empty-continuation", "An empty CONTINUATION in between", (10, 10)),
):
    CONTINUATION.must(f"h2/6.10/{_name}", _title)(
        sends(bound(lambda client, cuts: _pieces(client, *cuts), _cuts), ANSWERED)
    )

_BETWEEN = {
    "data": frames.data(1, b"x"),
    "headers": frames.headers(3, b"\x82\x87\x84\x41\x09localhost"),
    "priority": frames.priority(1),
    "rst-stream": frames.rst_stream(1),
    "settings": frames.settings(),
    "push-promise": frames.raw_frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, b"\0\0\0\2\x82"),
    "ping": frames.ping(),
    "goaway": frames.goaway(),
    "window-update": frames.window_update(0, 1),
    "unknown": frames.raw_frame(0xEE, 0, 1, b"whatever"),
    "other-stream": frames.continuation(3, b"\x82"),
}
for _name, _frame in _BETWEEN.items():

    def _interrupted(client: Http2Client, frame: bytes = _frame) -> Sequence[bytes]:
        first, last = _pieces(client, 10)
        return [first, frame, last]

    _words = "CONTINUATION of another stream" if _name == "other-stream" else _name.upper().replace("-", "_")
    CONTINUATION.must(f"h2/6.10/interrupted-by-{_name}", f"{_words} inside of an open header block")(
        sends(_interrupted, connection_error(PROTOCOL_ERROR), barrier=False)
    )

CONTINUATION.must("h2/6.10/after-the-end", "CONTINUATION after HEADERS that ended their block")(
    sends(
        lambda client: [
            client.head(1, client.request(b"POST"), end=False),
            frames.continuation(1, client.encode([(b"a", b"b")])),
        ],
        connection_error(PROTOCOL_ERROR),
    )
)
CONTINUATION.must("h2/6.10/after-data", "CONTINUATION after DATA")(
    sends(
        lambda client: [
            client.head(1, client.request(b"POST"), end=False),
            frames.data(1, b"x"),
            frames.continuation(1, client.encode([(b"a", b"b")])),
        ],
        connection_error(PROTOCOL_ERROR),
    )
)
CONTINUATION.must("h2/6.10/after-the-last", "CONTINUATION after a CONTINUATION that ended the block")(
    sends(
        lambda client: [*_pieces(client, 10, end=False), frames.continuation(1, client.encode([(b"a", b"b")]))],
        connection_error(PROTOCOL_ERROR),
    )
)


def _trailer_pieces(client: Http2Client) -> list[bytes]:
    head = client.head(1, client.request(b"POST"), end=False)
    block = client.encode([(b"x-trailer", b"one"), (b"x-another", b"two")])  # in the order in which they are sent
    return [
        head,
        frames.data(1, b"x"),
        frames.headers(1, block[:5], end_headers=False),
        frames.continuation(1, block[5:]),
    ]


CONTINUATION.must("h2/6.10/trailers-in-pieces", "A trailer section in HEADERS and CONTINUATION")(
    sends(_trailer_pieces, ANSWERED | IGNORED)
)


@CONTINUATION.must(
    "h2/6.10/endless",
    "2,000 CONTINUATION frames in one header block",
    rfc=9113,
    section="10.5",
    why="A server that collects them without end runs out of memory, or decodes without end (CVE-2024-27316).",
    cure="Bound the frames and the bytes of one header block.",
)
async def endless(dial: Dial) -> str:
    """Of 100 bytes each. A refusal in any form is right, and so is leaving; serving the request is not."""
    client = await dial.http2()
    block = client.encode(client.request())
    filler = b"\x00\x08x-filler\x58" + b"v" * 88
    await client.send(frames.headers(1, block, end_headers=False))
    for _ in range(20):
        if not await client.send(*[frames.continuation(1, filler, end_headers=False)] * 100):
            break
    await client.send(frames.continuation(1, b""))
    anything = stream_error(*range(14)) | connection_error(ENHANCE_YOUR_CALM) | Accept(refused=True)
    return await client.judge(anything, 1, barrier=False)


CONTINUATION.must("h2/4.3/empty-block", "HEADERS with an empty block: a request without any field")(
    sends(lambda client: [frames.headers(1, b"")], MALFORMED | connection_error(FRAME_SIZE_ERROR))
)
