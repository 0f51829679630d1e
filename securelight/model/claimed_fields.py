"""Request fields that say who somebody is: only this server may write them, so whatever a client claims in them goes.

Servers behind us read `X-User`, `x-user` and, where they are CGI or its kin, `X_User` as one and the same. And a client
may ask in `Connection` that a field be taken out on the way (RFC 9110, section 7.6.1), which would take away the one
that we have written. So a name is refused in all its spellings, and `Connection` loses it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from securelight.model.headers import Field


def claimed_names(names: Iterable[str]) -> frozenset[bytes]:
    """The field names, in the one spelling in which they are compared."""
    return frozenset(name.lower().replace("_", "-").encode("ascii") for name in names)


def spellings(name: str) -> frozenset[bytes]:
    """Every way to write `name` with hyphens and underscores, for who looks a name up and has no time to compare.

    Of a name with more than 12 of them, which nobody uses, only those with all alike.
    """
    parts = name.lower().replace("_", "-").encode("ascii").split(b"-")
    if len(parts) > 13:
        return frozenset((b"-".join(parts), b"_".join(parts)))
    found = {parts[0]}
    for part in parts[1:]:
        found = {start + between + part for start in found for between in (b"-", b"_")}
    return frozenset(found)


def without_claims(fields: Sequence[Field], names: frozenset[bytes]) -> list[Field]:
    """`fields` without those of `names`, in any spelling, and without their names in `Connection`.

    Args:
        fields: of a request; their names are in lower case.
        names: as `claimed_names` gives them.
    """
    kept: list[Field] = []
    for field in fields:
        name = field[0]
        if name == b"connection":
            options = [option.strip(b" \t") for option in field[1].split(b",")]
            left = [option for option in options if option.lower().replace(b"_", b"-") not in names]
            if len(left) != len(options):
                if left:
                    kept.append((name, b", ".join(left)))
                continue
        elif name in names or (b"_" in name and name.replace(b"_", b"-") in names):
            continue
        kept.append(field)
    return kept
