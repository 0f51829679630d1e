"""Conditional requests and the dates in them (RFC 9110, sections 5.6.7 and 13)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.http1_client import request
from securelight.conformance.http1_questions import exchange, get, sentinel

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.http1_client import Answer

CONDITIONS = Topic(
    "Conditional requests",
    rfc=9110,
    why="Caches that ask whether a page has changed serve the old one for ever, or fetch all of it each time; an edit "
    "that was to be made to one version is made to another.",
    cure="Compare as RFC 9110, section 13.2.2 has it: If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since.",
)
OLD = b"Sun, 06 Nov 1994 08:49:37 GMT"
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def imf(when: datetime) -> bytes:
    """The date as `Sun, 06 Nov 1994 08:49:37 GMT`."""
    return f"{_DAYS[when.weekday()][:3]}, {when:%d} {_MONTHS[when.month - 1]} {when:%Y %H:%M:%S} GMT".encode()


def rfc850(when: datetime) -> bytes:
    """The date as `Sunday, 06-Nov-94 08:49:37 GMT`."""
    return f"{_DAYS[when.weekday()]}, {when:%d}-{_MONTHS[when.month - 1]}-{when:%y %H:%M:%S} GMT".encode()


def asctime(when: datetime) -> bytes:
    """The date as `Sun Nov  6 08:49:37 1994`."""
    return f"{_DAYS[when.weekday()][:3]} {_MONTHS[when.month - 1]} {when.day:2} {when:%H:%M:%S %Y}".encode()


def _page_with(answer: Answer) -> tuple[bytes, datetime]:
    """ETag and Last-Modified."""
    etag, modified = answer.get(b"etag"), answer.get(b"last-modified")
    if answer.status != 200 or etag is None or modified is None:
        raise Skipped("the page has not both ETag and Last-Modified")
    return etag, parsedate_to_datetime(modified.decode("latin-1")).astimezone(UTC)


def _asks(
    lines: Callable[[bytes, datetime], tuple[bytes, ...]], *statuses: int, method: str = "GET", strong: bool = False
) -> Question:
    async def question(dial: Dial) -> str:
        etag, modified = _page_with(await get(dial))
        if strong and etag.startswith(b"W/"):
            raise Skipped("the page has a weak ETag")
        given = lines(etag, modified)
        data = request(dial.target, *given, method=method.encode()) + sentinel(dial.target)
        found = await exchange(dial, data, [method])
        if not found.answers or found.answers[0].status not in statuses:
            raise Failed(f"expected {' or '.join(map(str, statuses))}, but got {found.words()}")
        if found.answers[0].status == 304 and len(found.answers) != 2 and b"close" not in found.answers[0].options:
            raise Failed(f"expected another answer after 304, but got {found.words()}")
        return found.words()

    return question


_DAY = timedelta(days=1)
_FAR = datetime.now(UTC) + 51 * 366 * _DAY
_CASES: dict[str, tuple[str, Question]] = {
    "13.1.2/same-etag": ("If-None-Match with the page's ETag", _asks(lambda e, m: (b"If-None-Match: " + e,), 304)),
    "13.1.2/in-a-list": ("... in a list", _asks(lambda e, m: (b'If-None-Match: "a", ' + e + b', "b"',), 304)),
    "13.1.2/weak": (
        "... made weak: the comparison is weak",
        _asks(lambda e, m: (b"If-None-Match: W/" + e.removeprefix(b"W/"),), 304),
    ),
    "13.1.2/star": ("If-None-Match: *", _asks(lambda e, m: (b"If-None-Match: *",), 304)),
    "13.1.2/other-etag": ("If-None-Match with another ETag", _asks(lambda e, m: (b'If-None-Match: "judge"',), 200)),
    "13.1.2/star-quoted": ('If-None-Match: "*", an ETag', _asks(lambda e, m: (b'If-None-Match: "*"',), 200)),
    "13.1.2/head": ("HEAD with the page's ETag", _asks(lambda e, m: (b"If-None-Match: " + e,), 304, method="HEAD")),
    "13.1.3/over-date": (
        "If-None-Match that does not match, and If-Modified-Since that would: only the first counts",
        _asks(lambda e, m: (b'If-None-Match: "judge"', b"If-Modified-Since: " + imf(m)), 200),
    ),
    "13.1.1/other-etag": ("If-Match with another ETag", _asks(lambda e, m: (b'If-Match: "judge"',), 412)),
    "13.1.1/same-etag": (
        "If-Match with the page's ETag", _asks(lambda e, m: (b"If-Match: " + e,), 200, strong=True),
    ),
    "13.1.1/star": ("If-Match: *", _asks(lambda e, m: (b"If-Match: *",), 200)),
    "13.1.1/weak": (
        "If-Match with the ETag made weak: the comparison is strong",
        _asks(lambda e, m: (b"If-Match: W/" + e.removeprefix(b"W/"),), 412),
    ),
    "13.1.4/over-date": (
        "If-Match that matches, and If-Unmodified-Since that does not: only the first counts",
        _asks(lambda e, m: (b"If-Match: *", b"If-Unmodified-Since: " + OLD), 200),
    ),
    "13.1.4/older": (
        "If-Unmodified-Since with an older date", _asks(lambda e, m: (b"If-Unmodified-Since: " + OLD,), 412),
    ),
    "13.1.4/same": (
        "If-Unmodified-Since with the page's date", _asks(lambda e, m: (b"If-Unmodified-Since: " + imf(m),), 200),
    ),
    "13.1.4/no-date": (
        "If-Unmodified-Since that is no date: ignored", _asks(lambda e, m: (b"If-Unmodified-Since: judge",), 200),
    ),
    "13.1.3/older": ("If-Modified-Since with an older date", _asks(lambda e, m: (b"If-Modified-Since: " + OLD,), 200)),
    "13.1.3/no-date": (
        "If-Modified-Since that is no date: ignored", _asks(lambda e, m: (b"If-Modified-Since: judge",), 200),
    ),
    "13.1.3/impossible-date": (
        "If-Modified-Since with the 31st of February: ignored",
        _asks(lambda e, m: (b"If-Modified-Since: Wed, 31 Feb 2099 25:61:61 GMT",), 200),
    ),
    "13.1.3/two-dates": (
        "If-Modified-Since with two dates: ignored",
        _asks(lambda e, m: (b"If-Modified-Since: " + imf(m) + b", " + imf(m),), 200),
    ),
    "5.6.7/rfc850": (
        "If-Modified-Since as of RFC 850", _asks(lambda e, m: (b"If-Modified-Since: " + rfc850(m),), 304),
    ),
    "5.6.7/asctime": (
        "If-Modified-Since as of asctime()", _asks(lambda e, m: (b"If-Modified-Since: " + asctime(m),), 304),
    ),
    "5.6.7/two-digit-year": (
        "A two-digit year that would be more than 50 years ahead is in the past",
        _asks(lambda e, m: (b"If-Modified-Since: " + rfc850(_FAR),), 200),
    ),
}  # fmt: skip
for _key, (_words, _question) in _CASES.items():
    CONDITIONS.must(f"h1/9110-{_key}", _words, section=_key.split("/")[0])(_question)
# Section 5.3: a recipient MAY combine fields of one name. Who looks at one of them sends the page, which harms nobody.
CONDITIONS.should("h1/9110-13.1.2/in-two-fields", "If-None-Match in two fields, the second with the page's ETag",
                  section="13.1.2")(
    _asks(lambda e, m: (b'If-None-Match: "a"', b"If-None-Match: " + e), 304)
)  # fmt: skip
CONDITIONS.should("h1/9110-13.1.3/same", "If-Modified-Since with the page's date", section="13.1.3")(
    _asks(lambda e, m: (b"If-Modified-Since: " + imf(m),), 304)
)
CONDITIONS.should("h1/9110-13.1.3/newer", "If-Modified-Since with a newer date", section="13.1.3")(
    _asks(lambda e, m: (b"If-Modified-Since: " + imf(min(m + _DAY, datetime.now(UTC))),), 304)
)


@CONDITIONS.must("h1/9110-15.4.5/fields", "304 has the fields that 200 would have", section="15.4.5")
async def _fields(dial: Dial) -> str:
    page = await get(dial)
    etag, _ = _page_with(page)
    found = await get(dial, b"If-None-Match: " + etag)
    names = (b"etag", b"content-location", b"date", b"expires", b"cache-control", b"vary")
    missing = [name.decode() for name in names if page.get(name) is not None and found.get(name) is None]
    if found.status != 304 or missing:
        raise Failed(f"{found.status} without {', '.join(missing) or 'anything missing'}")
    return "it has"


@CONDITIONS.must("h1/9110-15.4.5/length", "304 has no other Content-Length than 200 would have", section="8.6")
async def _length(dial: Dial) -> str:
    page = await get(dial)
    etag, _ = _page_with(page)
    found = await get(dial, b"If-None-Match: " + etag)
    given = found.get(b"content-length")
    if found.status == 304 and given not in (None, b"%d" % len(page.body)):
        raise Failed(f"304 with Content-Length: {given!r} for a page of {len(page.body)} bytes")
    return "right, or none"


@CONDITIONS.must("h1/9110-13.2.1/missing", "If-None-Match: * for a page that is not there", section="13.2.1")
async def _missing_page(dial: Dial) -> str:
    plain = await get(dial, path=b"/judge-finds-nothing-here")
    found = await get(dial, b"If-None-Match: *", path=b"/judge-finds-nothing-here")
    if found.status != plain.status:
        raise Failed(f"expected {plain.status} as without the condition, but got {found.status}")
    return str(found.status)
