"""When the certificates of a running server expire: told in time, once a day, from 30 days before.

Looks at the files as they are, so what was renewed is no longer spoken of.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from securelight.model.errors import CertificateError
from securelight.tls.client_certificate import end_of
from securelight.tls.key_pair import read_pem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

WARNING_DAYS: Final = 30
INTERVAL_SECONDS: Final = 86_400.0

_FIRST = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


class Expiring(NamedTuple):
    """A certificate that is about to expire."""

    file: Path
    not_after: datetime
    days: int
    """Whole days left; negative if it has expired."""


class ExpiryWatch:
    """Looks at certificate files once a day.

    Args:
        files: PEM, the server's own certificate first.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = tuple(dict.fromkeys(files))
        self._due = 0.0

    def ends(self) -> list[tuple[Path, datetime]]:
        """When each of the certificates ends, as far as they can be read."""
        found = [(file, _not_after(file)) for file in self._files]
        return [(file, not_after) for file, not_after in found if not_after is not None]

    def check(self, now: float) -> list[Expiring]:
        """What is to be told at the time.time() `now`; nothing if that was done less than a day ago. What cannot be
        read is none of our business: whoever loads it says so."""
        if now < self._due:
            return []
        self._due = now + INTERVAL_SECONDS
        found = []
        for file in self._files:
            not_after = _not_after(file)
            if not_after is None:
                continue
            days = int((not_after.timestamp() - now) // INTERVAL_SECONDS)
            if days < WARNING_DAYS:
                found.append(Expiring(file, not_after, days))
        return found


def _not_after(file: Path) -> datetime | None:
    try:
        found = _FIRST.search(read_pem(file))
        return end_of(binascii.a2b_base64(found[1])) if found is not None else None
    except (CertificateError, ValueError):
        return None
