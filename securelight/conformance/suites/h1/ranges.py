"""Range requests (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.http1_questions import get

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.http1_client import Answer

RANGES = Topic(
    "Ranges",
    rfc=9110,
    why="A client that puts parts together gets a page of wrong bytes; many small ranges cost a server far more than "
    "they cost the client.",
    cure="Answer one satisfiable range with 206 and the right Content-Range; ignore malformed ones, bound the count.",
)
MOST_TIMES_LARGER = 3


async def whole(dial: Dial) -> Answer:
    """The page. Errors: Skipped if there is none that ranges could be asked of."""
    page = await get(dial)
    if page.status != 200 or len(page.body) < 20:
        raise Skipped(f"a plain GET is answered with {page.status} and {len(page.body)} bytes")
    part = await get(dial, b"Range: bytes=0-0")
    if part.status == 200:
        raise Skipped("the server serves no ranges of this page, as it may")
    return page


Expected = Callable[[int], tuple[int, int] | None]
"""The range that a page of so many bytes has; None if it cannot be satisfied."""


def _check_part(part: Answer, page: Answer, first: int, last: int) -> str:
    size = len(page.body)
    wanted = f"bytes {first}-{last}/{size}".encode()
    if part.status != 206 or part.get(b"content-range") != wanted:
        raise Failed(f"expected 206 with {wanted!r}, but got {part.status} with {part.get(b'content-range')!r}")
    if part.body != page.body[first : last + 1]:
        raise Failed(f"206 with {len(part.body)} bytes that are not bytes {first} to {last} of the page")
    return f"206 with {wanted.decode()}"


def _one(value: Callable[[int], str], expected: Expected) -> Question:
    async def question(dial: Dial) -> str:
        page = await whole(dial)
        size = len(page.body)
        part = await get(dial, b"Range: " + value(size).encode())
        if part.status == 200 and part.body == page.body:
            return "the whole page, as the server may"
        found = expected(size)
        if found is not None:
            return _check_part(part, page, *found)
        if part.status != 416:
            raise Failed(f"expected 416, but got {part.status} with {part.get(b'content-range')!r}")
        if (given := part.get(b"content-range")) not in (None, b"bytes */%d" % size):
            raise Failed(f"416 with Content-Range: {given!r} for {size} bytes")
        return "416"

    return question


_ONE: dict[str, tuple[str, Callable[[int], str], Expected]] = {
    "first-byte": ("The first byte", lambda size: "bytes=0-0", lambda size: (0, 0)),
    "middle": ("Ten bytes in the middle", lambda size: "bytes=5-14", lambda size: (5, 14)),
    "last-byte": ("The last byte", lambda size: f"bytes={size - 1}-{size - 1}", lambda size: (size - 1, size - 1)),
    "open": ("From a byte to the end", lambda size: f"bytes={size - 7}-", lambda size: (size - 7, size - 1)),
    "suffix": ("The last five bytes", lambda size: "bytes=-5", lambda size: (size - 5, size - 1)),
    "long-suffix": ("The last bytes, more than there are",
        lambda size: f"bytes=-{size + 9}", lambda size: (0, size - 1)),
    "past-the-end": (
        "A range that goes past the end",
        lambda size: f"bytes={size - 3}-{size + 99}", lambda size: (size - 3, size - 1),
    ),
    "huge-end": ("A range with an end of 30 digits", lambda size: f"bytes=2-{'9' * 30}", lambda size: (2, size - 1)),
    "beyond": ("A range that begins after the end", lambda size: f"bytes={size}-", lambda size: None),
    "far-beyond": ("A range that begins far after the end", lambda size: f"bytes={'9' * 30}-", lambda size: None),
    "empty-suffix": ("The last nought bytes", lambda size: "bytes=-0", lambda size: None),
}  # fmt: skip
for _key, (_words, _value, _expected) in _ONE.items():
    # Of numbers that are too large for a machine the RFC says that recipients ought to anticipate them.
    _add = RANGES.should if _key == "huge-end" else RANGES.must
    _add(f"h1/9110-14.1.2/{_key}", f"{_words}: the right part, or the whole page", section="14.1.2")(
        _one(_value, _expected)
    )

_IGNORED = {
    "letters": ("bytes=a-b", "letters for numbers"),
    "empty": ("bytes=", "no range"),
    "dash": ("bytes=-", "a dash alone"),
    "reversed": ("bytes=9-5", "the end before the beginning"),
    "negative": ("bytes=--5", "two dashes"),
    "no-equals": ("bytes 0-5", "a space for the equals sign"),
    "hexadecimal": ("bytes=0x0-0x5", "hexadecimal numbers"),
    "plus": ("bytes=+0-+5", "plus signs"),
    "three-numbers": ("bytes=0-5-9", "three numbers"),
}


def _ignored(value: str, wanted: tuple[int, ...]) -> Question:
    async def question(dial: Dial) -> str:
        """A malformed range may not be served as another one."""
        page = await whole(dial)
        answer = await get(dial, b"Range: " + value.encode())
        if answer.status not in wanted:
            raise Failed(f"expected {wanted}, but got {answer.status} with {answer.get(b'content-range')!r}")
        if answer.status == 200 and answer.body != page.body:
            raise Failed("200, but with another content than the page")
        return str(answer.status)

    return question


RANGES.must("h1/9110-14.2/unknown-unit", "A Range with a unit that nobody knows is ignored", section="14.2")(
    _ignored("lines=1-2", (200,))
)
for _key, (_range, _words) in _IGNORED.items():  # section 14.2: a server MAY ignore or reject these
    RANGES.should(
        f"h1/9110-14.2/{_key}", f"A Range with {_words} is ignored (200), or refused (400, 416)", section="14.2"
    )(_ignored(_range, (200, 400, 416)))


@RANGES.must("h1/9110-14.2/head", "HEAD with a Range, which is about GET only", section="14.2")
async def _head(dial: Dial) -> str:
    await whole(dial)
    answer = await get(dial, b"Range: bytes=0-0", method="HEAD")
    if answer.status == 206:
        raise Failed("206 for HEAD")
    return str(answer.status)


@RANGES.must("h1/9110-15.3.7/fields", "206 has the fields that 200 would have", section="15.3.7")
async def _fields(dial: Dial) -> str:
    page = await whole(dial)
    part = await get(dial, b"Range: bytes=0-0")
    names = (b"etag", b"content-location", b"expires", b"cache-control", b"vary")
    missing = [name.decode() for name in names if page.get(name) is not None and part.get(name) is None]
    if missing:
        raise Failed(f"206 without {', '.join(missing)}")
    return "it has"


@RANGES.must("h1/9110-14.6/several", "Two ranges: 206 with both parts, or the whole page", section="14.6")
async def _several(dial: Dial) -> str:
    page = await whole(dial)
    answer = await get(dial, b"Range: bytes=0-1,10-12")
    if answer.status == 200:
        return "200 with the whole page"
    if answer.status == 206 and answer.get(b"content-range") is not None:
        return _check_part(answer, page, 0, 12) + ", both in one"  # section 15.3.7.2 allows that
    kind = answer.get(b"content-type") or b""
    match = re.search(rb'multipart/byteranges;\s*boundary="?([^";]+)"?', kind, re.IGNORECASE)
    if answer.status != 206 or match is None:
        raise Failed(f"expected 206 with multipart/byteranges, but got {answer.status} with {kind!r}")
    found = []
    for piece in answer.body.split(b"--" + match[1])[1:-1]:
        lines, _, content = piece.partition(b"\r\n\r\n")
        where = re.search(rb"(?im)^content-range:[ \t]*bytes (\d+)-(\d+)/(\d+|\*)\r?$", lines)
        if where is None:
            raise Failed("a part without Content-Range")
        first, last = int(where[1]), int(where[2])
        if content.removesuffix(b"\r\n") != page.body[first : last + 1]:
            raise Failed(f"a part {first}-{last} with other bytes than those of the page")
        found.append((first, last))
    if found != [(0, 1), (10, 12)]:
        raise Failed(f"parts {found} for 0-1 and 10-12")
    return "206 with both parts"


async def _flood(dial: Dial, value: bytes) -> str:
    page = await whole(dial)
    answer = await get(dial, b"Range: bytes=" + value)
    if len(answer.body) > MOST_TIMES_LARGER * len(page.body) + 65_536:
        raise Failed(f"{answer.status} with {len(answer.body)} bytes, of a page of {len(page.body)}")
    return f"{answer.status} with {len(answer.body)} bytes"


@RANGES.should("h1/9110-14.2/overlapping", "Two hundred times the whole page", section="14.2")
async def _overlapping(dial: Dial) -> str:
    return await _flood(dial, b",".join([b"0-"] * 200))


@RANGES.should("h1/9110-14.2/many-bytes", "A thousand ranges of one byte", section="14.2")
async def _many(dial: Dial) -> str:
    return await _flood(dial, b",".join(b"%d-%d" % (number, number) for number in range(0, 2_000, 2)))


# If-Range


async def _if_range(dial: Dial, validator: bytes, status: int) -> str:
    await whole(dial)
    answer = await get(dial, b"Range: bytes=0-0", b"If-Range: " + validator)
    if answer.status != status and not (status == 206 and answer.status == 200):
        raise Failed(f"expected {status}, but got {answer.status}")
    return str(answer.status)


async def _etag(dial: Dial) -> bytes:
    etag = (await get(dial)).get(b"etag")
    if etag is None:
        raise Skipped("the page has no ETag")
    return etag


@RANGES.must("h1/9110-13.1.5/same-etag", "If-Range with the page's own ETag", section="13.1.5")
async def _same_etag(dial: Dial) -> str:
    etag = await _etag(dial)
    return await _if_range(dial, etag, 200 if etag.startswith(b"W/") else 206)


@RANGES.must("h1/9110-13.1.5/other-etag", "If-Range with another ETag: the whole page", section="13.1.5")
async def _other_etag(dial: Dial) -> str:
    return await _if_range(dial, b'"judge"', 200)


@RANGES.must("h1/9110-13.1.5/weak-etag", "If-Range with the ETag made weak: the whole page", section="13.1.5")
async def _weak_etag(dial: Dial) -> str:
    return await _if_range(dial, b"W/" + (await _etag(dial)).removeprefix(b"W/"), 200)


@RANGES.must("h1/9110-13.1.5/other-date", "If-Range with another date: the whole page", section="13.1.5")
async def _other_date(dial: Dial) -> str:
    return await _if_range(dial, b"Sun, 06 Nov 1994 08:49:37 GMT", 200)
