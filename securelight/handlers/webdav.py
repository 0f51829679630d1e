"""Files that clients read and write: WebDAV, classes 1 and 2 (RFC 4918).

What may be read is what `static_file` serves, with its ranges, validators and conditions. Nothing may be changed unless
`writable` says so. Names that begin with a dot are neither served nor made (by default), names of ours never; symbolic
links are followed for reading where they stay inside the root, and never for writing. Depth infinity is refused for
PROPFIND. Everything that waits for a disk runs in threads (webdav_share).

Rules of the site look at the path of a request: a Destination that another route answers for is refused. Within one
route, whoever may change one file may change all.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from securelight.files.writable_root import is_reserved
from securelight.handlers import listing_page, webdav_head, webdav_xml
from securelight.handlers.directory_listing import DirectoryListing, DirectoryListingConfig
from securelight.handlers.static_file import StaticFiles, check as check_files
from securelight.handlers.virtual_roots import is_pattern
from securelight.handlers.webdav_changes import Changes
from securelight.handlers.webdav_locks import XML_TYPE, Claim, Denied, Locks, lock_answer
from securelight.handlers.webdav_properties import (
    Found,
    ReportBody,
    Reporter,
    change_properties,
    parse_changes,
    parse_wish,
)
from securelight.handlers.webdav_share import Janitor, Share
from securelight.handlers.webdav_store import Store
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler

_READ_METHODS: Final = ("GET", "HEAD")
_READ_ONLY: Final = b"OPTIONS, GET, HEAD, PROPFIND"
_ALL: Final = b"OPTIONS, GET, HEAD, PROPFIND, PROPPATCH, MKCOL, PUT, DELETE, COPY, MOVE, LOCK, UNLOCK"
_FOLDER: Final = ".securelight-webdav"
_NO_STORE: Final = (b"cache-control", b"no-store")
_SANDBOX: Final = (b"content-security-policy", b"sandbox")


class WebDavConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`webdav`: files below a directory, for clients that read and write."""

    root: str
    """The directory, relative to the file that this stands in."""
    writable: bool = False
    """Let clients change files. Ask for passwords in the same route: `check` warns where none are asked for."""
    state: str = ""
    """The folder of the database of locks and properties; by default `.securelight-webdav` in the root, which no client
    sees. It has to be on a local disk. A share that is not writable has none."""
    index: tuple[str, ...] = ()
    """What a browser gets for a folder: the first of these files that it has."""
    listing: bool = True
    """Otherwise, a list of what the folder has."""
    dot_files: bool = False
    """Let names begin with a dot too."""
    active_content: bool = False
    """Let the scripts of pages run that others have uploaded. Without it, a writable share is served with a
    Content-Security-Policy that has them do nothing in the name of this site."""
    file_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 40
    """The largest file that may be written; Limits.request_body_bytes is there too. 413."""
    free_bytes_kept: Annotated[int, msgspec.Meta(ge=0)] = 67_108_864
    """Nothing is written that would leave less than this of the file system free; 507."""
    xml_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=1_048_576)] = 65_536
    """The largest body of PROPFIND, PROPPATCH and LOCK; 413."""
    lock_seconds: Annotated[int, msgspec.Meta(ge=1)] = 600
    """How long a lock lasts whose taker does not say."""
    maximum_lock_seconds: Annotated[int, msgspec.Meta(ge=1)] = 86_400
    """How long it lasts at most, unless it is refreshed."""
    locks: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    """How many there may be; 507."""
    locks_each: Annotated[int, msgspec.Meta(ge=1)] = 256
    """How many one user may have or, where nobody has a name, one address."""
    database_bytes: Annotated[int, msgspec.Meta(ge=65_536)] = 268_435_456
    """How large the database may become; 507."""
    concurrent: Annotated[int, msgspec.Meta(ge=1)] = 64
    """How many requests but GET and HEAD each worker works on at a time; 503."""


class Reader(DirectoryListing):
    """Reads as `static_file` does, but nothing is believed for a second: what was written is there at once."""

    __slots__ = ("_lists",)

    def __init__(self, settings: WebDavConfig, root: Path, context: BuildContext) -> None:
        as_listing = DirectoryListingConfig(
            root=settings.root, index=settings.index, precompressed=False, dot_files=settings.dot_files, header=(),
            readme=(), hide=(f"{_FOLDER[:-6]}*",),
        )  # fmt: skip
        super().__init__(as_listing, root, replace(context, repeatable=False))
        self._lists = settings.listing
        self._varies = (
            (b"cache-control", b"no-cache"),
            *((_SANDBOX,) if settings.writable and not settings.active_content else ()),
        )

    def handle(self, request: Request, _facts: Facts) -> Response | Deferred:
        """Answer a GET or HEAD.

        Errors: Refusal.
        """
        known = self._view.get(request.path)
        if request.query == listing_page.STYLE_QUERY and request.path.endswith("/"):
            return self._style
        try:
            found = self._find(request, known, self._keep_bytes, may_block=False)
        except BlockingIOError:
            return Deferred(lambda exchange: self._read(request, exchange))
        return self._answered(request, found)

    async def _read(self, request: Request, exchange: Exchange) -> Response:
        try:
            found = await exchange.in_thread(lambda: self._find(request, None, self._keep_bytes, may_block=True))
        except BlockingIOError as error:
            raise Refusal(503, "", f"{request.path!r}: the file is held by a lease or being renamed") from error
        return self._answered(request, found)

    def _resolve(self, request: Request, relative: bytes, known: Any, keep_bytes: int, *, may_block: bool) -> Any:
        if self._lists:
            return super()._resolve(request, relative, known, keep_bytes, may_block=may_block)
        return StaticFiles._resolve(self, request, relative, known, keep_bytes, may_block=may_block)


class WebDav:
    """The handler of one share."""

    def __init__(self, settings: WebDavConfig, root: Path, context: BuildContext) -> None:
        prefix = "" if context.route_path == "/" else context.route_path
        inner = tuple(os.fsencode(path[len(prefix) :].strip("/")) for path in context.inner_routes)
        self._settings = settings
        self._reader = Reader(settings, root, context)
        self._places = settings.concurrent
        self._store: Store | None = None
        self._changes: Changes | None = None
        allow, classes = _READ_ONLY, b"1"
        if settings.writable:
            allow, classes = _ALL, b"1, 2"
            self._store = Store(_database(settings, context.base, root), settings.database_bytes)
        self._share = Share(root, prefix, inner, self._store, dot_files=settings.dot_files)
        self._locks = Locks(settings.lock_seconds, settings.maximum_lock_seconds, settings.locks, settings.locks_each)
        if self._store is not None:
            janitor = Janitor(self._share, self._store, context.events)
            context.services.append(janitor)
            self._changes = Changes(
                self._share, self._store, janitor, settings.file_bytes, settings.free_bytes_kept
            )  # fmt: skip
        free = self._changes.free_bytes if self._changes is not None else lambda: 0
        self._reporter = Reporter(self._share, free)
        self._allow = (b"allow", allow)
        self._methods = frozenset(allow.decode().split(", "))
        self._options = Response(
            200, ((b"dav", classes), self._allow, (b"ms-author-via", b"DAV"), (b"accept-ranges", b"bytes")), shared=True
        )

    def handle(self, request: Request, facts: Facts) -> Response | Deferred:
        """Answer one request.

        Errors: Refusal.
        """
        method = request.method
        if method in _READ_METHODS:
            if is_reserved(os.fsencode(request.path)):
                raise Refusal(404, "", "a name of ours")
            return self._reader.handle(request, facts)
        if method == "OPTIONS":
            return self._options
        if method not in self._methods:
            what = "This share can only be read." if not self._settings.writable else "Not a method of WebDAV."
            raise Refusal(405, what, fields=(self._allow,))
        return Deferred(self._work)

    async def _work(self, exchange: Exchange) -> Response:
        if self._places <= 0:
            raise Refusal(503, "The share has too much to do.", fields=((b"retry-after", b"1"),))
        self._places -= 1
        try:
            return await self._answer(exchange)
        except Denied as denied:
            return denied.response
        finally:
            self._places += 1

    async def _answer(self, exchange: Exchange) -> Response:
        request, share = exchange.request, self._share
        path = share.relative(request.path)
        if request.method == "PROPFIND":
            return await self._propfind(exchange, path)
        if path is None:
            raise Refusal(403, "That name is not allowed.", f"{request.path!r} is refused")
        changes, store = self._changes, self._store
        assert changes is not None
        assert store is not None
        claim = Claim(request, exchange.facts, share.relative)
        match request.method:
            case "PUT":
                return await changes.put(exchange, claim, path)
            case "MKCOL":
                return await changes.make_folder(exchange, claim, path)
            case "DELETE":
                return await changes.delete(exchange, claim, path)
            case "COPY":
                return await changes.copy(exchange, claim, path)
            case "MOVE":
                return await changes.move(exchange, claim, path)
            case "PROPPATCH":
                return await self._proppatch(exchange, claim, path, store)
            case "LOCK":
                return await self._lock(exchange, claim, path, store)
            case _:
                return await self._unlock(exchange, claim, path, store)

    async def _body(self, exchange: Exchange) -> bytes:
        maximum = self._settings.xml_bytes
        refusal = Refusal(413, f"The body may have {maximum} bytes.")
        if (exchange.request.content_length or 0) > maximum:
            raise refusal
        body = b""
        while data := await exchange.receive():
            body += data
            if len(body) > maximum:
                raise refusal
        return body

    async def _propfind(self, exchange: Exchange, path: bytes | None) -> Response:
        request, share = exchange.request, self._share
        depth = webdav_head.depth(request.headers, "infinity", ("0", "1", "infinity"))
        if depth == "infinity":
            raise Denied(403, "propfind-finite-depth")
        wish = parse_wish(await self._body(exchange))
        status = None if path is None else await share.in_thread(lambda: share.seen(path))
        if path is None or status is None:
            raise Refusal(404, "There is nothing here.")
        pieces = self._reporter.pieces(Found(path, status), wish, members=depth == "1")
        fields = (XML_TYPE, _NO_STORE)
        if depth == "0":
            return Response(207, fields, (await share.in_thread(lambda: "".join(pieces))).encode())
        return Response(207, fields, ReportBody(share, pieces))

    async def _proppatch(self, exchange: Exchange, claim: Claim, path: bytes, store: Store) -> Response:
        changes = parse_changes(await self._body(exchange))
        share = self._share
        if share.is_elsewhere(path):
            raise Refusal(403, "Another part of the site has rules of its own for that.")

        def change() -> Response:
            status = share.seen(path)
            if status is None:
                raise Refusal(404, "There is nothing here.")
            with store.transaction() as transaction:
                claim.check_if(transaction, path, share.etag)
                claim.permits(transaction, path, share.href)
                outcome = change_properties(transaction, path, changes)
            href = webdav_xml.text(share.href(path, is_folder=Found(path, status).is_folder))
            content = f"<response><href>{href}</href>{outcome}</response>"
            return Response(207, (XML_TYPE, _NO_STORE), webdav_xml.document("multistatus", content))

        return await share.in_thread(change)

    async def _lock(self, exchange: Exchange, claim: Claim, path: bytes, store: Store) -> Response:
        body = await self._body(exchange)
        request, share = exchange.request, self._share
        try:
            wish = webdav_xml.parse(body) if body else None
        except webdav_xml.XmlFault as error:
            raise Refusal(400, "The body is not XML that this server takes.", str(error)) from error

        def lock() -> Response:
            with store.transaction() as transaction:
                if wish is None:
                    refreshed = self._locks.refresh(transaction, claim, request, path)
                    return lock_answer(refreshed, share.href, status=200, is_new=False)
                claim.check_if(transaction, path, share.etag)
                is_new = share.seen(path) is None and share.files.status(path) is None if path else False
                if is_new:
                    share.check_changeable(path)
                    if request.path.endswith("/"):
                        raise Refusal(409, "There is no such folder.")
                    claim.permits(transaction, path, share.href, member=True)
                taken = self._locks.take(transaction, claim, request, path, wish, share.href)
                if is_new:
                    share.files.make_file(path)
                    transaction.forget(path, locks=False)
            return lock_answer(taken, share.href, status=201 if is_new else 200, is_new=True)

        return await share.in_thread(lock)

    async def _unlock(self, exchange: Exchange, claim: Claim, path: bytes, store: Store) -> Response:
        def unlock() -> Response:
            with store.transaction() as transaction:
                self._locks.give_back(transaction, claim, exchange.request, path)
            return Response(204)

        return await self._share.in_thread(unlock)


def _database(settings: WebDavConfig, base: Path, root: Path) -> Path:
    if not settings.state:
        return root / _FOLDER / "state.sqlite"
    # Routes with the same root have the same locks, and other roots others.
    digest = hashlib.blake2b(os.fsencode(os.path.realpath(root)), digest_size=8).hexdigest()
    return base / settings.state / f"{digest}.sqlite"


def _faults(settings: WebDavConfig, base: Path) -> list[str]:
    as_files = DirectoryListingConfig(root=settings.root, index=settings.index)
    if is_pattern(settings.root):
        return [f"root {settings.root!r}: a share has one folder; {{}} is not for it"]
    faults = list(check_files(as_files, base))
    root = base / settings.root
    if not faults and settings.writable and not os.access(root, os.W_OK):
        faults.append(f"root {str(root)!r} cannot be written by this user; change that, or set writable = false")
    if settings.state and not settings.writable:
        faults.append("state is of no use: a share that is not writable has neither locks nor properties")
    elif settings.state:
        state = base / settings.state
        if not state.is_dir():
            faults.append(f"state {str(state)!r} is not a directory; make it, for the user of the workers alone")
        elif state.resolve().is_relative_to(root.resolve()):
            faults.append(f"state {str(state)!r} lies below the root, where clients would see it; name another folder")
    if settings.lock_seconds > settings.maximum_lock_seconds:
        faults.append("lock_seconds is more than maximum_lock_seconds")
    if settings.locks_each > settings.locks:
        faults.append("locks_each is more than locks")
    return faults


def check(settings: WebDavConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return _faults(settings, base)


def build(settings: WebDavConfig, context: BuildContext) -> Handler:
    """The handler for one route.

    Errors: ConfigError for what `check` reports.
    """
    faults = _faults(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    return WebDav(settings, context.base / settings.root, context).handle


FEATURE = Feature(name="webdav", kind="handler", config_class=WebDavConfig, build=build, check=check)
