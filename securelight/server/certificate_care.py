"""What the supervisor does about certificates while it serves: takes over new ones, and tells of old ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from securelight.model.errors import SecurelightError
from securelight.server.generation import kill

if TYPE_CHECKING:
    from securelight.server.generation import Generation
    from securelight.tls.reload import ChangedPair


def look_after_certificates(current: Generation, events: Any) -> bool:
    """Look at the certificate files of `current` and act on what has changed.

    Returns: True if what client certificates are judged by has, so that its TLS contexts no longer hold.
    """
    changes = current.watcher.check()
    for pair in changes.pairs:
        _take_over(current, pair, events)
    for fault in changes.faults:
        events.error("certificate not taken over, the old one stays", why=str(fault))
    for ending in current.watcher.expiry.check(time.time()):
        what = "certificate has expired" if ending.days < 0 else "certificate expires soon"
        events.warning(what, file=str(ending.file), on=f"{ending.not_after:%Y-%m-%d}", days=ending.days)
    trust = current.watcher.trust.check(time.time())
    for fault in trust.faults:
        events.error("client certificates", why=str(fault))
    return trust.outdated


def _take_over(current: Generation, pair: ChangedPair, events: Any) -> None:
    try:
        missed = current.take_over(pair)
    except SecurelightError as error:
        events.error("certificate not taken over, the old one stays", why=str(error))
        return
    events.info("certificate taken over", file=str(pair.files[0]))
    for one in missed:  # its successor has the new certificate
        kill(one)
        events.error("worker killed", worker=one.number, why="it does not read its messages")
