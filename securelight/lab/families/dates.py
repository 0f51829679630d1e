"""Certificates outside of their time, or with times that make no sense."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from securelight.lab.case import Case, Verdict
from securelight.lab.families.build import chain
from securelight.pki.forge import GENERALIZED_TIME, der, der_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.lab.endpoints import Https
    from securelight.lab.world import World

ACCEPT, REFUSE, EITHER = Verdict.ACCEPT, Verdict.REFUSE, Verdict.EITHER
VALIDITY = "RFC 5280, section 4.1.2.5"
LIFETIME = "CA/Browser Forum BR, section 6.3.2"
DAY = timedelta(days=1)


def _from_to(begin: timedelta, end: timedelta) -> Callable[[World, str], Https]:
    return chain(lambda world, host: world.leaf(host, not_before=world.now + begin, not_after=world.now + end))


def _dates(**changes: Any) -> Callable[[World, str], Https]:
    return chain(lambda world, host: world.leaf(host, **changes))


CASES: Final = (
    Case("dates/expired", "expired yesterday", REFUSE, VALIDITY, _from_to(-31 * DAY, -DAY)),
    Case("dates/just-expired", "expired a minute before it was made", REFUSE, VALIDITY,
         _from_to(-31 * DAY, -timedelta(minutes=1))),
    Case("dates/expired-long-ago", "expired in 1999", REFUSE, VALIDITY,
         _dates(not_before=datetime(1998, 1, 1, tzinfo=UTC), not_after=datetime(1999, 1, 1, tzinfo=UTC))),
    Case("dates/not-yet-valid", "begins in a year", REFUSE, VALIDITY, _from_to(365 * DAY, 395 * DAY)),
    Case("dates/begins-tomorrow", "begins tomorrow", REFUSE, VALIDITY, _from_to(DAY, 31 * DAY),
         advice="A client with a grace period for wrong clocks shows here that it is too long."),
    Case("dates/reversed", "ends before it begins", REFUSE, VALIDITY, _from_to(20 * DAY, -10 * DAY)),
    Case("dates/too-long", "valid for ten years", EITHER, LIFETIME, _from_to(-DAY, 3650 * DAY),
         advice="Browsers hold this against public authorities alone; Apple's against private ones too."),
    Case("dates/over-398-days", "valid for 500 days", EITHER, LIFETIME, _from_to(-DAY, 499 * DAY)),
    Case("dates/no-expiry", "ends on 9999-12-31, which stands for no end", EITHER, "RFC 5280, section 4.1.2.5",
         _dates(not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))),
    Case("dates/wrong-encoding", "a GeneralizedTime before 2050", EITHER, "RFC 5280, section 4.1.2.5",
         chain(lambda world, host: world.leaf(host, validity=(
             der_time(world.now - DAY, generalized=True) + der_time(world.now + 30 * DAY, generalized=True))))),
    Case("dates/not-a-date", "the 32nd of the 13th month", REFUSE, "RFC 5280, section 4.1.2.5",
         chain(lambda world, host: world.leaf(host, validity=(
             der_time(world.now - DAY) + der(GENERALIZED_TIME, b"20991332000000Z"))))),
    Case("dates/expired-intermediate", "the intermediate expired yesterday", REFUSE, "RFC 5280, section 6.1.3",
         chain(lambda world, host: world.leaf(host, issuer=world.authority(
             "expired intermediate", world.root, path_length=0, not_before=world.now - 60 * DAY,
             not_after=world.now - DAY)))),
    Case("dates/future-intermediate", "the intermediate begins in a year", REFUSE, "RFC 5280, section 6.1.3",
         chain(lambda world, host: world.leaf(host, issuer=world.authority(
             "future intermediate", world.root, path_length=0, not_before=world.now + 365 * DAY,
             not_after=world.now + 400 * DAY)))),
    Case("dates/leaf-outlives-intermediate", "the leaf is valid for longer than the intermediate", ACCEPT,
         "RFC 5280, section 6.1", chain(lambda world, host: world.leaf(host, issuer=world.authority(
             "short intermediate", world.root, path_length=0, not_after=world.now + 5 * DAY)))),
)  # fmt: skip
