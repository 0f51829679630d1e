"""The fence around every connection and stream: no exception leaves, our own failures get an id, nobody else notices.

The client sees the id and nothing else; the log has the id and the traceback.
"""

from __future__ import annotations

import secrets
from collections import Counter
from typing import Any

import trio


class Fence:
    """Reports our own failures and counts the peers'.

    Args:
        events: the event log.
    """

    __slots__ = ("counts", "events")

    def __init__(self, events: Any) -> None:
        self.events = events
        self.counts: Counter[str] = Counter()
        """How often each thing went wrong, by a short stable phrase."""

    def report(self, error: BaseException, doing: str, **values: Any) -> str:
        """Log `error` with its traceback while `doing` something; returns the id to show to the client."""
        error_id = secrets.token_hex(6)
        self.counts["internal error"] += 1
        self.events.error("internal error", id=error_id, doing=doing, exc_info=error, **values)
        return error_id

    def count(self, what: str, address: str, **values: Any) -> None:
        """Note that a peer did something wrong: counted by `what`, a short stable phrase, and logged at info."""
        self.counts[what] += 1
        self.events.info(what, peer=address, **values)


def contained(error: BaseException) -> Exception:
    """What to make of `error`, which is no Exception: an application's KeyboardInterrupt ends its request, not us.

    Errors: `error` itself where it is Trio's, or Python's that ends a coroutine; of a group, the part that is.
    """
    ours = (trio.Cancelled, GeneratorExit)
    if isinstance(error, ours):
        raise error
    if isinstance(error, BaseExceptionGroup) and (cancelled := error.split(ours)[0]) is not None:
        raise cancelled
    failure = RuntimeError(f"{type(error).__name__} was raised, which would have ended the worker")
    failure.__cause__ = error
    return failure
