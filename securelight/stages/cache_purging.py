"""Forgetting kept answers: in memory, on the disk and in the other workers, and what was being fetched meanwhile."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING

from securelight.files.cache_rules import tags_of
from securelight.model.response import Response
from securelight.pipeline.purge_board import digest_of
from securelight.stages.cache_answers import url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.files.cache_store import DiskStore, Entry, MemoryStore
    from securelight.model.request import Request
    from securelight.pipeline.compile import InThread
    from securelight.pipeline.scoreboard import Scoreboard

_REMEMBERED = 10_000
"""Purges that a fetch which began before them is held against; beyond these, all that is being fetched is not kept."""


def marks_of(url: bytes, tags: Sequence[bytes]) -> frozenset[bytes]:
    """What an answer is forgotten by."""
    return frozenset((digest_of(b"url", url), *(digest_of(b"tag", tag) for tag in tags)))


class Purging:
    """What one cache has forgotten lately.

    Args:
        memory, disk: of the cache; None for no disk.
        board: where workers tell each other.
        in_thread: for the disk.
    """

    def __init__(self, memory: MemoryStore, disk: DiskStore | None, board: Scoreboard, in_thread: InThread) -> None:
        self._memory = memory
        self._disk = disk
        self._board = board
        self._in_thread = in_thread
        self._seen = board.purges.counts()
        self._lately: OrderedDict[bytes, float] = OrderedDict()
        self._before = 0.0

    async def answer(self, request: Request) -> Response:
        """Do what a PURGE asks for, which the caller has allowed: forget its tags, or else its URL."""
        tags = tags_of(request.headers)
        if tags:
            count = 0
            for tag in tags:
                count += await self._forget(digest_of(b"tag", tag), lambda disk, tag=tag: disk.purge_tag(tag))  # type: ignore[misc]  # mypy cannot tell the default's type
        else:
            count = await self.purge(url_of(request.scheme, request.authority, request.target))
        return Response(200, ((b"content-type", b"text/plain; charset=utf-8"),), b"%d purged\n" % count)

    async def purge(self, url: bytes) -> int:
        """Forget `url` everywhere, in all its variants; how many answers there were."""
        return await self._forget(digest_of(b"url", url), lambda disk: disk.purge(url))

    def look(self) -> None:
        """Forget what other workers have purged."""
        marks = self._board.purges.since(self._seen)
        if marks is None:
            self._memory.clear()
            self._before = monotonic()
            return
        for mark in marks:
            self._memory.purge(mark)
            self._note(mark)

    def was_forgotten(self, entry: Entry, began: float) -> bool:
        """Whether `entry` was purged since the time.monotonic() `began`, before it could be found anywhere."""
        self.look()
        return self.was_noted(entry, began)

    def was_noted(self, entry: Entry, began: float) -> bool:
        """The same, as far as this worker has heard; may be asked in a thread."""
        return began <= self._before or any(self._lately.get(mark, 0.0) >= began for mark in entry.marks)

    async def _forget(self, mark: bytes, on_disk: Callable[[DiskStore], int]) -> int:
        disk = self._disk
        found = self._memory.purge(mark)
        self._note(mark)
        if disk is not None:
            # Told now, for workers that are just saving it, and again below, for those that found it on the disk.
            self._board.purges.add(self._board.slot, mark, self._seen)
            found = max(found, await self._in_thread(lambda: on_disk(disk)))  # it may be on its way there
        self._board.purges.add(self._board.slot, mark, self._seen)
        return found

    def _note(self, mark: bytes) -> None:
        self._lately[mark] = monotonic()
        self._lately.move_to_end(mark)
        if len(self._lately) > _REMEMBERED:
            _, self._before = self._lately.popitem(last=False)
