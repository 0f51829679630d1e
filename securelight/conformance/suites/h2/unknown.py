"""Frames, flags and bits that nobody has defined (RFC 9113, sections 4.1, 5.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Topic, bound
from securelight.conformance.http2_accept import ANSWERED, IGNORED
from securelight.conformance.http2_questions import sends

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial
    from securelight.conformance.http2_client import Http2Client
    from securelight.conformance.http2_questions import Build

UNKNOWN = Topic(
    "Unknown frames and flags",
    rfc=9113,
    why="A server that breaks on what it does not know breaks with every extension of the protocol.",
    cure="Skip frames of unknown types whole, and look at no bit that the frame's type does not define.",
)
RESERVED = 0x80000000

for _kind in (0x0B, 0x0D, 0x0E, 0x20, 0x42, 0xFE, 0xFF):
    UNKNOWN.must(f"h2/5.5/unknown-type-{_kind:02x}", f"A frame of type 0x{_kind:02x} on the connection, and a request")(
        sends(
            bound(lambda client, kind: [
                frames.raw_frame(kind, 0xFF, 0, b"whatever"), client.head(1),
            ], _kind),
            ANSWERED,
        )
    )  # fmt: skip

UNKNOWN.must("h2/5.5/empty-unknown", "An empty frame of an unknown type")(
    sends(lambda client: [frames.raw_frame(0xEE, 0, 0), client.head(1)], ANSWERED)
)
UNKNOWN.must("h2/5.5/unknown-in-a-body", "A frame of an unknown type between the DATA frames of a body")(
    sends(
        lambda client: [
            client.head(1, client.request(b"POST", None, (b"content-length", b"2")), end=False),
            frames.data(1, b"a"),
            frames.raw_frame(0xEE, 0, 1, b"whatever"),
            frames.data(1, b"b", end=True),
        ],
        ANSWERED | IGNORED,
    )
)

_FLAGS: dict[str, tuple[str, int, Build]] = {
    "headers": (
        "HEADERS",
        0x02 | 0x10 | 0x40 | 0x80,
        lambda client: [client.head(1)],
    ),
    "settings": ("SETTINGS", 0xFE, lambda client: [frames.settings(), client.head(1)]),
    "ping": ("PING", 0xFE, lambda client: [frames.ping(), client.head(1)]),
    "window-update": ("WINDOW_UPDATE", 0xFF, lambda client: [frames.window_update(0, 1), client.head(1)]),
    "priority": ("PRIORITY", 0xFF, lambda client: [frames.priority(1), client.head(1)]),
}


def _with_bits(build: Build, position: int, bits: int) -> Build:
    """The same, with these bits set in a byte of the first frame: its flags are at 4, its stream begins at 5."""

    def built(client: Http2Client) -> list[bytes]:
        first, *others = build(client)
        return [first[:position] + bytes([first[position] | bits]) + first[position + 1 :], *others]

    return built


for _name, (_title, _bits, _build) in _FLAGS.items():
    UNKNOWN.must(f"h2/4.1/undefined-flags-{_name}", f"{_title} with every flag that is not defined for it")(
        sends(_with_bits(_build, 4, _bits), ANSWERED)
    )
    UNKNOWN.must(f"h2/4.1/reserved-bit-{_name}", f"{_title} with the reserved bit before its stream identifier")(
        sends(_with_bits(_build, 5, 0x80), ANSWERED)
    )


@UNKNOWN.must("h2/4.1/undefined-flags-data", "DATA with every flag that is not defined for it")
async def undefined_flags_data(dial: Dial) -> str:
    """Among them those that mean something in HEADERS."""
    client = await dial.http2()
    body = frames.raw_frame(frames.DATA, frames.END_STREAM | 0xF6, 1, b"x")
    await client.send(client.head(1, client.request(b"POST"), end=False), body)
    return await client.judge(ANSWERED | IGNORED, 1)


@UNKNOWN.must("h2/4.1/undefined-flags-continuation", "CONTINUATION with every flag that is not defined for it")
async def undefined_flags_continuation(dial: Dial) -> str:
    """END_STREAM and PADDED mean nothing here."""
    client = await dial.http2()
    block = client.encode(client.request())
    rest = frames.raw_frame(frames.CONTINUATION, frames.END_HEADERS | 0xFB, 1, block[9:])
    await client.send(frames.headers(1, block[:9], end_headers=False), rest)
    return await client.judge(ANSWERED, 1)


@UNKNOWN.must("h2/6.9/reserved-bit-of-increment", "WINDOW_UPDATE with the reserved bit before its increment")
async def reserved_bit_of_increment(dial: Dial) -> str:
    """Ignored: the increment is one."""
    client = await dial.http2()
    await client.send(frames.window_update(0, RESERVED | 1))
    return await client.judge(IGNORED)


@UNKNOWN.must("h2/6.7/ping-ack-flag", "PING whose undefined flags include PADDED is echoed whole")
async def ping_ack_flag(dial: Dial) -> str:
    """All eight bytes come back."""
    client = await dial.http2()
    await client.send(frames.raw_frame(frames.PING, 0x08, 0, b"\x04abcdefg"))
    if not await client.until(lambda: b"\x04abcdefg" in client.pongs):
        raise Failed(f"the PING was not echoed: {client.situation()}")
    return "echoed"
