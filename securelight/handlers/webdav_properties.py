"""PROPFIND and PROPPATCH (RFC 4918, sections 9.1, 9.2 and 15): what is known of files and folders.

A folder is read and answered piece by piece, so that a hundred thousand entries take no memory, and none is left out:
clients that synchronise would take what is missing for removed. Depth infinity is refused (propfind-finite-depth).
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from securelight.files.mime_types import content_type
from securelight.handlers import webdav_xml
from securelight.handlers.webdav_locks import SUPPORTED, discovery
from securelight.handlers.webdav_share import Share, etag_of
from securelight.handlers.webdav_store import Lock, Transaction
from securelight.handlers.webdav_xml import DAV, LANGUAGE, Element, Name
from securelight.model.body import AsyncBody
from securelight.model.dates import http_date
from securelight.model.errors import BodyAborted, Refusal
from securelight.model.response import reason_phrase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

PROPERTY_CHARACTERS: Final = 65_536
"""All dead properties of one file together, as XML."""
_BATCH: Final = 200
_PIECE_CHARACTERS: Final = 65_536
_QUOTA: Final = (DAV, "quota-available-bytes")


class Found(NamedTuple):
    """A file or folder: its path below the root, and its state."""

    path: bytes
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.status.st_mode)


class Wish(NamedTuple):
    """What a PROPFIND asks for: `names` alone, or values; of all there are, or of those in `wanted`."""

    names_only: bool = False
    wanted: tuple[Name, ...] | None = None


_LIVE: Final[dict[str, Callable[[Found], str | None]]] = {
    "creationdate": lambda found: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.status.st_mtime)),
    "getcontentlength": lambda found: None if found.is_folder else str(found.status.st_size),
    "getcontenttype": lambda found: None if found.is_folder else content_type(found.path).decode(),
    "getetag": lambda found: None if found.is_folder else webdav_xml.text(etag_of(found.status).decode()),
    "getlastmodified": lambda found: http_date(found.status.st_mtime).decode(),
    "resourcetype": lambda found: "<collection/>" if found.is_folder else "",
}
_LOCKING: Final = ("lockdiscovery", "supportedlock")
_PROTECTED: Final = frozenset((DAV, name) for name in (*_LIVE, *_LOCKING, "quota-available-bytes", "quota-used-bytes"))


def parse_wish(body: bytes) -> Wish:
    """What the body of a PROPFIND asks for.

    Errors: Refusal 400.
    """
    if not body:
        return Wish()
    root = _parsed(body)
    kinds = [item for item in root.elements() if item.name in ((DAV, "allprop"), (DAV, "propname"), (DAV, "prop"))]
    if root.name != (DAV, "propfind") or len(kinds) != 1:
        raise Refusal(400, "The body does not say what properties are wanted.")
    [kind] = kinds
    if kind.name[1] == "propname":
        return Wish(names_only=True)
    if kind.name[1] == "allprop":
        return Wish()
    return Wish(wanted=tuple(dict.fromkeys(item.name for item in kind.elements())))


def _parsed(body: bytes) -> Element:
    try:
        return webdav_xml.parse(body)
    except webdav_xml.XmlFault as error:
        raise Refusal(400, "The body is not XML that this server takes.", str(error)) from error


class Reporter:
    """Answers PROPFIND.

    Args:
        share: which.
        free_bytes: how much room there is for files.
    """

    def __init__(self, share: Share, free_bytes: Callable[[], int]) -> None:
        self._share = share
        self._free_bytes = free_bytes
        self._has_locks = share.store is not None

    def pieces(self, top: Found, wish: Wish, *, members: bool) -> Iterator[str]:
        """The answer, piece by piece; every step blocks.

        Errors: OSError, sqlite3.Error.
        """
        yield webdav_xml.head("multistatus")
        yield from self._responses([top], wish)
        if members and top.is_folder:
            batch: list[Found] = []
            for found in self._members(top.path):
                batch.append(found)
                if len(batch) == _BATCH:
                    yield from self._responses(batch, wish)
                    batch = []
            if batch:
                yield from self._responses(batch, wish)
        yield "</multistatus>\n"

    def _members(self, path: bytes) -> Iterator[Found]:
        share = self._share
        descriptor, _ = share.root.open(path or b".")
        try:
            before = path + b"/" if path else b""
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if share.is_hidden(name) or share.is_elsewhere(before + name):
                        continue
                    try:
                        if entry.is_symlink():
                            opened, status = share.root.open(before + name)
                            os.close(opened)
                        else:
                            status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue  # gone meanwhile, or a link that leads where no request may
                    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                        yield Found(before + name, status)
        finally:
            os.close(descriptor)

    def _responses(self, batch: Sequence[Found], wish: Wish) -> Iterator[str]:
        dead: dict[bytes, dict[Name, str]] = {}
        locks: dict[bytes, list[Lock]] = {}
        store = self._share.store
        if store is not None:
            with store.look() as known:
                dead = known.properties([found.path for found in batch])
                if not wish.names_only and (wish.wanted is None or (DAV, "lockdiscovery") in wish.wanted):
                    locks = {found.path: known.covering(found.path) for found in batch}
        for found in batch:
            yield self._response(found, wish, dead.get(found.path, {}), locks.get(found.path, ()))

    def _response(self, found: Found, wish: Wish, dead: dict[Name, str], locks: Sequence[Lock]) -> str:
        there: list[str] = []
        missing: list[str] = []
        names = wish.wanted
        if names is None:
            locking = _LOCKING if self._has_locks else ()
            names = (*((DAV, name) for name in (*_LIVE, *locking) if (DAV, name) not in dead), *dead)
        for name in names:
            value = dead.get(name)
            if value is None:
                inner = self._live(found, name, locks)
                if inner is None:
                    if wish.wanted is not None:
                        missing.append(webdav_xml.empty(name))
                    continue
                value = f"<{name[1]}>{inner}</{name[1]}>" if inner else f"<{name[1]}/>"
            there.append(webdav_xml.empty(name) if wish.names_only else value)
        href = webdav_xml.text(self._share.href(found.path, is_folder=found.is_folder))
        parts = [propstat(there, 200)] if there or not missing else []
        if missing:
            parts.append(propstat(missing, 404))
        return f"<response><href>{href}</href>{''.join(parts)}</response>\n"

    def _live(self, found: Found, name: Name, locks: Sequence[Lock]) -> str | None:
        if name[0] != DAV:
            return None
        live = _LIVE.get(name[1])
        if live is not None:
            return live(found)
        if self._has_locks and name[1] == "supportedlock":
            return SUPPORTED
        if self._has_locks and name[1] == "lockdiscovery":
            return discovery(locks, self._share.href)
        if name == _QUOTA and found.is_folder:
            return str(self._free_bytes())
        return None


def propstat(properties: Sequence[str], status: int) -> str:
    """Properties that have the same status."""
    phrase = reason_phrase(status)
    return (
        f"<propstat><prop>{''.join(properties)}</prop><status>HTTP/1.1 {status} {phrase}</status></propstat>"
    )  # fmt: skip


class ReportBody(AsyncBody):
    """A PROPFIND of a folder on its way."""

    def __init__(self, share: Share, pieces: Iterator[str]) -> None:
        self._share = share
        self._pieces = pieces

    async def chunks(self) -> AsyncIterator[bytes]:
        """The answer.

        Errors: BodyAborted if the folder cannot be read to its end.
        """

        def together() -> bytes:
            text = ""
            for piece in self._pieces:
                text += piece
                if len(text) > _PIECE_CHARACTERS:
                    break
            return text.encode()

        try:
            while data := await self._share.in_thread(together):
                yield data
        except (OSError, Refusal, sqlite3.Error) as error:
            raise BodyAborted(f"the folder cannot be read: {error}") from error
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()


def parse_changes(body: bytes) -> list[tuple[Name, str | None]]:
    """What a PROPPATCH changes, in order: (name, its XML, or None to remove it).

    Errors: Refusal 400.
    """
    root = _parsed(body)
    if root.name != (DAV, "propertyupdate"):
        raise Refusal(400, "The body does not say what is to be changed.")
    changes: list[tuple[Name, str | None]] = []
    for instruction in root.elements():
        if instruction.name not in ((DAV, "set"), (DAV, "remove")):
            continue
        prop = instruction.find("prop")
        if prop is None:
            raise Refusal(400, "The body does not say what is to be changed.")
        for item in prop.elements():
            if instruction.name[1] == "remove":
                changes.append((item.name, None))
                continue
            for outer in (prop, instruction, root):  # xml:lang belongs to the property (section 4.3)
                if LANGUAGE not in item.attributes and LANGUAGE in outer.attributes:
                    item.attributes[LANGUAGE] = outer.attributes[LANGUAGE]
            changes.append((item.name, webdav_xml.write(item)))
    if not changes:
        raise Refusal(400, "The body changes nothing.")
    return changes


def change_properties(transaction: Transaction, path: bytes, changes: Sequence[tuple[Name, str | None]]) -> str:
    """Make all `changes`, or none; returns the propstat elements of the answer."""
    outcome = {name: 403 for name, _ in changes if name in _PROTECTED}
    if not outcome:
        after = dict(transaction.properties([path]).get(path, {}))
        for name, value in changes:
            if value is None:
                after.pop(name, None)
            else:
                after[name] = value
        if sum(len(value) for value in after.values()) > PROPERTY_CHARACTERS:
            outcome = {name: 507 for name, value in changes if value is not None}
    if not outcome:
        for name, value in changes:
            if value is None:
                transaction.remove_property(path, name)
            else:
                transaction.set_property(path, name, value)
    by_status: dict[int, list[str]] = {}
    for name in dict.fromkeys(name for name, _ in changes):
        by_status.setdefault(outcome.get(name, 424 if outcome else 200), []).append(webdav_xml.empty(name))
    return "".join(propstat(names, status) for status, names in by_status.items())
