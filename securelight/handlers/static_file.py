"""Serves files below a directory: GET and HEAD, validators, ranges, precompressed siblings (RFC 9110).

The route's path stands for the root: below the route `/downloads`, `/downloads/a.txt` is `a.txt` in the root. What may
be opened is decided by files/safe_path; what does not exist and what is refused are the same 404. A path is looked up
in the file system at most once a second, everything in between is answered from the content cache. A file that is not
in the page cache is read by a thread.

Precompressed siblings: next to `style.css`, a `style.css.br`, `.zst` or `.gz` is sent to clients that accept it, unless
it is older than the original or not smaller. Where there is none, Accept-Encoding is not looked at.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from stat import S_ISDIR
from time import monotonic
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote_from_bytes

import msgspec

from securelight.files.accept_encoding import IDENTITY, choose_coding
from securelight.files.content_cache import REVALIDATE_SECONDS, CacheEntry
from securelight.files.mime_types import content_type
from securelight.files.preconditions import CONDITIONAL_NAMES
from securelight.files.representation import REPRESENTATION_OVERHEAD_BYTES, Representation
from securelight.files.safe_path import DocumentRoot, relative_path
from securelight.files.stored_file import StoredFile, identity_of, store
from securelight.handlers.virtual_roots import VirtualRoots, is_pattern, pattern_faults
from securelight.model.errors import ConfigError, Refusal
from securelight.model.field_syntax import is_field_value
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler

_READ_METHODS = frozenset({"GET", "HEAD"})
_ALLOW = (b"allow", b"GET, HEAD, OPTIONS")
_VARY = (b"vary", b"accept-encoding")
_CODINGS = ((b".br", b"br"), (b".zst", b"zstd"), (b".gz", b"gzip"))
_NEGOTIATED_NAMES = CONDITIONAL_NAMES | {b"accept-encoding"}
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_THREAD_ATTEMPTS = 3
_INDEX_NAME = re.compile(r"(?!\.{1,2}\Z)[^/\0]{1,255}")


class StaticFileConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`static_file`: files below a directory."""

    root: str
    """The directory, relative to the file that this stands in; `/srv/{host}` is one for each host."""
    prefix: str = ""
    """What of the path stands for the root, such as `/~{name}` with a capture of the route's condition; by default the
    route's path."""
    index: tuple[str, ...] = ("index.html",)
    """What a directory is answered with: the first of these files that it has."""
    precompressed: bool = True
    """Send `.br`, `.zst` and `.gz` siblings to clients that accept them."""
    follow_symlinks: bool = False
    """Let symbolic links lead out of the root; inside of it they are always followed."""
    dot_files: bool = False
    """Serve names that begin with a dot too; `/.well-known/` is served in any case."""
    cache_control: str = ""
    """The Cache-Control field of all files, such as `max-age=3600`; none if empty."""


class _Resource(CacheEntry):
    """What a path led to: a file, and its precompressed siblings."""

    __slots__ = ("codings", "representations", "simple", "source", "watched")
    impersonal: ClassVar = True

    def __init__(self, source: bytes, stored: dict[bytes, StoredFile], varies: Fields) -> None:
        held_bytes = sum(
            REPRESENTATION_OVERHEAD_BYTES + len(item.content or b"") + 2 * len(source) for item in stored.values()
        )
        files = tuple(item.file for item in stored.values() if item.file is not None)
        super().__init__(held_bytes, files, monotonic() + REVALIDATE_SECONDS)
        self.source = source
        """The file's path below the root; differs from the request's for an index file."""
        self.codings = tuple(sorted(stored, key=lambda coding: stored[coding].size))
        """Smallest first, identity among them."""
        if len(stored) > 1:
            varies = (_VARY, *varies)
        kind = content_type(source)
        self.representations = {
            coding: Representation(item, kind, b"" if coding == IDENTITY else coding, varies)
            for coding, item in stored.items()
        }
        self.watched = _NEGOTIATED_NAMES if len(stored) > 1 else CONDITIONAL_NAMES
        """A request with none of these fields gets `simple`."""
        self.simple = self.representations[IDENTITY].shared

    def is_same(self, source: bytes, found: dict[bytes, tuple[int, os.stat_result]]) -> bool:
        """Whether those files are what this was made of."""
        return (
            source == self.source
            and found.keys() == self.representations.keys()
            and all(
                self.representations[coding].stored.identity == identity_of(status)
                for coding, (_, status) in found.items()
            )
        )

    def answer(self, request: Request, ranges_limit: int) -> Response:
        """The answer to a GET or HEAD.

        Errors: Refusal 406, 412 and 416.
        """
        coding = IDENTITY
        if len(self.codings) > 1:
            preferred = choose_coding(request.headers.get(b"accept-encoding"), self.codings)
            if preferred is None:
                raise Refusal(406, "The client accepts none of the content codings there are.", fields=(_VARY,))
            coding = preferred
        return self.representations[coding].answer(request, ranges_limit)


class StaticFiles:
    """The handler of one route."""

    __slots__ = (
        "_cache", "_keep_bytes", "_keep_popular_bytes", "_options", "_prefix", "_ranges", "_repeatable", "_root",
        "_settings", "_varies", "_view",
    )  # fmt: skip

    def __init__(self, settings: StaticFileConfig, root: Path, context: BuildContext) -> None:
        limits = context.limits
        self._settings = settings
        self._root = DocumentRoot(root, follow_symlinks=settings.follow_symlinks)
        self._prefix = "" if context.route_path == "/" else context.route_path
        self._cache = context.content_cache
        self._view: dict[str, _Resource] = {}
        self._keep_bytes = min(limits.content_cache_file_bytes, limits.content_cache_bytes)
        self._keep_popular_bytes = min(limits.content_cache_popular_file_bytes, limits.content_cache_bytes)
        self._ranges = limits.ranges
        self._repeatable = context.repeatable
        self._varies: Fields = ((b"cache-control", settings.cache_control.encode()),) if settings.cache_control else ()
        self._options = Response(204, (_ALLOW,), shared=True)

    def handle(self, request: Request, facts: Facts) -> Response | Deferred:
        """Answer one request; the hot path ends in the first return.

        Errors: Refusal 403, 404, 405, 406, 412, 416, 500 and 503.
        """
        resource = self._view.get(request.path)
        if resource is not None and monotonic() < resource.fresh_until and request.method in _READ_METHODS:
            resource.used = True
            if self._repeatable:
                facts.basis = resource
            simple = resource.simple
            if simple is not None and request.headers.isdisjoint(resource.watched):
                return simple
            return resource.answer(request, self._ranges)
        return self._look(request, resource)

    def _look(self, request: Request, known: _Resource | None) -> Response | Deferred:
        if request.method == "OPTIONS":
            return self._options
        if request.method not in _READ_METHODS:
            raise Refusal(405, "Files can only be read: use GET or HEAD.", fields=(_ALLOW,))
        if known is not None and known.used and known.files and self._has_room_for(known):
            return Deferred(lambda exchange: self._look_in_thread(request, exchange, self._keep_popular_bytes))
        try:
            found = self._find(request, known, self._keep_bytes, may_block=False)
        except BlockingIOError:
            return Deferred(lambda exchange: self._look_in_thread(request, exchange, self._keep_bytes))
        return self._answered(request, found)

    def _has_room_for(self, known: _Resource) -> bool:
        """Whether the large files behind `known`, which others asked for as well, can be kept without pushing any out.

        Read from memory they cost a fifth less; but a folder of them must not go round and round in the cache.
        """
        sizes = [item.stored.size for item in known.representations.values() if item.stored.file is not None]
        return max(sizes) <= self._keep_popular_bytes and sum(sizes) <= self._cache.free_bytes

    async def _look_in_thread(self, request: Request, exchange: Exchange, keep_bytes: int) -> Response:
        view, path = self._view, request.path

        def find() -> _Resource | Response | None:
            # Many may wait for the same cold file: the first one reads it. What is known is looked at but not used,
            # because the loop may evict it while this thread runs.
            known = view.get(path)
            if known is not None and monotonic() < known.fresh_until:
                return None
            return self._find(request, None, keep_bytes, may_block=True)

        for _ in range(_THREAD_ATTEMPTS):
            try:
                found = await exchange.in_thread(find)
            except BlockingIOError as error:
                raise Refusal(503, "", f"{path!r}: the file is held by a lease or being renamed") from error
            if found is None:
                found = view.get(path)
            if found is not None:
                return self._answered(request, found)
        raise Refusal(503, "", f"{path!r}: evicted from the content cache as fast as it is read")

    def _answered(self, request: Request, found: _Resource | Response) -> Response:
        known = self._view.get(request.path)
        if isinstance(found, Response):
            if known is not None:
                self._cache.drop(known)
            return found
        try:
            return found.answer(request, self._ranges)
        finally:
            if known is not found:
                self._cache.put(self._view, request.path, found)

    def _find(
        self, request: Request, known: _Resource | None, keep_bytes: int, *, may_block: bool
    ) -> _Resource | Response:
        path = request.path
        relative = relative_path(
            path[len(self._prefix) :], dot_files=self._settings.dot_files, well_known=not self._prefix
        )
        if relative is None:
            raise Refusal(404, "", f"{path!r} is refused")
        try:
            return self._resolve(request, relative, known, keep_bytes, may_block=may_block)
        except FileNotFoundError as error:
            if known is not None:
                self._cache.drop(known)
            raise Refusal(404, "", f"{path!r}: {error.strerror}") from error
        except PermissionError as error:
            raise Refusal(403, "", f"{path!r}: {error.strerror}") from error
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise Refusal(500, "", f"{path!r}: {error.strerror}") from error
            if known is None:
                raise Refusal(503, "", f"{path!r}: {error.strerror}", ((b"retry-after", b"1"),)) from error
            known.fresh_until = monotonic() + REVALIDATE_SECONDS
            return known

    def _resolve(
        self, request: Request, relative: bytes, known: _Resource | None, keep_bytes: int, *, may_block: bool
    ) -> _Resource | Response:
        descriptor, status = self._root.open(relative)
        source = relative
        if S_ISDIR(status.st_mode):
            os.close(descriptor)
            if not request.path.endswith("/"):
                return _to_directory(request)
            source, descriptor, status = self._open_index(relative)
        elif request.path.endswith("/"):
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "a file, not a directory")
        found = {IDENTITY: (descriptor, status)}
        stored: dict[bytes, StoredFile] = {}
        try:
            if self._settings.precompressed:
                self._open_siblings(source, found)
            if known is not None and known.is_same(source, found):
                known.fresh_until = monotonic() + REVALIDATE_SECONDS
                return known
            for coding in tuple(found):
                descriptor, status = found.pop(coding)
                stored[coding] = store(descriptor, status, keep_bytes, may_block=may_block)
            resource = _Resource(source, stored, self._varies)
            stored = {}
            return resource
        finally:
            for descriptor, _ in found.values():
                os.close(descriptor)
            for item in stored.values():
                if item.file is not None:
                    item.file.release()

    def _open_index(self, directory: bytes) -> tuple[bytes, int, os.stat_result]:
        for name in self._settings.index:
            source = os.fsencode(name) if directory == b"." else directory + b"/" + os.fsencode(name)
            try:
                descriptor, status = self._root.open(source)
            except FileNotFoundError:
                continue
            if not S_ISDIR(status.st_mode):
                return source, descriptor, status
            os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "the directory has no index file")

    def _open_siblings(self, source: bytes, found: dict[bytes, tuple[int, os.stat_result]]) -> None:
        _, original = found[IDENTITY]
        for suffix, coding in _CODINGS:
            try:
                descriptor, status = self._root.open(source + suffix)
            except (FileNotFoundError, PermissionError):
                continue
            if not S_ISDIR(status.st_mode) and _is_usable(status, original):
                found[coding] = descriptor, status
            else:
                os.close(descriptor)


def _is_usable(sibling: os.stat_result, original: os.stat_result) -> bool:
    """Whether a compressed sibling is worth sending: whole as far as one can see, smaller, and not out of date.

    Some compressors copy the original's time in whole seconds only: that counts as the same time.
    """
    seconds, fraction = divmod(sibling.st_mtime_ns, 1_000_000_000)
    current = sibling.st_mtime_ns >= original.st_mtime_ns or (
        not fraction and seconds == original.st_mtime_ns // 1_000_000_000
    )
    return current and 0 < sibling.st_size < original.st_size


def _to_directory(request: Request) -> Response:
    """The redirect to the same path with a slash. It begins with exactly one slash: `//host` would be another site."""
    path = quote_from_bytes(request.path.encode("utf-8", "surrogateescape").strip(b"/"), safe="/!$&'()*+,;=:@~-._")
    query = b"?" + request.query if request.query else b""
    return Response(308, ((b"location", b"/" + path.encode() + b"/" + query),))


def _faults(settings: StaticFileConfig, base: Path) -> list[str]:
    root = base / settings.root
    faults = pattern_faults(settings.root, settings.prefix, base)
    if not settings.root:
        faults.append("root is empty; name a directory")
    elif is_pattern(settings.root):
        pass
    elif not os.path.exists(root):
        faults.append(f"root {str(root)!r} does not exist")
    elif not os.path.isdir(root):
        faults.append(f"root {str(root)!r} is not a directory")
    faults.extend(f"index {name!r} is not a file name" for name in settings.index if not _INDEX_NAME.fullmatch(name))
    if not is_field_value(settings.cache_control):
        faults.append(f"cache_control {settings.cache_control!r} is not a field value: use visible ASCII")
    return faults


def check(settings: StaticFileConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = _faults(settings, base)
    root = base / settings.root
    if not faults and not is_pattern(settings.root) and not os.access(root, os.R_OK | os.X_OK):
        faults.append(f"root {str(root)!r} cannot be read by this user: it needs permissions r and x")
    return faults


def build(settings: StaticFileConfig, context: BuildContext) -> Handler:
    """The handler for one route.

    Errors: ConfigError for a root that is not a directory, and other faults that `check` reports.
    """
    faults = _faults(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    if is_pattern(settings.root) or settings.prefix:
        own = replace(context)  # this one is changed for the next route

        def make(root: Path, prefix: str) -> Handler:
            return StaticFiles(settings, root, replace(own, route_path=prefix or own.route_path)).handle

        return VirtualRoots(settings.root, settings.prefix, context.base, make).handle
    return StaticFiles(settings, context.base / settings.root, context).handle


FEATURE = Feature(name="static_file", kind="handler", config_class=StaticFileConfig, build=build, check=check)
