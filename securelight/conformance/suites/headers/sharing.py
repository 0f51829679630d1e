"""What other sites and caches get: cookies, CORS, caching, redirects."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.page import fetch

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial

COOKIES = Topic(
    "Cookies",
    rfc=0,
    why="A cookie without these attributes is sent in the clear, read by scripts, or sent along by other sites.",
    cure="Set cookies with Secure, HttpOnly and SameSite=Lax, and call them __Host-something.",
)
CORS = Topic(
    "Cross-origin sharing",
    rfc=0,
    why="Any site that a visitor opens can read here what is only theirs to read.",
    cure="Name the origins that may read in a list, and never echo Origin; no credentials for everybody.",
)
CACHING = Topic(
    "Caching",
    rfc=9111,
    why="A cache that keeps what was made for one visitor shows it to the next.",
    cure="Send Cache-Control with every page; private or no-store where there is a cookie.",
)
REDIRECTS = Topic(
    "Redirects",
    rfc=9110,
    why="A link to this site that leads to another one is what every phishing mail is looking for.",
    cure="Build Location from what you know, not from the path or Host of the request.",
)
_COOKIES_HEADING = "RFC 6265bis, 4.1.2"
STRANGER = "https://stranger.example"


async def _cookies(dial: Dial) -> list[tuple[str, dict[str, str]]]:
    """(name, attributes in lower case) of each."""
    found = []
    for value in (await fetch(dial)).all("set-cookie"):
        pair, *attributes = value.split(";")
        parts = (one.partition("=") for one in attributes)
        found.append((pair.partition("=")[0].strip(), {name.strip().lower(): text.strip() for name, _, text in parts}))
    if not found:
        raise Skipped("the page sets no cookie")
    return found


def _attribute(name: str) -> Question:
    async def question(dial: Dial) -> str:
        cookies = await _cookies(dial)
        without = [cookie for cookie, attributes in cookies if name not in attributes]
        if without:
            raise Failed(f"cookies without it: {', '.join(without)}")
        return f"{len(cookies)} cookies"

    return question


COOKIES.should("headers/6265bis/secure", "Cookies have Secure", section=_COOKIES_HEADING)(_attribute("secure"))
COOKIES.should("headers/6265bis/http-only", "Cookies have HttpOnly", section=_COOKIES_HEADING)(_attribute("httponly"))
COOKIES.should("headers/6265bis/same-site", "Cookies have SameSite", section=_COOKIES_HEADING)(_attribute("samesite"))


@COOKIES.must(
    "headers/6265bis/prefixes", "Cookies keep what the prefix of their name says", section="RFC 6265bis, 4.1.3"
)
async def prefixes(dial: Dial) -> str:
    """__Secure- and __Host-; browsers drop those that do not."""
    for name, attributes in await _cookies(dial):
        lower = name.lower()
        host = lower.startswith("__host-")
        if (host or lower.startswith("__secure-")) and "secure" not in attributes:
            raise Failed(f"{name} has no Secure")
        if host and ("domain" in attributes or attributes.get("path") != "/"):
            raise Failed(f"{name} has a Domain, or another Path than /")
    return "they do"


@COOKIES.must("headers/6265bis/none-secure", "SameSite=None comes with Secure", section="RFC 6265bis, 5.6")
async def none_secure(dial: Dial) -> str:
    """Browsers drop it otherwise."""
    for name, attributes in await _cookies(dial):
        if attributes.get("samesite", "").lower() == "none" and "secure" not in attributes:
            raise Failed(f"{name} has no Secure")
    return "it does"


# CORS


def _stranger(origin: str, method: str = "GET") -> Question:
    async def question(dial: Dial) -> str:
        fields = [("Origin", origin)]
        if method == "OPTIONS":
            fields += [("Access-Control-Request-Method", "DELETE"), ("Access-Control-Request-Headers", "authorization")]
        page = await fetch(dial, "", *fields, method=method)
        allowed = page.get("access-control-allow-origin")
        credentials = page.get("access-control-allow-credentials").lower() == "true"
        if allowed == origin:
            raise Failed(f"Origin is echoed{', and credentials are allowed' if credentials else ''}")
        if allowed == "*" and credentials:
            raise Failed("everybody is allowed, with credentials")
        return f"Access-Control-Allow-Origin: {allowed}" if allowed else "not allowed"

    return question


CORS.should("headers/cors/stranger", "A page of another site asks", section="Fetch, 3.3")(_stranger(STRANGER))
CORS.should("headers/cors/null", "A page without an origin asks", section="Fetch, 3.3")(_stranger("null"))
CORS.should("headers/cors/preflight", "A page of another site asks whether it may delete", section="Fetch, 3.3")(
    _stranger(STRANGER, "OPTIONS")
)


@CORS.should("headers/cors/lookalike", "A site whose name begins or ends like this one asks", section="Fetch, 3.3")
async def lookalike(dial: Dial) -> str:
    """Patterns without anchors let them in."""
    host = dial.target.host
    for origin in (f"https://{host}.stranger.example", f"https://stranger{host}"):
        await _stranger(origin)(dial)
    return "not allowed"


# Caching


@CACHING.must(
    "headers/9110-6.6.1/date",
    "The page has a Date that can be read",
    rfc=9110,
    section="6.6.1",
    cure="Send Date, made from a clock that is right.",
)
async def date(dial: Dial) -> str:
    """In the form of RFC 9110."""
    values = (await fetch(dial)).all("date")
    form = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"
    if len(values) != 1 or not re.fullmatch(form, values[0]):
        raise Failed(f"Date is {values}")
    return values[0]


@CACHING.must(
    "headers/9110-8.8.2/last-modified",
    "Last-Modified is not later than Date",
    rfc=9110,
    section="8.8.2.1",
    cure="Send no Last-Modified that is later than Date.",
)
async def last_modified(dial: Dial) -> str:
    """A time of the future makes caches wrong."""
    page = await fetch(dial)
    if not page.get("last-modified") or not page.get("date"):
        raise Skipped("the page has no Last-Modified, or no Date")
    try:
        late = parsedate_to_datetime(page.get("last-modified")) > parsedate_to_datetime(page.get("date"))
    except (ValueError, TypeError):
        raise Failed(f"Last-Modified {page.get('last-modified')!r} cannot be read") from None
    if late:
        raise Failed(f"it is {page.get('last-modified')}")
    return page.get("last-modified")


@CACHING.should("headers/9111-5.2/explicit", "The page says how long it may be kept, or how to ask again",
                section="5.2")  # fmt: skip
async def explicit(dial: Dial) -> str:
    """By Cache-Control, Expires, ETag or Last-Modified; otherwise caches guess."""
    page = await fetch(dial)
    found = [name for name in ("cache-control", "expires", "etag", "last-modified") if page.get(name)]
    if not found:
        raise Failed("there is no Cache-Control, Expires, ETag or Last-Modified")
    return ", ".join(found)


@CACHING.should("headers/9111-7.3/cookies", "Shared caches do not keep a page that sets cookies", section="7.3")
async def cookies_uncached(dial: Dial) -> str:
    """Or the next visitor gets this one's."""
    page = await fetch(dial)
    if not page.get("set-cookie"):
        raise Skipped("the page sets no cookie")
    value = page.get("cache-control").lower()
    if not any(word in value for word in ("private", "no-store", "no-cache")):
        raise Failed(f"Cache-Control is {value!r}" if value else "there is no Cache-Control")
    return value


@CACHING.should("headers/9110-12.5.5/vary", "Answers that depend on Origin say so in Vary", rfc=9110, section="12.5.5")
async def vary(dial: Dial) -> str:
    """Or caches give one site's permission to another."""
    page = await fetch(dial, "", ("Origin", f"https://{dial.target.authority}"))
    allowed = page.get("access-control-allow-origin")
    if allowed in ("", "*"):
        raise Skipped("no answer depends on it")
    if not {"origin", "*"} & {one.strip().lower() for one in page.get("vary").split(",")}:
        raise Failed(f"Vary is {page.get('vary')!r}")
    return page.get("vary")


# Redirects


def _not_away(path: str) -> Question:
    async def question(dial: Dial) -> str:
        page = await fetch(dial, path)
        for place in page.all("location") + page.all("refresh"):
            if re.match(r"(?i)\s*(?:https?:)?[/\\]{2,}[^/\\]*stranger\.example", place):
                raise Failed(f"{path} is redirected to {place}")
        if page.get("injected"):
            raise Failed("a field was made of a part of the path")
        return f"answered with {page.status}"

    return question


for _name, _title, _path in (
    ("slashes", "A path that begins with two slashes", "//stranger.example/.."),
    ("backslash", "A path with a backslash", "/%5cstranger.example/%2e%2e"),
    ("dots", "A path of another host and dots", "//stranger.example/%2e%2e/%2f.."),
    ("line-break", "A path with an encoded line break", "/x%0d%0aInjected:%20yes"),
):
    REDIRECTS.must(f"headers/redirects/{_name}", _title, section="10.2.2")(_not_away(_path))


@REDIRECTS.should("headers/redirects/host", "A Host of somebody else is not where redirects lead", section="10.2.2")
async def host(dial: Dial) -> str:
    """Caches would keep that for everybody."""
    page = await fetch(dial, "", authority="stranger.example")
    if page.status in (301, 308) and "//stranger.example" in page.get("location"):
        raise Failed(f"redirected to {page.get('location')}")
    return f"answered with {page.status}"


@REDIRECTS.must("headers/redirects/no-downgrade", "The page is not redirected out of TLS", section="4.2.2")
async def no_downgrade(dial: Dial) -> str:
    """To http: of any host."""
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    page = await fetch(dial)
    if page.get("location").lower().startswith("http:"):
        raise Failed(f"redirected to {page.get('location')}")
    return f"answered with {page.status}"
