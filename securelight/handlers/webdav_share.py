"""What all methods of a WebDAV share have in common: its paths, its files, its database, its threads, its faults.

Blocking work runs in a few threads of the share's own, so that slow disks hold up its own clients and nobody else's.
What is to be removed and is large is put aside and removed by the `Janitor` while nobody waits for it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar
from urllib.parse import quote_from_bytes

import trio

from securelight.files.etag import file_etag
from securelight.files.safe_path import DocumentRoot, relative_path
from securelight.files.writable_root import TREE_DEPTH, Pending, WritableRoot, advance, is_reserved
from securelight.model.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from securelight.handlers.webdav_store import Store
    from securelight.pipeline.compile import EventLog

T = TypeVar("T")

THREADS: Final = 4
"""Of one share in one worker."""
ASIDE: Final = 64
"""Folders that wait to be removed, each with a descriptor; what does not fit is found again in the database."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL})
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY})
_AGAIN: Final = ((b"retry-after", b"1"),)


class Share:
    """One share.

    Args:
        root: its directory.
        prefix: what of a request path stands for it, without a slash at the end.
        inner: the paths below the root that other routes answer for.
        store: its locks and properties; None if it cannot be written to.
        dot_files: whether names may begin with a dot.
    """

    def __init__(
        self, root: Path, prefix: str, inner: tuple[bytes, ...], store: Store | None, *, dot_files: bool
    ) -> None:
        self.prefix = prefix
        self.root = DocumentRoot(root)
        self.files = WritableRoot(root)
        self.store = store
        self._inner = inner
        self._dot_files = dot_files
        self._href_prefix = quote_from_bytes(os.fsencode(prefix), safe="/~")
        self._threads = trio.CapacityLimiter(THREADS)

    # Paths

    def relative(self, path: str) -> bytes | None:
        """The path below the root, empty for itself, that a request path names; None if no client may name it."""
        if not (path + "/").startswith(self.prefix + "/"):
            return None
        relative = relative_path(path[len(self.prefix) :], dot_files=self._dot_files)
        if relative is None or is_reserved(relative):
            return None
        return b"" if relative == b"." else relative

    def is_hidden(self, name: bytes) -> bool:
        """Whether no client may see that name."""
        return is_reserved(name) or (not self._dot_files and name.startswith(b"."))

    def is_elsewhere(self, path: bytes, *, tree: bool = False) -> bool:
        """Whether another route, with rules of its own, answers for `path`, or for something below it if `tree`."""
        below = path + b"/" if path else b""
        return any(
            path == inner or path.startswith(inner + b"/") or (tree and inner.startswith(below))
            for inner in self._inner
        )  # fmt: skip

    def href(self, path: bytes, *, is_folder: bool = False) -> str:
        """The URL path of `path`."""
        text = f"{self._href_prefix}/{quote_from_bytes(path, safe='/~')}"
        return text + "/" if is_folder and path else text

    # Files

    def seen(self, path: bytes) -> os.stat_result | None:
        """What a client would read at `path`: links are followed inside the root; None if there is nothing.

        Errors: OSError.
        """
        try:
            descriptor, status = self.root.open(path or b".")
        except FileNotFoundError:
            return None
        os.close(descriptor)
        return status

    def etag(self, path: bytes) -> bytes:
        """The entity tag of the file at `path`; empty if there is none.

        Errors: OSError.
        """
        status = self.seen(path)
        return b"" if status is None else etag_of(status)

    def check_changeable(self, path: bytes, *, tree: bool = False) -> None:
        """Whether `path` is one that may be changed at all.

        Errors: Refusal 403.
        """
        if not path:
            raise Refusal(403, "The share itself stays as it is.")
        if path.count(b"/") >= TREE_DEPTH:
            raise Refusal(403, f"Folders are nested at most {TREE_DEPTH} deep.")
        if self.is_elsewhere(path, tree=tree):
            raise Refusal(403, "Another part of the site has rules of its own for that.")

    # Threads

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run blocking work; what goes wrong in it is a Refusal.

        Errors: Refusal 403, 409, 500, 502, 503 and 507.
        """
        return await trio.to_thread.run_sync(partial(_translated, function), limiter=self._threads)


def etag_of(status: os.stat_result) -> bytes:
    """The entity tag of a file; empty for a folder."""
    if stat.S_ISDIR(status.st_mode):
        return b""
    return file_etag(status.st_ino, status.st_size, status.st_mtime_ns)


def _translated(function: Callable[[], T]) -> T:
    with translated():
        return function()


@contextmanager
def translated() -> Iterator[None]:
    """Faults of the system as what the client gets.

    Errors: Refusal.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Refusal(409, "There is no such folder.", str(error)) from error
    except OSError as error:
        _refuse(error)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise Refusal(507, "There is no room for locks and properties.", str(error)) from error
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Refusal(503, "", f"the database is busy: {error}", _AGAIN) from error
        raise


def _refuse(error: OSError) -> NoReturn:
    number = error.errno
    if number in _FULL:
        raise Refusal(507, "There is no room for it.", str(error)) from error
    if number in _REFUSED:
        raise Refusal(403, "", str(error)) from error
    if number in _EXHAUSTED:
        raise Refusal(503, "", str(error), _AGAIN) from error
    if number == errno.EXDEV:
        raise Refusal(502, "The destination is on another file system: copy it.", str(error)) from error
    raise error


class Janitor:
    """Removes what was put aside, and what somebody who was killed has left behind. A pipeline.compile.Service."""

    def __init__(self, share: Share, store: Store, events: EventLog) -> None:
        self._share = share
        self._store = store
        self._events = events
        self._send, self._receive = trio.open_memory_channel[Pending](ASIDE)

    def remove_later(self, pending: Pending) -> None:
        """Take over what lies aside."""
        try:
            self._send.send_nowait(pending)
        except trio.WouldBlock:
            pending.let_go()

    async def run(self, ready: Callable[[], None]) -> None:
        """Until cancelled."""
        ready()
        try:
            while True:
                await self._sweep()
                # What did not fit, and what other workers have left, is looked for when there is something to do.
                await self._remove(await self._receive.receive())
                with suppress(trio.WouldBlock):
                    while True:
                        await self._remove(self._receive.receive_nowait())
        finally:
            with suppress(trio.WouldBlock):
                while True:
                    self._receive.receive_nowait().let_go()
            self._store.close()

    async def _sweep(self) -> None:
        def left() -> list[Pending]:
            found = []
            with self._store.look() as known:
                paths = known.leftovers()
            for path in paths[:ASIDE]:
                try:
                    pending = self._share.files.adopt(path)
                except OSError as error:  # not ours to open; the others are looked at all the same
                    self._events.warning("webdav_not_removed", path=repr(os.fsdecode(path)), problem=str(error))
                    continue
                if pending is not None:
                    found.append(pending)
                elif self._share.files.status(path) is None:
                    with self._store.transaction() as transaction:
                        transaction.forget_leftover(path)
            return found

        try:
            for pending in await self._share.in_thread(left):
                await self._remove(pending)
        except (Refusal, OSError, sqlite3.Error) as error:
            self._events.warning("webdav_sweep_failed", problem=str(error))

    async def _remove(self, pending: Pending) -> None:
        def forget() -> None:
            with self._store.transaction() as transaction:
                transaction.forget_leftover(pending.relative)

        try:
            steps = self._share.files.remove(pending.relative)
            while await self._share.in_thread(partial(advance, steps)):
                pass
            await self._share.in_thread(forget)
        except (Refusal, OSError, sqlite3.Error) as error:
            path = os.fsdecode(pending.relative)
            self._events.warning("webdav_not_removed", path=repr(path), problem=str(error))
        finally:
            pending.let_go()
