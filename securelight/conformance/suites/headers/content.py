"""What a browser may make of a page: sniffing, Content-Security-Policy, framing, referrers, isolation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.page import MISSING, fetch

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.page import Page

SNIFFING = Topic(
    "Content types",
    rfc=0,
    why="Browsers guess where a type is missing, and what was uploaded as a picture runs as a script.",
    cure="Send X-Content-Type-Options: nosniff and a Content-Type, with charset=utf-8 for text.",
)
POLICY = Topic(
    "Content-Security-Policy",
    rfc=0,
    why="It is what stands between one mistake in a page and a script of an attacker that runs in it.",
    cure="Send Content-Security-Policy: default-src 'self'; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'.",
)
ISOLATION = Topic(
    "Referrers, features and other windows",
    rfc=0,
    why="Other sites learn addresses with secrets in them, hold windows of this one, or read what is loaded from it.",
    cure="Send Referrer-Policy: strict-origin-when-cross-origin, Permissions-Policy for what is not used, "
    "Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Resource-Policy: same-origin.",
)
BANNER = Topic(
    "What the server tells about itself",
    rfc=9110,
    why="A version in an answer tells whoever scans the net which known hole to try.",
    cure="Send no version in Server, and drop X-Powered-By and its like.",
)
_CSP_HEADING = "Content Security Policy, level 3"
_LOOSE_REFERRERS = {"unsafe-url", "no-referrer-when-downgrade"}
_BANNERS = ("x-powered-by", "x-aspnet-version", "x-aspnetmvc-version", "x-generator", "x-runtime", "x-version")
_RETIRED = ("public-key-pins", "expect-ct", "feature-policy", "x-webkit-csp", "x-content-security-policy")


async def _document(dial: Dial) -> Page:
    page = await fetch(dial)
    if not page.html:
        raise Skipped("the page is no HTML")
    return page


def _policy(page: Page) -> dict[str, list[str]]:
    """The first policy by directive; the page has one."""
    found: dict[str, list[str]] = {}
    for part in page.all("content-security-policy")[0].split(",")[0].split(";"):
        name, *values = part.split() or [""]
        found.setdefault(name.lower(), [value.lower() for value in values])
    return found


async def _with_policy(dial: Dial) -> dict[str, list[str]]:
    page = await _document(dial)
    if not page.get("content-security-policy"):
        raise Skipped("there is no Content-Security-Policy, which is another case")
    return _policy(page)


def _nosniff(path: str) -> Question:
    async def question(dial: Dial) -> str:
        value = (await fetch(dial, path)).get("x-content-type-options")
        if value.lower() != "nosniff":
            raise Failed(f"X-Content-Type-Options is {value!r}" if value else "there is no X-Content-Type-Options")
        return value

    return question


SNIFFING.should(
    "headers/fetch/nosniff",
    "The page has X-Content-Type-Options: nosniff",
    section="Fetch, 3.6",
    cure="Send X-Content-Type-Options: nosniff.",
)(_nosniff(""))
SNIFFING.should(
    "headers/fetch/nosniff-errors",
    "Answers to requests for what is not there have it too",
    section="Fetch, 3.6",
    cure="Send X-Content-Type-Options: nosniff with every answer.",
)(_nosniff(MISSING))


@SNIFFING.should("headers/9110-8.3/type", "The page has one Content-Type", rfc=9110, section="8.3")
async def content_type(dial: Dial) -> str:
    """A type and a subtype."""
    values = (await fetch(dial)).all("content-type")
    if len(values) != 1 or not re.match(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;|$)", values[0]):
        raise Failed(f"Content-Type is {values}")
    return values[0]


@SNIFFING.should(
    "headers/9110-8.3/charset",
    "HTML names its charset",
    rfc=9110,
    section="8.3.2",
    cure="Send Content-Type: text/html; charset=utf-8.",
)
async def charset(dial: Dial) -> str:
    """Or the browser guesses, and UTF-7 was once a guess."""
    value = (await _document(dial)).get("content-type")
    if "charset=" not in value.lower():
        raise Failed(f"Content-Type is {value!r}")
    return value


@POLICY.should("headers/csp/present", "HTML has it", section=_CSP_HEADING)
async def present(dial: Dial) -> str:
    """Enforced, not only reported."""
    value = (await _document(dial)).get("content-security-policy")
    if not value:
        raise Failed("there is no Content-Security-Policy")
    return value[:200]


@POLICY.should("headers/csp/scripts", "It lets no script run that stands in the page or comes from anywhere",
               section=_CSP_HEADING)  # fmt: skip
async def scripts(dial: Dial) -> str:
    """Unless a nonce or a hash names it."""
    policy = await _with_policy(dial)
    sources = policy.get("script-src", policy.get("default-src"))
    if sources is None:
        raise Failed("it has neither script-src nor default-src: scripts may come from anywhere")
    named = any(source.startswith(("'nonce-", "'sha")) for source in sources)
    wrong = {"'unsafe-eval'", "*", "http:", "https:", "data:"} & set(sources)
    if "'unsafe-inline'" in sources and not named:
        wrong.add("'unsafe-inline'")
    if "'strict-dynamic'" in sources and named:
        wrong -= {"*", "http:", "https:"}
    if wrong:
        raise Failed(f"scripts are allowed by {', '.join(sorted(wrong))}")
    return " ".join(sources) or "none"


@POLICY.should("headers/csp/objects", "It forbids plug-ins and another base", section=_CSP_HEADING)
async def objects(dial: Dial) -> str:
    """object-src, or default-src, and base-uri."""
    policy = await _with_policy(dial)
    if policy.get("object-src", policy.get("default-src")) not in (["'none'"], ["'self'"]):
        raise Failed("object-src is neither 'none' nor 'self'")
    if "base-uri" not in policy:
        raise Failed("there is no base-uri")
    return "both"


@POLICY.should(
    "headers/csp/framing",
    "HTML says who may show it in a frame",
    section=_CSP_HEADING,
    cure="Send frame-ancestors 'none' or 'self' in Content-Security-Policy, or X-Frame-Options: DENY.",
)
async def framing(dial: Dial) -> str:
    """By frame-ancestors or, as was usual before, X-Frame-Options."""
    page = await _document(dial)
    options = page.get("x-frame-options").upper()
    ancestors = _policy(page).get("frame-ancestors") if page.get("content-security-policy") else None
    if ancestors is not None and "*" not in ancestors:
        return f"frame-ancestors {' '.join(ancestors)}"
    if options not in ("DENY", "SAMEORIGIN"):
        raise Failed("any site may show it in a frame: there is neither frame-ancestors nor X-Frame-Options")
    return f"X-Frame-Options: {options}"


@ISOLATION.should(
    "headers/referrer/policy",
    "HTML has a Referrer-Policy that keeps paths",
    section="Referrer Policy",
    cure="Send Referrer-Policy: strict-origin-when-cross-origin, or no-referrer.",
)
async def referrer(dial: Dial) -> str:
    """The last one that is known counts."""
    value = (await _document(dial)).get("referrer-policy").lower()
    if not value:
        raise Failed("there is no Referrer-Policy")
    if value.split(",")[-1].strip() in _LOOSE_REFERRERS:
        raise Failed(f"it is {value}: other sites get the whole address")
    return value


@ISOLATION.should(
    "headers/permissions/policy",
    "HTML has a Permissions-Policy",
    section="Permissions Policy",
    cure="Send Permissions-Policy: camera=(), microphone=(), geolocation=().",
)
async def permissions(dial: Dial) -> str:
    """Camera, microphone and place are for nobody who does not need them."""
    value = (await _document(dial)).get("permissions-policy")
    if not value:
        raise Failed("there is no Permissions-Policy")
    return value[:100]


@ISOLATION.should(
    "headers/isolation/opener",
    "HTML has Cross-Origin-Opener-Policy",
    section="HTML, 7.1.3",
    cure="Send Cross-Origin-Opener-Policy: same-origin.",
)
async def opener(dial: Dial) -> str:
    """So that no other site holds its window."""
    value = (await _document(dial)).get("cross-origin-opener-policy")
    if not value.startswith(("same-origin", "noopener-allow-popups")):
        raise Failed(f"Cross-Origin-Opener-Policy is {value!r}" if value else "there is no Cross-Origin-Opener-Policy")
    return value


@ISOLATION.should(
    "headers/isolation/resource",
    "The page has Cross-Origin-Resource-Policy",
    section="Fetch, 3.7",
    cure="Send Cross-Origin-Resource-Policy: same-origin.",
)
async def resource(dial: Dial) -> str:
    """So that no other site loads it, unless it is meant to."""
    value = (await fetch(dial)).get("cross-origin-resource-policy")
    if value not in ("same-origin", "same-site", "cross-origin"):
        raise Failed(f"it is {value!r}" if value else "there is no Cross-Origin-Resource-Policy")
    return value


@ISOLATION.should(
    "headers/isolation/retired",
    "No field is sent that is retired",
    section="OWASP Secure Headers",
    cure="Drop the field.",
)
async def retired(dial: Dial) -> str:
    """Key pinning could lock a site out; the filter of X-XSS-Protection made holes of its own."""
    page = await fetch(dial)
    found = [name for name in _RETIRED if page.get(name)]
    if page.get("x-xss-protection").strip() not in ("", "0"):
        found.append("x-xss-protection")
    if found:
        raise Failed(f"it has {', '.join(found)}")
    return "none"


@BANNER.should("headers/9110-10.2.4/server", "Server has no version", section="10.2.4")
async def server(dial: Dial) -> str:
    """On the page, and where there is none."""
    for path in ("", MISSING):
        value = (await fetch(dial, path)).get("server")
        if re.search(r"/\s*v?\d|\d+\.\d+", value):
            raise Failed(f"Server is {value!r}")
    return value or "no Server"


@BANNER.should("headers/9110-10.2.4/powered-by", "No field tells what the site is made with", section="10.2.4")
async def powered_by(dial: Dial) -> str:
    """X-Powered-By and its like."""
    page = await fetch(dial)
    found = [f"{name}: {page.get(name)}" for name in _BANNERS if page.get(name)]
    if found:
        raise Failed(", ".join(found))
    return "none"
