"""What went over the wire in one case, kept for the report: in words and in bytes, both bounded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

MAXIMUM_ENTRIES = 400
"""The first half and the last half of these are kept: how it began and how it ended."""
MAXIMUM_BYTES = 512
"""Of each entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was sent, received or noticed.

    Attributes:
        connection: the number of the connection within the case, from 1.
        direction: `>` for sent, `<` for received, `-` for what only happened.
        words: such as `HEADERS stream 1 END_STREAM`.
        data: the first MAXIMUM_BYTES of it.
        length: how many bytes it was.
    """

    connection: int
    direction: str
    words: str
    data: bytes
    length: int

    def line(self) -> str:
        """The entry as text, the bytes in hexadecimal."""
        text = f"{self.connection} {self.direction} {self.words}"
        if self.data:
            more = f" ... {self.length} bytes" if self.length > len(self.data) else ""
            text += f"\n      {self.data.hex(' ')}{more}"
        return text


@dataclass(slots=True)
class Transcript:
    """The entries of one case, in order."""

    _first: list[Entry] = field(default_factory=list)
    _last: list[Entry] = field(default_factory=list)
    _left_out: int = 0

    def add(self, connection: int, direction: str, words: str, data: bytes = b"") -> None:
        """Keep one more entry. More of what was too long to keep already joins it: pages are long."""
        entry = Entry(connection, direction, words, bytes(data[:MAXIMUM_BYTES]), len(data))
        kept = self._last or self._first
        if kept and _goes_on(kept[-1], entry):
            length = kept[-1].length + entry.length
            kept[-1] = replace(kept[-1], words=f"{length} bytes", length=length)
            return
        if len(self._first) < MAXIMUM_ENTRIES // 2:
            self._first.append(entry)
            return
        self._last.append(entry)
        if len(self._last) > MAXIMUM_ENTRIES // 2:
            del self._last[0]
            self._left_out += 1

    def entries(self) -> list[Entry]:
        """All that was kept, with a word about what was not."""
        if not self._left_out:
            return self._first + self._last
        gap = Entry(0, "-", f"{self._left_out} entries left out", b"", 0)
        return [*self._first, gap, *self._last]


def _goes_on(before: Entry, entry: Entry) -> bool:
    """Whether both are bytes without a word of their own, of one connection and direction, and the first is cut."""
    return (
        before.length > len(before.data)
        and (before.connection, before.direction) == (entry.connection, entry.direction)
        and before.words == f"{before.length} bytes"
        and entry.words == f"{entry.length} bytes"
    )
