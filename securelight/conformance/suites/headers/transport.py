"""Strict-Transport-Security (RFC 6797)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.page import MISSING, fetch

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

HSTS = Topic(
    "Strict-Transport-Security",
    rfc=6797,
    why="Without it, the first request of each visit may go out unencrypted, and an attacker keeps it so.",
    cure="Send Strict-Transport-Security: max-age=63072000 with every answer over TLS.",
)
HALF_A_YEAR_SECONDS = 182 * 24 * 3600
_DIRECTIVE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*=[ \t]*(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|\"[^\"]*\"))?")


def _directives(value: str) -> dict[str, str]:
    """By name in lower case; Failed for what breaks the format."""
    found: dict[str, str] = {}
    for part in (one.strip(" \t") for one in value.split(";")):
        if not part:
            continue
        name, _, text = part.partition("=")
        name = name.strip(" \t").lower()
        if not _DIRECTIVE.fullmatch(part) or name in found:
            raise Failed(f"{part!r} is malformed, or there twice: clients ignore the whole field")
        found[name] = text.strip(' \t"')
    if not re.fullmatch(r"[0-9]+", found.get("max-age", "")):
        raise Failed(f"{value!r} has no max-age of digits: clients ignore the whole field")
    return found


async def _value(dial: Dial, path: str = "") -> str:
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    values = (await fetch(dial, path)).all("strict-transport-security")
    if not values:
        raise Skipped("there is none, which is another case")
    return values[0]


def _is_of_one_machine(target: Target) -> bool:
    """An address, for which it does not count (section 8.1.1), or localhost, which is another machine everywhere."""
    return target.is_address or target.host == "localhost" or target.host.endswith(".localhost")


@HSTS.should("headers/6797-7.1/present", "The page has it", section="7.1")
async def present(dial: Dial) -> str:
    """With a time that is not zero."""
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    value = (await fetch(dial)).get("strict-transport-security")
    if not value and _is_of_one_machine(dial.target):
        raise Skipped("there is none, and there should be none: it would count for every port of this machine")
    if not value:
        raise Failed("there is no Strict-Transport-Security")
    if re.search(r"(?i)max-age=\"?0+\"?(?:[;,]|$)", value):
        raise Failed("max-age=0 takes it back")
    return value


@HSTS.must("headers/6797-6.1/form", "Its value can be read", section="6.1")
async def form(dial: Dial) -> str:
    """max-age once, with digits."""
    return ", ".join(_directives(await _value(dial)))


@HSTS.must("headers/6797-7.1/once", "It is there once", section="7.1")
async def once(dial: Dial) -> str:
    """Clients look at the first one only."""
    await _value(dial)
    count = len((await fetch(dial)).all("strict-transport-security"))
    if count > 1:
        raise Failed(f"it is there {count} times")
    return "once"


@HSTS.should("headers/6797-7.1/long", "It counts for half a year", section="11.2")
async def long(dial: Dial) -> str:
    """Shorter ones end between two visits."""
    seconds = int(_directives(await _value(dial))["max-age"])
    if 0 < seconds < HALF_A_YEAR_SECONDS:
        raise Failed(f"it counts for {seconds} s only")
    return f"{seconds} s"


@HSTS.should("headers/6797-7.1/errors", "Answers to requests for what is not there have it too", section="7.1")
async def errors(dial: Dial) -> str:
    """Any answer may be the first one."""
    await _value(dial)
    page = await fetch(dial, MISSING)
    if not page.get("strict-transport-security"):
        raise Failed(f"the answer with {page.status} has none")
    return f"with {page.status} too"
