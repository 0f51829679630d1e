"""Files as `static_file` serves them, and pages that are put together for each request: server-side includes.

A file whose name ends with one of `suffixes` is a page: what stands in it between `<!--#` and `-->` is done when it is
asked for (include, echo, set, config, fsize, flastmod, printenv, if). `exec` is never done, and nothing is included
but files below the root that a request could get too, and that no other route has rules for.

A page has neither ETag nor Last-Modified, and no ranges: it may be another one for the next request. It is put together
at once if all that it needs is in memory, and by a thread if it has to be waited for or is large.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from stat import S_ISDIR
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from securelight.files.mime_types import content_type
from securelight.files.safe_path import relative_path
from securelight.files.stored_file import Identity, identity_of, store
from securelight.handlers.includes_expression import PageFault
from securelight.handlers.includes_page import Node, read_page
from securelight.handlers.includes_run import Bounds, Piece, Run, TooMuch
from securelight.handlers.static_file import StaticFileConfig, StaticFiles, check as check_files
from securelight.handlers.virtual_roots import is_pattern
from securelight.model.body import FileSlice, Parts
from securelight.model.errors import ConfigError, Refusal
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler

_PAGES_KEPT: Final = 64
"""Pages that were read lately and are still the same, each at most `page_bytes`."""
_READ_AT_ONCE_BYTES: Final = 32_768
"""A longer page is read by a thread: that takes milliseconds."""
_INCLUDED_AT_ONCE: Final = 8
"""Of more files, a thread takes care."""
_HELD_BYTES: Final = 65_536
"""A larger file that is included stays on the disk until it is sent."""
_LARGE_FILES: Final = 16
"""Of those, in one answer: each is open until it is sent."""
_FAULTS_TOLD: Final = 256
_FAULT_CHARACTERS: Final = 300
_READ_METHODS: Final = frozenset({"GET", "HEAD"})
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")


class ServerSideIncludesConfig(StaticFileConfig, frozen=True, forbid_unknown_fields=True):
    """`server_side_includes`: files below a directory, and pages with directives in them."""

    index: tuple[str, ...] = ("index.html", "index.shtml")
    """What a directory is answered with: the first of these files that it has."""
    suffixes: tuple[str, ...] = (".shtml",)
    """What the names of pages end with."""
    page_bytes: Annotated[int, msgspec.Meta(ge=1, le=262_144)] = 131_072
    """The longest page; 500 for a longer one. Files that it includes and that are no pages may be longer."""
    depth: Annotated[int, msgspec.Meta(ge=0, le=16)] = 8
    """How deep pages may include each other."""
    includes: Annotated[int, msgspec.Meta(ge=0, le=1_024)] = 128
    """How many files one answer may include; 500."""
    directives: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 4_096
    """How many directives are done for one answer; 500."""
    output_bytes: Annotated[int, msgspec.Meta(ge=1)] = 16_777_216
    """How long an answer may become; 500."""


class _Finder:
    """Finds what one page includes; implements includes_run.Files."""

    def __init__(self, pages: Pages, *, may_block: bool) -> None:
        self._pages = pages
        self._may_block = may_block
        self._found = 0
        self._large = 0

    def load(self, path: str) -> Piece:
        """See includes_run.Files."""
        descriptor, status, relative = self._open(path)
        piece = self._pages.piece(path, relative, descriptor, status, may_block=self._may_block)
        if isinstance(piece.content, tuple):
            self._large += 1
            if self._large > _LARGE_FILES:
                piece.content[0].release()
                raise PageFault(f"more than {_LARGE_FILES} files above {_HELD_BYTES} bytes are included")
        return piece

    def facts(self, path: str) -> tuple[int, float]:
        """See includes_run.Files."""
        descriptor, status, _ = self._open(path)
        os.close(descriptor)
        return status.st_size, status.st_mtime

    def _open(self, path: str) -> tuple[int, os.stat_result, bytes]:
        self._found += 1
        if self._found > _INCLUDED_AT_ONCE and not self._may_block:
            raise BlockingIOError
        return self._pages.open(path, may_block=self._may_block)


class Pages(StaticFiles):
    """The handler of one route."""

    __slots__ = ("_bounds", "_events", "_inner", "_kept", "_page_bytes", "_suffixes", "_told")

    def __init__(self, settings: ServerSideIncludesConfig, root: Path, context: BuildContext) -> None:
        super().__init__(settings, root, context)
        self._bounds = Bounds(settings.depth, settings.includes, settings.directives, settings.output_bytes)
        self._page_bytes = settings.page_bytes
        self._suffixes = settings.suffixes
        self._inner = context.inner_routes
        self._events = context.events
        self._kept: dict[bytes, tuple[Identity, list[Node]]] = {}
        self._told: set[str] = set()

    def handle(self, request: Request, facts: Facts) -> Response | Deferred:
        """As StaticFiles, with pages.

        Errors: Refusal, as StaticFiles; 500 for a page that goes over its bounds.
        """
        if not request.path.endswith((*self._suffixes, "/")) or request.method not in _READ_METHODS:
            return super().handle(request, facts)
        with _as_refusals(request.path):
            source = self._page_of(request.path)
            if source is None:
                return super().handle(request, facts)
            try:
                return self._make(request, facts, source, may_block=False)
            except BlockingIOError:
                return Deferred(lambda exchange: self._make_in_thread(request, facts, source, exchange))

    async def _make_in_thread(self, request: Request, facts: Facts, source: bytes, exchange: Exchange) -> Response:
        with _as_refusals(request.path):
            return await exchange.in_thread(lambda: self._make(request, facts, source, may_block=True))

    def _page_of(self, path: str) -> bytes | None:
        """The page below the root that `path` means, if it is one.

        Errors: Refusal 404, OSError.
        """
        relative = self._relative(path)
        if relative is None:
            raise Refusal(404, "", f"{path!r} is refused")
        if not path.endswith("/"):
            return relative if self._is_file(relative) else None
        before = b"" if relative == b"." else relative + b"/"
        for name in self._settings.index:
            if self._is_file(before + os.fsencode(name)):
                return before + os.fsencode(name) if name.endswith(self._suffixes) else None
        return None

    def _is_file(self, relative: bytes) -> bool:
        try:
            descriptor, status = self._root.open(relative)
        except FileNotFoundError:
            return False
        os.close(descriptor)
        return not S_ISDIR(status.st_mode)

    def _relative(self, path: str) -> bytes | None:
        return relative_path(path[len(self._prefix) :], dot_files=self._settings.dot_files, well_known=not self._prefix)

    def _make(self, request: Request, facts: Facts, source: bytes, *, may_block: bool) -> Response:
        run = Run(request, facts, _Finder(self, may_block=may_block), self._bounds)
        path = f"{self._prefix}/{source.decode('utf-8', 'surrogateescape')}"
        fields = ((b"content-type", content_type(source)), _NOSNIFF, *self._varies)
        try:
            descriptor, status = self._root.open(source)
            run.page(self.piece(path, source, descriptor, status, may_block=may_block))
            response = Response(200, fields, Parts(tuple(run.parts)))
        except (TooMuch, PageFault) as error:
            _release(run)
            raise Refusal(500, "The page cannot be put together.", f"{path!r}: {error}") from error
        except BaseException:
            _release(run)
            raise
        self._tell(run.faults)
        if request.method == "HEAD":
            response.release()
            return Response(200, fields, content_length=response.content_length)
        if not any(isinstance(part, FileSlice) for part in run.parts):
            return Response(200, fields, b"".join(part for part in run.parts if isinstance(part, bytes)))
        return response

    def _tell(self, faults: Sequence[str]) -> None:
        """Each fault once, and not without end: what is in them may come from requests."""
        for fault in faults:
            if fault not in self._told and len(self._told) < _FAULTS_TOLD:
                self._told.add(fault)
                self._events.warning("page_fault", problem=repr(fault)[:_FAULT_CHARACTERS])

    def open(self, path: str, *, may_block: bool) -> tuple[int, os.stat_result, bytes]:
        """(descriptor, status, path below the root) of the file that is included as `path`.

        Errors: PageFault, BlockingIOError.
        """
        if not path.startswith(f"{self._prefix}/") or "//" in path or path.endswith("/"):
            raise PageFault(f"{path!r} is no file below the route of the page")
        if any((path + "/").startswith(inner + "/") for inner in self._inner):
            raise PageFault(f"{path!r}: another route has rules for it")
        relative = self._relative(path)
        if relative is None:
            raise PageFault(f"{path!r} is refused")
        try:
            descriptor, status = self._root.open(relative)
        except (FileNotFoundError, PermissionError) as error:
            raise PageFault(f"{path!r}: {error.strerror}") from error
        except BlockingIOError as error:
            if may_block:
                raise PageFault(f"{path!r}: {error.strerror}") from error
            raise
        if S_ISDIR(status.st_mode):
            os.close(descriptor)
            raise PageFault(f"{path!r} is a folder")
        return descriptor, status, relative

    def piece(self, path: str, relative: bytes, descriptor: int, status: os.stat_result, *, may_block: bool) -> Piece:
        """What the file at `path` holds.

        Args:
            descriptor: of it; closed here.

        Errors: PageFault, BlockingIOError, OSError.
        """
        modified = status.st_mtime
        if not relative.endswith(tuple(map(os.fsencode, self._suffixes))):
            stored = store(descriptor, status, _HELD_BYTES, may_block=may_block)
            if stored.content is not None:
                return Piece(path, modified, stored.content)
            assert stored.file is not None
            return Piece(path, modified, (stored.file, stored.size))
        known = self._kept.get(relative)
        if known is not None and known[0] == identity_of(status):
            os.close(descriptor)
            return Piece(path, modified, known[1])
        if status.st_size > self._page_bytes:
            os.close(descriptor)
            raise PageFault(f"{path!r} is longer than {self._page_bytes} bytes")
        if status.st_size > _READ_AT_ONCE_BYTES and not may_block:
            os.close(descriptor)
            raise BlockingIOError
        stored = store(descriptor, status, self._page_bytes, may_block=may_block)
        if stored.content is None:
            if stored.file is not None:
                stored.file.release()
            raise PageFault(f"{path!r} is being changed")
        nodes = read_page(stored.content.decode("utf-8", "surrogateescape"))
        if stored.identity is not None:
            if len(self._kept) >= _PAGES_KEPT:
                self._kept.clear()
            self._kept[relative] = stored.identity, nodes
        return Piece(path, modified, nodes)


def _release(run: Run) -> None:
    for part in run.parts:
        if isinstance(part, FileSlice):
            part.file.release()


@contextmanager
def _as_refusals(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Refusal(404, "", f"{path!r}: {error.strerror}") from error
    except PermissionError as error:
        raise Refusal(403, "", f"{path!r}: {error.strerror}") from error
    except OSError as error:
        raise Refusal(503, "", f"{path!r}: {error.strerror}", ((b"retry-after", b"1"),)) from error


def _faults(settings: ServerSideIncludesConfig) -> list[str]:
    faults = []
    if is_pattern(settings.root) or settings.prefix:
        faults.append("root and prefix depend on nothing here: pages of many folders need a route each")
    if not settings.suffixes:
        faults.append("suffixes is empty; use static_file where there are no pages")
    faults += [
        f"suffixes {suffix!r} is not the end of a name, such as '.shtml'"
        for suffix in settings.suffixes
        if not suffix or "/" in suffix or "\0" in suffix
    ]
    return faults


def check(settings: ServerSideIncludesConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return _faults(settings) or check_files(settings, base)


def build(settings: ServerSideIncludesConfig, context: BuildContext) -> Handler:
    """The handler for one route.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    return Pages(settings, context.base / settings.root, context).handle


FEATURE = Feature(
    name="server_side_includes", kind="handler", config_class=ServerSideIncludesConfig, build=build, check=check
)
