"""Files, and a list of a directory's files where it has no index file: HTML for people, JSON by Accept.

It does everything that `static_file` does and takes the same settings; naming it instead of `static_file` or `root` is
what switches lists on. The directory is read by a thread and sent piece by piece, so that a hundred thousand entries
hold nobody up. What a request could not get is not listed: see files/directory_entries.
"""

from __future__ import annotations

import errno
import os
import re
from itertools import islice
from stat import S_ISDIR
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl

import msgspec

from securelight.files.directory_entries import Entry, SortKey, Visible, in_order
from securelight.handlers import listing_page
from securelight.handlers.static_file import StaticFileConfig, StaticFiles, check as check_files
from securelight.model.body import PUSHED_BODY, AsyncBody
from securelight.model.errors import BodyAborted, ConfigError, Refusal
from securelight.model.request import Facts
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from securelight.model.request import Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler

_PIECE_ENTRIES = 512
_PIECE_CHARACTERS = 65_536
_READ_METHODS = frozenset({"GET", "HEAD"})
_SORT_KEYS: tuple[SortKey, ...] = ("name", "size", "time")
_ACCEPT_MEMBERS = 32
_QUERY_BYTES = 256
_ACCEPT = re.compile(rb"[ \t]*([^\s;,]+)[ \t]*(?:;[ \t]*[qQ]=([01](?:\.[0-9]{0,3})?))?[^,]*")
_FILE_NAME = re.compile(r"(?!\.{1,2}\Z)[^/\0]{1,255}")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_VARY = (b"vary", b"accept")
_NO_CACHE = (b"cache-control", b"no-cache")


class DirectoryListingConfig(StaticFileConfig, frozen=True, forbid_unknown_fields=True):
    """`directory_listing`: files below a directory, and lists of what is there."""

    hide: tuple[str, ...] = ()
    """Patterns of names that are not listed, such as `*~`. They are served all the same to whoever knows them."""
    header: tuple[str, ...] = ("HEADER.txt",)
    """Shown above the list: the first of these files that the directory has. `.html` files are put into the page as
    they are, all others as text; so name one only where nobody else may write."""
    readme: tuple[str, ...] = ("README.txt", "README.md", "README")
    """The same, below the list."""
    text_bytes: Annotated[int, msgspec.Meta(ge=0, le=1_048_576)] = 65_536
    """The longest header or readme that is shown."""
    maximum_entries: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    """How many entries of a directory are read and shown; each takes about 300 bytes while its list is sent."""
    concurrent: Annotated[int, msgspec.Meta(ge=1)] = 4
    """Lists that each worker sends at a time; 503 for more."""
    sort: SortKey = "name"
    """The order, where the client asks for no other: by name, size or time of change."""


class _Wanted:
    """What a request wants of a list.

    Attributes:
        path: of the directory, as in the address bar, decoded.
        relative: its path below the root.
        depth: how many segments that has.
        by, descending: the order.
        json: rather than HTML.
        allows: whether the client could get an entry, as far as stages of the route say; None if they say nothing.
    """

    __slots__ = ("allows", "by", "depth", "descending", "json", "path", "relative")

    def __init__(self, request: Request, relative: bytes, default: SortKey) -> None:
        self.path = request.path.encode("utf-8", "surrogateescape")
        self.relative = relative
        self.depth = 0 if relative == b"." else relative.count(b"/") + 1
        self.by = default
        asked = dict(parse_qsl(request.query.decode("latin-1"))) if len(request.query) <= _QUERY_BYTES else {}
        for key in _SORT_KEYS:
            if asked.get("sort") == key:
                self.by = key
        self.descending = asked.get("order") == "desc"
        self.json = _prefers_json(request.headers.get(b"accept"))
        self.allows: Callable[[Entry], bool] | None = None


def _prefers_json(accept: bytes | None) -> bool:
    """Whether the Accept field (RFC 9110, section 12.5.1) likes application/json better than text/html."""
    weights: dict[bytes, float] = {}
    for member in (accept or b"").split(b",", _ACCEPT_MEMBERS)[:_ACCEPT_MEMBERS]:
        match = _ACCEPT.fullmatch(member)
        if match is not None:
            weights[match[1].lower()] = 1.0 if match[2] is None else float(match[2])
    anything = weights.get(b"*/*", 0.0)
    json = weights.get(b"application/json", weights.get(b"application/*", anything))
    return json > weights.get(b"text/html", weights.get(b"text/*", anything))


class DirectoryListing(StaticFiles):
    """The handler of one route."""

    __slots__ = ("_guards", "_style", "_visible", "in_thread", "places", "settings")

    def __init__(self, settings: DirectoryListingConfig, root: Path, context: BuildContext) -> None:
        super().__init__(settings, root, context)
        self.settings = settings
        self.in_thread = context.in_thread
        self.places = settings.concurrent
        self._guards = context.guards
        self._visible = Visible(
            self._root, dot_files=settings.dot_files, hide=settings.hide, siblings=settings.precompressed
        )
        self._style = Response(
            200,
            (
                (b"content-type", b"text/css; charset=utf-8"),
                (b"cache-control", b"public, max-age=31536000, immutable"),
                _NOSNIFF,
            ),
            listing_page.STYLE,
            shared=True,
        )

    def handle(self, request: Request, facts: Facts) -> Response | Deferred:
        """As StaticFiles; the style of lists is at a query of every directory.

        Errors: as StaticFiles, and Refusal 503.
        """
        if request.query == listing_page.STYLE_QUERY and request.path.endswith("/") and request.method in _READ_METHODS:
            return self._style
        answer = super().handle(request, facts)
        if not self._guards or not request.path.endswith("/"):
            return answer
        if not isinstance(answer, Deferred):
            return self._guarded(answer, request, facts)
        run = answer.run

        async def guarded(exchange: Exchange) -> Any:
            made = await run(exchange)
            return self._guarded(made, request, facts) if isinstance(made, Response) else made

        return Deferred(guarded)

    def _guarded(self, answer: Response, request: Request, facts: Facts) -> Response:
        """The list `answer`, without what the client could not get; any other answer as it is."""
        if isinstance(answer.body, ListBody):
            guards = tuple(self._guards)
            client = Facts(facts.client_address)  # conditions write their captures into it, in a thread
            client.user, client.certificate = facts.user, facts.certificate

            def allows(entry: Entry) -> bool:
                path = request.path + os.fsdecode(entry.name) + ("/" if entry.is_directory else "")
                asked = request.changed(path=path)
                try:
                    return all(guard(asked, client) for guard in guards)
                except Refusal:
                    return False

            answer.body.wanted.allows = allows
        return answer

    def _resolve(self, request: Request, relative: bytes, known: Any, keep_bytes: int, *, may_block: bool) -> Any:
        try:
            return super()._resolve(request, relative, known, keep_bytes, may_block=may_block)
        except FileNotFoundError:
            if not request.path.endswith("/"):
                raise
        descriptor, status = self._root.open(relative)
        if not S_ISDIR(status.st_mode):
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "a file, not a directory")
        body = ListBody(self, _Wanted(request, relative, self.settings.sort), descriptor)
        kind = b"application/json" if body.wanted.json else b"text/html; charset=utf-8"
        fields = ((b"content-type", kind), _VARY, _NO_CACHE, _NOSNIFF, listing_page.POLICY)
        if request.method == "HEAD":
            return Response(200, fields, PUSHED_BODY)
        if self.places <= 0:
            raise Refusal(503, "Too many lists are being made.", fields=((b"retry-after", b"1"),))
        return Response(200, fields, body)

    def pieces(self, wanted: _Wanted, descriptor: int) -> Iterator[str]:
        """The list, piece by piece; every step blocks.

        Errors: OSError.
        """
        settings = self.settings
        entries, cut = self._visible.read(descriptor, wanted.relative, settings.maximum_entries)
        if wanted.allows is not None:
            entries = list(filter(wanted.allows, entries))
        ordered = in_order(entries, wanted.by, descending=wanted.descending)
        if wanted.json:
            yield from self._json(ordered)
            return
        yield listing_page.head(
            wanted.path,
            wanted.depth,
            wanted.by,
            descending=wanted.descending,
            above=self._text(wanted, settings.header),
        )
        while piece := list(islice(ordered, _PIECE_ENTRIES)):
            yield listing_page.rows(piece)
        directories = sum(entry.is_directory for entry in entries)
        yield listing_page.tail(
            directories,
            len(entries) - directories,
            sum(entry.size for entry in entries),
            cut=cut,
            below=self._text(wanted, settings.readme),
        )

    def _json(self, ordered: Iterator[Entry]) -> Iterator[str]:
        yield "["
        first = True
        while piece := list(islice(ordered, _PIECE_ENTRIES)):
            yield "".join(listing_page.json_rows(piece, first=first))
            first = False
        yield "\n]\n"

    def _text(self, wanted: _Wanted, names: Sequence[str]) -> str:
        """The first of the files `names` that the directory has and the client could get, as HTML."""
        before = b"" if wanted.relative == b"." else wanted.relative + b"/"
        for name in names:
            if wanted.allows is not None and not wanted.allows(Entry(os.fsencode(name), False, 0, 0)):
                continue
            try:
                descriptor, status = self._root.open(before + os.fsencode(name))
            except OSError:
                continue
            try:
                content = None if S_ISDIR(status.st_mode) else os.pread(descriptor, self.settings.text_bytes, 0)
            finally:
                os.close(descriptor)
            if content is None:
                continue
            return listing_page.text_block(content, is_html=name.lower().endswith((".html", ".htm")))
        return ""


class ListBody(AsyncBody):
    """One list on its way; owns the descriptor of its directory."""

    def __init__(self, listing: DirectoryListing, wanted: _Wanted, descriptor: int) -> None:
        self.wanted = wanted
        self._listing = listing
        self._descriptor = descriptor

    async def chunks(self) -> AsyncIterator[bytes]:
        """The list, a few hundred entries at a time.

        Errors: BodyAborted if the directory cannot be read.
        """
        listing = self._listing
        listing.places -= 1
        try:
            pieces = listing.pieces(self.wanted, self._descriptor)

            def together() -> str:
                # A short list is one piece: each costs the way to a thread and back.
                text = ""
                for piece in pieces:
                    text += piece
                    if len(text) > _PIECE_CHARACTERS:
                        break
                return text

            while text := await listing.in_thread(together):
                yield text.encode("utf-8", "replace")
        except OSError as error:
            raise BodyAborted(f"the directory cannot be read: {error.strerror}") from error
        finally:
            listing.places += 1
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self._close()  # nobody may have asked for the chunks


def _faults(settings: DirectoryListingConfig) -> list[str]:
    faults = []
    for key in ("header", "readme"):
        names: tuple[str, ...] = getattr(settings, key)
        faults += [f"{key} {name!r} is not a file name" for name in names if not _FILE_NAME.fullmatch(name)]
    faults += [f"hide {pattern!r}: a name has no slash; write the pattern of one" for pattern in settings.hide
               if not pattern or "/" in pattern]  # fmt: skip
    return faults


def check(settings: DirectoryListingConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return [*check_files(settings, base), *_faults(settings)]


def build(settings: DirectoryListingConfig, context: BuildContext) -> Handler:
    """The handler for one route.

    Errors: ConfigError for what `check` reports.
    """
    faults = [*check_files(settings, context.base), *_faults(settings)]
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    return DirectoryListing(settings, context.base / settings.root, context).handle


FEATURE = Feature(
    name="directory_listing", kind="handler", config_class=DirectoryListingConfig, build=build, check=check
)
