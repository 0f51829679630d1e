"""PUT, MKCOL, DELETE, COPY and MOVE of a WebDAV share (RFC 4918, section 9).

Each is done whole or not at all, as far as anybody can see: uploads and copies are made beside their place under a name
of ours, and take it in the end; what is deleted or replaced is put aside first. That last step, and the look at locks
and conditions before it, is one transaction, which orders it among all workers.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from securelight.files.writable_root import Pending, advance, copy_file, copy_folder, name_aside, name_beside
from securelight.handlers import webdav_head
from securelight.handlers.webdav_locks import Claim
from securelight.handlers.webdav_share import Janitor, Share, etag_of
from securelight.model.errors import Refusal
from securelight.model.response import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from securelight.handlers.webdav_store import Store, Transaction
    from securelight.model.headers import Headers
    from securelight.model.request import Request
    from securelight.pipeline.exchange import Exchange

_WRITE_BYTES: Final = 1_048_576
"""Of an upload, held until they are written: a way to a thread and back for each piece would cost more than writing."""


class _Aside:
    """Where something is put out of the way, to be removed later.

    Attributes:
        name: the path that it gets.
        noted: it is in the database from the beginning.
        pending: it, once it is there, if it can be held.
    """

    __slots__ = ("name", "noted", "pending")

    def __init__(self, name: bytes, *, noted: bool) -> None:
        self.name = name
        self.noted = noted
        self.pending: Pending | None = None

    def let_go(self) -> None:
        """Hold it no longer."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.let_go()


class Changes:
    """The methods that change files.

    Args:
        share, store, janitor: of which share.
        file_bytes: the largest file.
        free_bytes_kept: how much room is left to others.
    """

    def __init__(self, share: Share, store: Store, janitor: Janitor, file_bytes: int, free_bytes_kept: int) -> None:
        self._share = share
        self._store = store
        self._janitor = janitor
        self._file_bytes = file_bytes
        self._free_bytes_kept = free_bytes_kept

    def free_bytes(self) -> int:
        """How much room there is for files."""
        return max(0, self._share.files.free_bytes() - self._free_bytes_kept)

    def _check_room(self, wanted: int) -> None:
        if wanted > self.free_bytes():
            raise Refusal(507, "There is no room for it.", f"{wanted} bytes")

    def _check(
        self, transaction: Transaction, claim: Claim, headers: Headers, path: bytes, *, tree: bool = False
    ) -> os.stat_result | None:
        """Conditions and locks of a change to `path`; what is there, itself and not what it leads to."""
        share = self._share
        found = share.files.status(path)
        read = share.seen(path) if found is not None and stat.S_ISLNK(found.st_mode) else found
        webdav_head.check_preconditions(
            headers, None if found is None else etag_of(read or found), int((read or found).st_mtime) if found else 0
        )
        claim.check_if(transaction, path, share.etag)
        claim.permits(transaction, path, share.href, tree=tree, member=tree or found is None)
        return found

    # PUT

    async def put(self, exchange: Exchange, claim: Claim, path: bytes) -> Response:
        """Write a file.

        Errors: Refusal, Denied, ClientDisconnected.
        """
        request, share = exchange.request, self._share
        if b"content-range" in request.headers:
            raise Refusal(400, "Files are written whole.")
        if not path or request.path.endswith("/"):
            raise Refusal(405, "That is the name of a folder.", fields=((b"allow", b"OPTIONS, PROPFIND"),))
        share.check_changeable(path)
        if (request.content_length or 0) > self._file_bytes:
            raise self._too_large()
        pending = await share.in_thread(lambda: self._begin_put(claim, request, path))
        try:
            size, held, held_bytes = 0, list[bytes](), 0
            while data := await exchange.receive(ahead=True):
                size += len(data)
                if size > self._file_bytes:
                    raise self._too_large()
                held.append(data)
                held_bytes += len(data)
                if held_bytes >= _WRITE_BYTES:
                    await share.in_thread(partial(self._write, pending, held))
                    held, held_bytes = [], 0
            return await share.in_thread(lambda: self._end_put(claim, request, path, pending, held))
        finally:
            with trio.CancelScope(shield=True):
                await share.in_thread(lambda: self._discard(pending))

    def _too_large(self) -> Refusal:
        return Refusal(413, f"A file may have {self._file_bytes} bytes.")

    def _begin_put(self, claim: Claim, request: Request, path: bytes) -> Pending:
        with self._store.transaction() as transaction:
            self._check_file(self._check(transaction, claim, request.headers, path))
            self._check_room(request.content_length or 0)
            name = name_beside(path)
            transaction.note_leftover(name)
        return self._make(self._share.files.new_file, name)

    def _make(self, make: Callable[[bytes], Pending], name: bytes) -> Pending:
        """Make what is noted already: whoever is killed in between leaves nothing that is not known of."""
        try:
            return make(name)
        except BaseException:
            with self._store.transaction() as transaction:
                transaction.forget_leftover(name)
            raise

    @staticmethod
    def _check_file(found: os.stat_result | None) -> None:
        if found is not None and not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
            raise Refusal(405, "There is a folder.", fields=((b"allow", b"OPTIONS, PROPFIND, DELETE, COPY, MOVE"),))

    def _write(self, pending: Pending, held: list[bytes]) -> None:
        data = b"".join(held)
        self._check_room(len(data))
        pending.write(data)

    def _end_put(self, claim: Claim, request: Request, path: bytes, pending: Pending, held: list[bytes]) -> Response:
        if held:
            self._write(pending, held)
        os.fsync(pending.descriptor)
        with self._store.transaction() as transaction:
            found = self._check(transaction, claim, request.headers, path)
            self._check_file(found)
            self._share.files.move(pending.relative, path)
            transaction.forget_leftover(pending.relative)
            if found is None:
                transaction.forget(path, locks=False)
        tag = etag_of(os.fstat(pending.descriptor))
        pending.let_go()
        return Response(201 if found is None else 204, ((b"etag", tag),))

    def _discard(self, pending: Pending) -> None:
        """Remove an upload that did not come to its end; nothing if it did."""
        if pending.descriptor < 0:
            return
        for _ in self._share.files.remove(pending.relative):
            pass
        pending.let_go()
        with self._store.transaction() as transaction:
            transaction.forget_leftover(pending.relative)

    # MKCOL

    async def make_folder(self, exchange: Exchange, claim: Claim, path: bytes) -> Response:
        """Make a folder.

        Errors: Refusal, Denied, ClientDisconnected.
        """
        if await exchange.receive():
            raise Refusal(415, "A folder is made without a body.")
        if not path:
            raise Refusal(405, "It is there already.", fields=((b"allow", b"OPTIONS, PROPFIND"),))
        self._share.check_changeable(path)

        def make() -> Response:
            with self._store.transaction() as transaction:
                if self._check(transaction, claim, exchange.request.headers, path) is not None:
                    raise Refusal(405, "It is there already.", fields=((b"allow", b"OPTIONS, PROPFIND, DELETE"),))
                self._share.files.make_folder(path)
                transaction.forget(path, locks=False)
            return Response(201)

        return await self._share.in_thread(make)

    # DELETE

    async def delete(self, exchange: Exchange, claim: Claim, path: bytes) -> Response:
        """Remove a file, or a folder with all that is in it.

        Errors: Refusal, Denied, ClientDisconnected.
        """
        request = exchange.request
        webdav_head.depth(request.headers, "infinity", ("infinity",))
        self._share.check_changeable(path, tree=True)

        def delete() -> Pending | None:
            with self._aside_of(path) as aside, self._store.transaction() as transaction:
                found = self._check(transaction, claim, request.headers, path, tree=True)
                if found is None or (request.path.endswith("/") and not stat.S_ISDIR(found.st_mode)):
                    raise Refusal(404, "There is nothing here.")
                transaction.forget(path)
                self._take_away(transaction, path, found, aside)
            return aside.pending

        self._later(await self._share.in_thread(delete))
        return Response(204)

    @contextmanager
    def _aside_of(self, path: bytes) -> Iterator[_Aside]:
        """Where what is at `path` can be put out of the way. Of a folder that is noted before anything happens: who is
        killed in the middle leaves nothing that is not known of."""
        files = self._share.files
        found = files.status(path)
        aside = _Aside(name_aside(path), noted=found is not None and stat.S_ISDIR(found.st_mode))
        if aside.noted:
            with self._store.transaction() as transaction:
                transaction.note_leftover(aside.name)
        try:
            yield aside
        except BaseException:
            aside.let_go()
            if aside.noted and files.status(aside.name) is None:
                with self._store.transaction() as transaction:
                    transaction.forget_leftover(aside.name)
            raise

    def _put_aside(self, transaction: Transaction, path: bytes, aside: _Aside) -> None:
        transaction.note_leftover(aside.name)
        aside.pending = self._share.files.put_aside(path, aside.name)

    def _take_away(self, transaction: Transaction, path: bytes, found: os.stat_result, aside: _Aside) -> None:
        """Take away what is at `path`: at once if that takes one step."""
        if stat.S_ISDIR(found.st_mode):
            self._put_aside(transaction, path, aside)
            return
        transaction.forget_leftover(aside.name)
        for _ in self._share.files.remove(path):
            pass

    def _later(self, pending: Pending | None) -> None:
        if pending is not None:
            self._janitor.remove_later(pending)

    # COPY and MOVE

    def _target(self, request: Request, source: bytes, *, tree: bool) -> bytes:
        """The path below the root that Destination names.

        Errors: Refusal 400, 403 and 502.
        """
        name = webdav_head.destination_path(request)
        if not (name + "/").startswith(self._share.prefix + "/"):
            raise Refusal(502, "The destination is in another part of the site.")
        target = self._share.relative(name)
        if target is None:
            raise Refusal(403, "The destination is a name that is not allowed.")
        self._share.check_changeable(target, tree=True)
        inside = not source or target.startswith(source + b"/")
        if source == target or source.startswith(target + b"/") or (tree and inside):
            raise Refusal(403, "The destination is the source, or one is inside the other.")
        return target

    def _check_target(
        self, transaction: Transaction, claim: Claim, target: bytes, *, overwrite: bool
    ) -> os.stat_result | None:
        claim.permits(transaction, target, self._share.href, tree=True)
        found = self._share.files.status(target)
        if found is not None and not overwrite:
            raise Refusal(412, "There is something at the destination.")
        if found is None:
            if not self._share.files.has_parent(target):
                raise Refusal(409, "There is no folder for the destination.")
            claim.permits(transaction, target, self._share.href, member=True)
        return found

    async def move(self, exchange: Exchange, claim: Claim, source: bytes) -> Response:
        """Rename a file, or a folder with all that is in it.

        Errors: Refusal, Denied.
        """
        request = exchange.request
        webdav_head.depth(request.headers, "infinity", ("infinity",))
        overwrite = webdav_head.overwrite(request.headers)
        self._share.check_changeable(source, tree=True)
        target = self._target(request, source, tree=True)

        def move() -> tuple[bool, Pending | None]:
            with self._aside_of(target) as aside, self._store.transaction() as transaction:
                if self._check(transaction, claim, request.headers, source, tree=True) is None:
                    raise Refusal(404, "There is nothing here.")
                found = self._check_target(transaction, claim, target, overwrite=overwrite)
                transaction.forget(target, locks=False)
                transaction.copy_properties(source, target, deep=True)
                transaction.forget(source)
                self._replace(transaction, source, target, found, aside)
            return found is None, aside.pending

        is_new, aside = await self._share.in_thread(move)
        self._later(aside)
        return Response(201 if is_new else 204)

    def _replace(
        self, transaction: Transaction, source: bytes, target: bytes, found: os.stat_result | None, aside: _Aside
    ) -> None:
        """Move `source` to `target`, and what is there out of its way."""
        files = self._share.files
        status = files.status(source)
        if found is None or not (
            stat.S_ISDIR(found.st_mode) or (status is not None and stat.S_ISDIR(status.st_mode))
        ):  # perhaps one file in place of another: no moment without
            transaction.forget_leftover(aside.name)
            files.move(source, target)
            return
        self._put_aside(transaction, target, aside)
        try:
            files.move(source, target)
        except BaseException:
            with suppress(OSError):
                files.move(aside.name, target)
            raise
        if not stat.S_ISDIR(found.st_mode):
            for _ in files.remove(aside.name):
                pass
            transaction.forget_leftover(aside.name)
            aside.let_go()

    async def copy(self, exchange: Exchange, claim: Claim, source: bytes) -> Response:
        """Copy a file, or a folder with all of it that a client can see (Depth 0: with nothing).

        Errors: Refusal, Denied, ClientDisconnected.
        """
        request, share = exchange.request, self._share
        deep = webdav_head.depth(request.headers, "infinity", ("0", "infinity")) == "infinity"
        overwrite = webdav_head.overwrite(request.headers)
        if share.is_elsewhere(source, tree=deep):
            raise Refusal(403, "Another part of the site has rules of its own for that.")
        target = self._target(request, source, tree=deep)
        opened, pending = await share.in_thread(
            lambda: self._begin_copy(claim, request, source, target, overwrite=overwrite)
        )
        steps = self._copy_steps(opened, pending, deep=deep)
        try:
            while await share.in_thread(lambda: self._advance(steps)):
                pass
            is_new, aside = await share.in_thread(
                lambda: self._end_copy(claim, pending, source, target, deep=deep, overwrite=overwrite)
            )
        except BaseException:
            self._later(pending)
            raise
        finally:
            steps.close()
            os.close(opened)
        self._later(aside)
        return Response(201 if is_new else 204)

    def _begin_copy(
        self, claim: Claim, request: Request, source: bytes, target: bytes, *, overwrite: bool
    ) -> tuple[int, Pending]:
        share = self._share
        try:
            opened, status = share.root.open(source or b".")
        except FileNotFoundError as error:
            raise Refusal(404, "There is nothing here.") from error
        try:
            webdav_head.check_preconditions(request.headers, etag_of(status), int(status.st_mtime))
            with self._store.transaction() as transaction:
                claim.check_if(transaction, source, share.etag)
                self._check_target(transaction, claim, target, overwrite=overwrite)
                is_folder = stat.S_ISDIR(status.st_mode)
                self._check_room(0 if is_folder else status.st_size)
                name = name_beside(target)
                transaction.note_leftover(name)
            pending = self._make(share.files.new_folder if is_folder else share.files.new_file, name)
        except BaseException:
            os.close(opened)
            raise
        return opened, pending

    def _copy_steps(self, opened: int, pending: Pending, *, deep: bool) -> Generator[None]:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            yield from copy_file(opened, pending.descriptor)
        elif deep:
            yield from copy_folder(opened, pending.descriptor, self._share.is_hidden)

    def _advance(self, steps: Iterator[None]) -> bool:
        self._check_room(1)
        return advance(steps)

    def _end_copy(
        self, claim: Claim, pending: Pending, source: bytes, target: bytes, *, deep: bool, overwrite: bool
    ) -> tuple[bool, Pending | None]:
        with self._aside_of(target) as aside, self._store.transaction() as transaction:
            found = self._check_target(transaction, claim, target, overwrite=overwrite)
            transaction.forget_leftover(pending.relative)
            transaction.forget(target, locks=False)
            transaction.copy_properties(source, target, deep=deep)
            self._replace(transaction, pending.relative, target, found, aside)
        pending.let_go()
        return found is None, aside.pending
