"""The sizes that frames may have (RFC 9113, sections 4.2 and 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Skipped, Topic, bound
from securelight.conformance.http2_accept import (
    ANSWERED,
    FRAME_SIZE_ERROR,
    IGNORED,
    PROTOCOL_ERROR,
    Accept,
    connection_error,
    stream_error,
)
from securelight.conformance.http2_questions import Build, sends

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.http2_client import Http2Client

SIZES = Topic(
    "Frame sizes",
    rfc=9113,
    why="A server that takes a frame of the wrong size reads past it, or reads the rest of it as other frames.",
    cure="Check the length of every frame against its type, before its content is looked at.",
)
MOST_TRIED_BYTES = 1 << 18
"""Servers that allow larger frames than this are not sent one that is too large."""

_FIXED = {
    "rst-stream": (frames.RST_STREAM, "6.4", (0, 3, 5), 1),
    "settings": (frames.SETTINGS, "6.5", (1, 5, 7), 0),
    "ping": (frames.PING, "6.7", (0, 7, 9), 0),
    "goaway": (frames.GOAWAY, "6.8", (0, 4, 7), 0),
    "window-update": (frames.WINDOW_UPDATE, "6.9", (0, 3, 5), 0),
}
for _name, (_kind, _section, _lengths, _stream_id) in _FIXED.items():
    for _length in _lengths:
        SIZES.must(
            f"h2/{_section}/{_name}-of-{_length}-bytes", f"A {_name.upper().replace('-', '_')} frame of {_length} bytes"
        )(
            sends(
                bound(
                    lambda client, kind, length, stream_id: [
                        *([client.head(1, client.request(b"POST"), end=False)] if stream_id else []),
                        frames.raw_frame(kind, 0, stream_id, bytes(length)),
                    ],
                    _kind,
                    _length,
                    _stream_id,
                ),
                connection_error(FRAME_SIZE_ERROR),
            )
        )

for _length in (0, 4, 6):
    SIZES.must(f"h2/6.3/priority-of-{_length}-bytes", f"A PRIORITY frame of {_length} bytes")(
        sends(
            bound(
                lambda client, length: [
                    client.head(1, client.request(b"POST"), end=False),
                    frames.raw_frame(frames.PRIORITY, 0, 1, bytes(length)),
                ],
                _length,
            ),
            stream_error(FRAME_SIZE_ERROR),
            too_late=True,
        )
    )

for _length in (3, 5):
    SIZES.must(
        f"h2/6.9/stream-window-update-of-{_length}-bytes", f"A WINDOW_UPDATE frame of {_length} bytes on a stream"
    )(
        sends(
            bound(
                lambda client, length: [
                    client.head(1, client.request(b"POST"), end=False),
                    frames.raw_frame(frames.WINDOW_UPDATE, 0, 1, bytes(length)),
                ],
                _length,
            ),
            connection_error(FRAME_SIZE_ERROR),
        )
    )


@SIZES.must("h2/6.5/ack-with-content", "A SETTINGS acknowledgement that has content")
async def ack_with_content(dial: Dial) -> str:
    """Of a length that would be right for SETTINGS."""
    client = await dial.http2()
    await client.send(frames.raw_frame(frames.SETTINGS, frames.ACK, 0, b"\0\4\0\0\xff\xff"))
    return await client.judge(connection_error(FRAME_SIZE_ERROR))


def _open(client: Http2Client) -> bytes:
    return client.head(1, client.request(b"POST"), end=False)


def _long_field(client: Http2Client, length: int) -> bytes:
    return client.encode([*client.request(), (b"x-long", b"a" * length)])


_OVERSIZE: dict[str, tuple[Callable[[Http2Client, int], list[bytes]], Accept]] = {
    "data": (
        lambda client, length: [_open(client), frames.data(1, bytes(length))],
        stream_error(FRAME_SIZE_ERROR),
    ),
    "headers": (
        lambda client, length: [frames.headers(1, _long_field(client, length))],
        connection_error(FRAME_SIZE_ERROR),
    ),
    "continuation": (
        lambda client, length: [
            frames.headers(1, client.encode(client.request()), end_headers=False),
            frames.continuation(1, client.encode([(b"x-long", b"a" * length)])),
        ],
        connection_error(FRAME_SIZE_ERROR),
    ),
    "settings": (
        lambda client, length: [frames.raw_frame(frames.SETTINGS, 0, 0, bytes(length + 6 - length % 6))],
        connection_error(FRAME_SIZE_ERROR),
    ),
    "ping": (
        lambda client, length: [frames.raw_frame(frames.PING, 0, 0, bytes(length))],
        connection_error(FRAME_SIZE_ERROR),
    ),
    "goaway": (
        lambda client, length: [frames.raw_frame(frames.GOAWAY, 0, 0, bytes(length))],
        connection_error(FRAME_SIZE_ERROR),
    ),
    "unknown": (
        lambda client, length: [frames.raw_frame(0xEE, 0, 0, bytes(length))],
        stream_error(FRAME_SIZE_ERROR),
    ),
}


def _oversize(name: str) -> Question:
    build, accept = _OVERSIZE[name]

    async def question(dial: Dial) -> str:
        client = await dial.http2()
        allowed = client.server_settings.get(frames.MAX_FRAME_SIZE, frames.DEFAULT_FRAME_BYTES)
        if allowed > MOST_TRIED_BYTES:
            raise Skipped(f"the server allows frames of {allowed} bytes")
        await client.send(*build(client, allowed + 1))
        return await client.judge(accept, 1, barrier=name != "continuation")

    return question


for _name in _OVERSIZE:
    SIZES.must(
        f"h2/4.2/oversize-{_name}", f"A frame longer than the server's SETTINGS_MAX_FRAME_SIZE ({_name.upper()})"
    )(_oversize(_name))


@SIZES.must("h2/4.2/largest-length", "A frame header that announces 16,777,215 bytes")
async def largest_length(dial: Dial) -> str:
    """Nothing else comes: the server can know by the header alone, and may also wait for the rest."""
    client = await dial.http2()
    if client.server_settings.get(frames.MAX_FRAME_SIZE, frames.DEFAULT_FRAME_BYTES) > MOST_TRIED_BYTES:
        raise Skipped("the server allows very large frames")
    await client.send(frames.raw_frame(frames.DATA, 0, 1, b"", length=2**24 - 1), bytes(MOST_TRIED_BYTES))
    return await client.judge(connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR), barrier=False)


@SIZES.must("h2/4.2/largest-data", "A DATA frame of exactly 16,384 bytes")
async def largest_data(dial: Dial) -> str:
    """All implementations must take these."""
    client = await dial.http2()
    await client.send(_open(client), frames.data(1, bytes(frames.DEFAULT_FRAME_BYTES), end=True))
    return await client.judge(ANSWERED | IGNORED, 1)


@SIZES.must("h2/4.2/largest-unknown", "A frame of exactly 16,384 bytes of an unknown type")
async def largest_unknown(dial: Dial) -> str:
    """The same."""
    client = await dial.http2()
    await client.send(frames.raw_frame(0xEE, 0, 0, bytes(frames.DEFAULT_FRAME_BYTES)))
    return await client.judge(IGNORED)


@SIZES.must("h2/6.1/empty-data", "Empty DATA frames inside of a body, and one that ends it")
async def empty_data(dial: Dial) -> str:
    """They are unusual and right."""
    client = await dial.http2()
    await client.send(_open(client), frames.data(1), frames.data(1, b"a"), frames.data(1), frames.data(1, end=True))
    return await client.judge(ANSWERED | IGNORED, 1)


PADDING = Topic(
    "Padding",
    rfc=9113,
    why="A server that believes a pad length without a check reads beyond the frame.",
    cure="Compare the pad length with what is left of the frame before you subtract.",
)

_PAD_LENGTHS = {
    "one-byte-too-long": (lambda rest: rest + 1, "one byte more of padding than is left of the frame"),
    "much-too-long": (lambda rest: 255, "padding of 255 bytes in a short frame"),
}


def _padded(kind: int, pad_length: Callable[[int], int]) -> Build:
    def build(client: Http2Client) -> list[bytes]:
        if kind == frames.DATA:
            return [
                _open(client),
                frames.raw_frame(kind, frames.PADDED | frames.END_STREAM, 1, bytes([pad_length(5)]) + b"a" * 5),
            ]
        block = client.encode(client.request())
        flags = frames.PADDED | frames.END_STREAM | frames.END_HEADERS
        return [frames.raw_frame(kind, flags, 1, bytes([min(pad_length(len(block)), 255)]) + block)]

    return build


for _name, (_pad_length, _title) in _PAD_LENGTHS.items():
    for _kind in (frames.DATA, frames.HEADERS):
        PADDING.must(f"h2/6.{_kind + 1}/padding-{_name}", f"{frames.NAMES[_kind]} with {_title}")(
            sends(_padded(_kind, _pad_length), connection_error(PROTOCOL_ERROR))
        )

for _name, _kind in (("data", frames.DATA), ("headers", frames.HEADERS)):
    PADDING.must(
        f"h2/6.{_kind + 1}/padded-without-length", f"{_name.upper()} with the flag PADDED and without any content"
    )(
        sends(
            bound(
                lambda client, kind: [
                    *([_open(client)] if kind == frames.DATA else []),
                    frames.raw_frame(kind, frames.PADDED | frames.END_STREAM | frames.END_HEADERS, 1),
                ],
                _kind,
            ),
            connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR),
        )
    )


@PADDING.must("h2/6.1/padded-data", "DATA with padding, which is no part of the content")
async def padded_data(dial: Dial) -> str:
    """With a Content-Length that says so."""
    client = await dial.http2()
    fields = client.request(b"POST", None, (b"content-length", b"4"))
    await client.send(client.head(1, fields, end=False), frames.data(1, b"good", end=True, padding=100))
    return await client.judge(ANSWERED | IGNORED, 1)


@PADDING.must("h2/6.2/padded-headers", "HEADERS with padding of 255 bytes")
async def padded_headers(dial: Dial) -> str:
    """The largest there is."""
    client = await dial.http2()
    payload = b"\xff" + client.encode(client.request()) + bytes(255)
    flags = frames.PADDED | frames.END_STREAM | frames.END_HEADERS
    await client.send(frames.raw_frame(frames.HEADERS, flags, 1, payload))
    return await client.judge(ANSWERED, 1)


@PADDING.must("h2/6.2/pad-length-zero", "HEADERS with the flag PADDED and a pad length of zero")
async def pad_length_zero(dial: Dial) -> str:
    """It is right, and one byte longer than without."""
    client = await dial.http2()
    flags = frames.PADDED | frames.END_STREAM | frames.END_HEADERS
    await client.send(frames.raw_frame(frames.HEADERS, flags, 1, b"\0" + client.encode(client.request())))
    return await client.judge(ANSWERED, 1)


@PADDING.must("h2/6.2/short-priority", "HEADERS with the flag PRIORITY and four bytes")
async def short_priority(dial: Dial) -> str:
    """Five are needed."""
    client = await dial.http2()
    flags = frames.HAS_PRIORITY | frames.END_STREAM | frames.END_HEADERS
    await client.send(frames.raw_frame(frames.HEADERS, flags, 1, bytes(4)))
    return await client.judge(connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR))
