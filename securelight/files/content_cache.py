"""What one worker remembers of the files that it serves, bounded in bytes and in descriptors.

Owns the bounds and who has to go; what an entry holds, and how it is looked up anew, is the handler's. Each route has
its own view, a plain dict from request path to entry, so that a hit costs one dict lookup and no call into here. There
are no negative entries: what is not there costs a look each time, and cannot fill the memory.

Eviction is by second chance (the CLOCK algorithm): a hit sets `used`, and an entry that is found used when room is
needed goes to the back once instead. A new entry has not been hit: reading through a whole site once pushes out only
what nobody asks for. Entries with descriptors stand in a line of their own, because another bound
pushes them out.

Not thread-safe: everything here runs in the worker's event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securelight.model.body import OpenFile
    from securelight.model.limits import Limits

ENTRY_OVERHEAD_BYTES = 2_048
"""What an entry is counted for beyond its contents and representations: its objects, key and places in the tables."""

REVALIDATE_SECONDS = 1.0
"""How long an entry is believed before the file system is asked again."""

_SECOND_CHANCES = 64
"""How many used entries are passed over for one eviction, so that making room takes bounded time."""


class CacheEntry:
    """What a request path led to.

    Args:
        held_bytes: what it holds in memory, besides itself.
        files: the open files that it holds, one hold of each; given back by `release`.
        fresh_until: the time.monotonic until which it is believed.
    """

    __slots__ = ("_key", "_view", "cost_bytes", "files", "fresh_until", "used")

    def __init__(self, held_bytes: int, files: tuple[OpenFile, ...], fresh_until: float) -> None:
        self.cost_bytes = held_bytes + ENTRY_OVERHEAD_BYTES
        self.files = files
        self.fresh_until = fresh_until
        self.used = False
        self._view: dict[str, Any] | None = None
        self._key = ""

    def release(self) -> None:
        """Give the open files back. The entry must not be answered from afterwards."""
        files, self.files = self.files, ()
        for file in files:
            file.release()


class ContentCache:
    """The bounds on all entries of one worker: Limits.content_cache_bytes and Limits.open_files."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.used_bytes = 0
        self.descriptors = 0
        self._in_memory: OrderedDict[CacheEntry, None] = OrderedDict()
        self._with_files: OrderedDict[CacheEntry, None] = OrderedDict()

    @property
    def free_bytes(self) -> int:
        """What can be kept without pushing anything out."""
        return self.limits.content_cache_bytes - self.used_bytes

    def __len__(self) -> int:
        return len(self._in_memory) + len(self._with_files)

    def put(self, view: dict[str, Any], key: str, entry: CacheEntry) -> bool:
        """Keep `entry` as `view[key]` in place of what was there; others go if there is no room.

        Returns False, and releases the entry, if it is too large on its own.
        """
        old = view.get(key)
        if old is not None:
            self.drop(old)
        limits = self.limits
        if entry.cost_bytes > limits.content_cache_bytes or len(entry.files) > limits.open_files:
            entry.release()
            return False
        while self.descriptors + len(entry.files) > limits.open_files:
            self._evict(self._with_files)
        while self.used_bytes + entry.cost_bytes > limits.content_cache_bytes:
            self._evict(self._in_memory or self._with_files)
        self.used_bytes += entry.cost_bytes
        self.descriptors += len(entry.files)
        (self._with_files if entry.files else self._in_memory)[entry] = None
        entry._view, entry._key = view, key
        view[key] = entry
        return True

    def drop(self, entry: CacheEntry) -> None:
        """Forget `entry`; responses that are being sent from its files go on."""
        view = entry._view
        if view is None:
            return
        entry._view = None
        entry.fresh_until = 0.0  # whoever still holds it asks anew
        del view[entry._key]
        del (self._with_files if entry.files else self._in_memory)[entry]
        self.used_bytes -= entry.cost_bytes
        self.descriptors -= len(entry.files)
        entry.release()

    def clear(self) -> None:
        """Forget everything and close what is not being sent."""
        for entry in (*self._in_memory, *self._with_files):
            self.drop(entry)

    def _evict(self, line: OrderedDict[CacheEntry, None]) -> None:
        for _ in range(_SECOND_CHANCES):
            entry = next(iter(line))
            if not entry.used:
                break
            entry.used = False
            line.move_to_end(entry)
        self.drop(next(iter(line)))
