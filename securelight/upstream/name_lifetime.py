"""For how long the answer to a name counts: what DNS says of it (TTL, RFC 1035, section 3.2.1), with dnspython.

The addresses themselves come from the system's resolver, which knows /etc/hosts and more than DNS, but tells no
lifetimes. So this asks DNS beside it, and whatever goes wrong here only means that nothing is known of the lifetime.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

ASK_SECONDS = 1.0
"""For A and for AAAA each. A name server that takes longer is not waited for: somebody's request is waiting."""


def load() -> ModuleType | None:
    """dnspython's resolver; None where it is not installed. Imports it, so call it before the files are closed."""
    try:
        return importlib.import_module("dns.asyncresolver")
    except ImportError:
        return None


async def lifetime_seconds(name: str, resolver: Any = None) -> float | None:
    """How long the addresses of `name` may be kept; None if DNS does not say.

    Args:
        resolver: dnspython's, of the system unless given.
    """
    asynchronous = load()
    if asynchronous is None or name == "localhost" or name.endswith(".localhost"):
        return None
    try:
        # Made anew each time, because /etc/resolv.conf changes when a machine moves.
        asked = asynchronous.Resolver() if resolver is None else resolver
        lifetimes = []
        for kind in ("A", "AAAA"):
            answer = await asked.resolve(name, kind, search=True, lifetime=ASK_SECONDS, raise_on_no_answer=False)
            lifetimes += [part.ttl for part in answer.response.answer]
    except Exception:  # of a library that reads what others send; without a lifetime all goes on as before
        return None
    return float(min(lifetimes)) if lifetimes else None
