"""What a wrong password costs: each is answered late, the later the more of them came from the address, and is told.

The event is in a form that fail2ban reads (examples/fail2ban): the address comes first, and the user is hostile text.
"""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Final

import trio

from securelight.model.errors import Refusal
from securelight.stages.rules import client_key

if TYPE_CHECKING:
    from securelight.pipeline.compile import EventLog

ADDRESSES: Final = 4_096
"""Whose failures are counted."""
FORGIVEN_SECONDS: Final = 600.0
"""After the last failure of an address, it is forgotten."""
MAXIMUM_FAILURES: Final = 32
"""Of one address until it is forgotten; beyond, nothing that it says is looked at."""
MAXIMUM_DELAY_SECONDS: Final = 8.0


class LoginFailures:
    """Wrong passwords by address: of one route, in one worker.

    Args:
        realm: names in the log what was to be entered.
        delay_seconds: how late the first failure is answered; each further one twice as late.
        events: where they are told.
    """

    __slots__ = ("_counts", "_delay_seconds", "_events", "_realm")

    def __init__(self, realm: str, delay_seconds: float, events: EventLog) -> None:
        self._realm = realm
        self._delay_seconds = delay_seconds
        self._events = events
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def refuse_if_too_many(self, address: str) -> None:
        """An address that has had its share is not listened to.

        Errors: Refusal 429.
        """
        count, last = self._counts.get(client_key(address), (0, 0.0))
        if count >= MAXIMUM_FAILURES and monotonic() - last < FORGIVEN_SECONDS:
            seconds = b"%d" % FORGIVEN_SECONDS
            raise Refusal(429, "Too many wrong passwords.", "failures of the address", ((b"retry-after", seconds),))

    async def punish(self, address: str, user: str) -> None:
        """Count and tell a failure, and return when it may be answered."""
        count = self._count(client_key(address), monotonic())
        self._events.warning("authentication failed", address=address, failures=count, realm=self._realm, user=user)
        await trio.sleep(min(self._delay_seconds * 2.0 ** min(count - 1, 10), MAXIMUM_DELAY_SECONDS))

    def forget(self, address: str) -> None:
        """Somebody there knows a password."""
        self._counts.pop(client_key(address), None)

    def _count(self, key: str, now: float) -> int:
        before, last = self._counts.pop(key, (0, 0.0))
        count = before + 1 if now - last < FORGIVEN_SECONDS else 1
        self._counts[key] = count, now
        if len(self._counts) > ADDRESSES:
            self._counts.popitem(last=False)
        return count
