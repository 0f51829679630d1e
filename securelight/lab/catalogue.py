"""All cases, and their search by id."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from securelight.lab.families import chains, clients, dates, good, handshakes, http, names, signatures, versions
from securelight.model.errors import SecurelightError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.lab.case import Case

FAMILIES: Final = {
    "good": ("Good ones", good.CASES),
    "dates": ("Dates", dates.CASES),
    "names": ("Names", names.CASES),
    "chains": ("Chains", chains.CASES),
    "signatures": ("Signatures and keys", signatures.CASES),
    "versions": ("Versions, ciphers, key exchange", versions.CASES),
    "handshakes": ("Handshakes and closing", handshakes.CASES),
    "clients": ("Client certificates", clients.CASES),
    "http": ("HTTP over TLS", http.CASES),
}
"""Each family's title and cases, in the order of the list."""

CASES: Final[tuple[Case, ...]] = tuple(case for _, cases in FAMILIES.values() for case in cases)
OFFERED: Final = tuple(case for case in CASES if not case.not_offered)


class UnknownCaseError(SecurelightError):
    """There is no case of that name."""


def chosen(wanted: Sequence[str]) -> tuple[Case, ...]:
    """The cases with these ids, or of these families; all of them if none is named. Those not offered too.

    Errors: UnknownCaseError.
    """
    if not wanted:
        return CASES
    known = {case.id for case in CASES} | set(FAMILIES)
    for one in wanted:
        if one not in known:
            close = difflib.get_close_matches(one[:80], known, n=1)
            meant = f" Did you mean {close[0]}?" if close else " `securelight lab list` shows all."
            raise UnknownCaseError(f"There is no case or family {one!r}.{meant}")
    return tuple(case for case in CASES if case.id in wanted or case.family in wanted)
