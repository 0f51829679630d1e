"""What the server sends: status lines, fields, dates (RFC 9110, sections 5.6.7, 6.6, 8; RFC 9112, sections 4 and 6)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.http1_client import request
from securelight.conformance.http1_questions import exchange, get

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.conformance.dial import Dial
    from securelight.conformance.http1_client import Answer

RESPONSES = Topic(
    "Responses",
    rfc=9110,
    why="Caches count ages from dates, and clients find the end of a response by its fields.",
    cure="Send a Date with every response, in the one format, and one length at most.",
)
_DATE = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
    rb"[0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT"
)
MOST_OFF = timedelta(days=1)


async def _several(dial: Dial) -> Sequence[tuple[str, Answer]]:
    """Answers of several kinds, with words for them."""
    found = [
        ("the page", await get(dial)),
        ("HEAD", await get(dial, method="HEAD")),
        ("a page that is not there", await get(dial, path=b"/judge-finds-nothing-here")),
        ("POST", await get(dial, b"Content-Length: 0", method="POST")),
    ]
    refused = await exchange(dial, request(dial.target, b"Connection: close", host=False))
    return found + [("a request without Host", answer) for answer in refused.answers[:1]]


def parsed(value: bytes) -> datetime:
    """A date of HTTP in the one format that may be sent. Errors: Failed."""
    if not _DATE.fullmatch(value):
        raise Failed(f"a date that is not of the form Sun, 06 Nov 1994 08:49:37 GMT: {value!r}")
    when = parsedate_to_datetime(value.decode("ascii")).replace(tzinfo=UTC)
    if f"{when:%w}" != str((b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat").index(value[:3])):
        raise Failed(f"a date on the wrong day of the week: {value!r}")
    return when


@RESPONSES.must("h1/9110-6.6.1/date", "Responses have a Date", section="6.6.1")
async def _date(dial: Dial) -> str:
    several = await _several(dial)
    missing = [words for words, answer in several if answer.status < 500 and answer.get(b"date") is None]
    if missing:
        raise Failed(f"none with the answer to {', '.join(missing)}")
    return f"{len(several)} responses, each with one"


@RESPONSES.must("h1/9110-5.6.7/date-format", "Dates are sent in the one format", section="5.6.7")
async def _date_format(dial: Dial) -> str:
    count = 0
    for _, answer in await _several(dial):
        for name in (b"date", b"last-modified"):
            if (value := answer.get(name)) is not None:
                parsed(value)
                count += 1
    if not count:
        raise Skipped("no response has a date")
    return f"{count} dates"


@RESPONSES.should("h1/9110-6.6.1/date-is-now", "Date is now", section="6.6.1")
async def _date_is_now(dial: Dial) -> str:
    value = (await get(dial)).get(b"date")
    if value is None:
        raise Skipped("no Date")
    if abs(parsed(value) - datetime.now(UTC)) > MOST_OFF:
        raise Failed(f"{value.decode()}, but here it is {datetime.now(UTC):%d %b %Y %H:%M}")
    return value.decode()


@RESPONSES.must("h1/9110-8.8.2.1/last-modified", "Last-Modified is not later than Date", section="8.8.2.1")
async def _last_modified(dial: Dial) -> str:
    answer = await get(dial)
    now, modified = answer.get(b"date"), answer.get(b"last-modified")
    if now is None or modified is None:
        raise Skipped("no Last-Modified, or no Date")
    if parsed(modified) > parsed(now):
        raise Failed(f"Last-Modified: {modified.decode()} is later than Date: {now.decode()}")
    return modified.decode()


@RESPONSES.must("h1/9110-8.8.3/etag", "ETag is a quoted string of the right characters", section="8.8.3")
async def _etag(dial: Dial) -> str:
    value = (await get(dial)).get(b"etag")
    if value is None:
        raise Skipped("no ETag")
    if not re.fullmatch(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"', value):
        raise Failed(f"ETag: {value!r}")
    return value.decode("latin-1")


@RESPONSES.should("h1/9110-8.3/content-type", "Content has a Content-Type", section="8.3")
async def _content_type(dial: Dial) -> str:
    missing = [w for w, answer in await _several(dial) if answer.body and answer.get(b"content-type") is None]
    if missing:
        raise Failed(f"none with the answer to {', '.join(missing)}")
    return "it has"


@RESPONSES.must("h1/9112-6.2/no-length", "204 and 304 without a body, all others with a length or chunked", rfc=9112,
                section="6.3")  # fmt: skip
async def _lengths(dial: Dial) -> str:
    for words, answer in await _several(dial):
        if answer.status == 204 and answer.get(b"content-length") is not None:
            raise Failed("204 with Content-Length")
        if answer.framing == "close" and b"close" not in answer.options:
            raise Failed(f"the answer to {words} has neither a length nor Connection: close")
    return "they have"


@RESPONSES.must("h1/9112-6.1/one-length", "No response has two lengths", rfc=9112, section="6.1")
async def _one_length(dial: Dial) -> str:
    for words, answer in await _several(dial):
        values = [value for name, value in answer.fields if name == b"content-length"]
        if len(values) > 1:
            raise Failed(f"the answer to {words} has Content-Length {len(values)} times")
    return "none has"


@RESPONSES.must("h1/9110-5.5/no-injection", "An encoded CR LF in the target does not become a field", section="5.5")
async def _no_injection(dial: Dial) -> str:
    for path in (b"/judge%0d%0aX-Injected:%20yes", b"/judge/..%0d%0aX-Injected:%20yes/", b"/%0d%0aX-Injected:%20yes"):
        answer = await get(dial, path=path)
        if answer.get(b"x-injected") is not None:
            raise Failed(f"{answer.status} with X-Injected, for {path!r}")
    return "it does not"
