"""Header fields as they travel: an ordered sequence of (lower-case name, value) pairs of bytes.

`Headers` adds the lookup by name that stages and handlers need. Values of repeated fields are joined as RFC 9110,
section 5.3 says (with a comma; Cookie with a semicolon, RFC 9113, section 8.2.3). Validation is not done here but in
protocol/request_head, once, before a Headers exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Field = tuple[bytes, bytes]
Fields = tuple[Field, ...]

CREDENTIALS = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
"""Request fields that say who somebody is, and prove it: nothing that outlives a request may hold one."""


class Headers:
    """The header fields of one message.

    Args:
        fields: the pairs in the order received; names in lower case.

    Attributes:
        get: the value of the field with a name (lower case), all its lines joined; None if it is absent. It is the
            lookup itself, without a call of ours around it.
    """

    __slots__ = ("_index", "fields", "get")

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        self.fields: Fields = tuple(fields)
        index: dict[bytes, bytes] = dict(self.fields)
        if len(index) != len(self.fields):
            index = {}
            for name, value in self.fields:
                if name in index:
                    index[name] += (b"; " if name == b"cookie" else b", ") + value
                else:
                    index[name] = value
        self._index = index
        self.get: Callable[[bytes], bytes | None] = index.get

    def lines(self, name: bytes) -> list[bytes]:
        """Every line of the field `name`, unjoined, in order."""
        return [value for field, value in self.fields if field == name]

    def with_one_cookie(self) -> Fields:
        """All fields, for what is not HTTP/2: Cookie may come in many lines there, and is one elsewhere.

        RFC 9113, section 8.2.3.
        """
        if len(self._index) == len(self.fields) or b"cookie" not in self._index:
            return self.fields
        place = next(number for number, field in enumerate(self.fields) if field[0] == b"cookie")
        fields = [field for field in self.fields if field[0] != b"cookie"]
        fields.insert(place, (b"cookie", self._index[b"cookie"]))
        return tuple(fields)

    def __contains__(self, name: bytes) -> bool:
        return name in self._index

    def isdisjoint(self, names: frozenset[bytes]) -> bool:
        """True if none of `names` is present; one call instead of a lookup each on the hot path."""
        return names.isdisjoint(self._index)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __repr__(self) -> str:
        return f"Headers({list(self.fields)!r})"
