"""Kept answers: in the memory of a worker, bounded in bytes, and on the disk, shared by all workers.

On the disk an SQLite database says what there is; each body is a file of its own, written under a temporary name and
renamed, with a digest in the database. Whatever does not agree is dropped and fetched anew: a body whose digest
differs, a database that SQLite calls broken. Everything of `DiskStore` blocks and is called in threads, one at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import msgspec

from securelight.files.cache_rules import Lifetime, variant_of
from securelight.files.representation import REPRESENTATION_OVERHEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.model.headers import Headers
    from securelight.model.response import Response

T = TypeVar("T")

_NONE: frozenset[bytes] = frozenset()
VARIANTS = 16
"""Of one URL; the oldest goes."""
_BUSY_SECONDS = 5.0
_USED_SECONDS = 60.0
"""How exactly the last use is noted."""
_LEFTOVER_SECONDS = 600.0
_ONE = "url = ? AND variant = ?"
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA temp_store = MEMORY;
CREATE TABLE IF NOT EXISTS entry (
    url BLOB NOT NULL, variant BLOB NOT NULL, facts BLOB NOT NULL, file TEXT NOT NULL, digest BLOB NOT NULL,
    bytes INTEGER NOT NULL, used REAL NOT NULL, PRIMARY KEY (url, variant)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_used ON entry (used);
CREATE TABLE IF NOT EXISTS tag (
    name BLOB NOT NULL, url BLOB NOT NULL, variant BLOB NOT NULL, PRIMARY KEY (name, url, variant)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tag_entry ON tag (url, variant);
"""


class Facts(msgspec.Struct, array_like=True):
    """What is kept of an answer beside its body.

    Attributes:
        status, fields: of the answer.
        vary: the request fields that it depends on.
        received: time.time() of its arrival.
        age: in seconds, at its arrival.
        life: how long it may be used.
        tags: what it can be purged by.
    """

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    vary: tuple[bytes, ...]
    received: float
    age: int
    life: Lifetime
    tags: tuple[bytes, ...]


class Entry:
    """One kept answer. Implements model.request.Basis for the response that was last made of it.

    Attributes:
        url, variant: what it is the answer to.
        facts, body: the answer.
        marks: names of any kind under which a MemoryStore drops it.
        response: as it is sent at the moment, until `fresh_until`.
    """

    __slots__ = ("body", "facts", "fresh_until", "marks", "response", "url", "used", "variant")
    impersonal: ClassVar = False  # it may be kept for those without credentials alone

    def __init__(self, url: bytes, variant: bytes, facts: Facts, body: bytes, marks: frozenset[bytes] = _NONE) -> None:
        self.url = url
        self.variant = variant
        self.facts = facts
        self.body = body
        self.marks = marks
        self.response: Response | None = None
        self.fresh_until = 0.0
        self.used = False

    @property
    def cost_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.facts.fields) + len(
            self.url
        ) + REPRESENTATION_OVERHEAD_BYTES  # fmt: skip

    def age(self, now: float) -> int:
        """In seconds, at the time.time() `now`."""
        return self.facts.age + max(0, int(now - self.facts.received))


class MemoryStore:
    """The answers that this worker has at hand; what was used least lately goes."""

    def __init__(self, maximum_bytes: int) -> None:
        self.maximum_bytes = maximum_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[tuple[bytes, bytes], Entry] = OrderedDict()
        self._urls: dict[bytes, dict[bytes, Entry]] = {}
        self._marks: dict[bytes, set[Entry]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, url: bytes, request: Headers) -> Entry | None:
        """The answer to `request`, fresh or not."""
        variants = self._urls.get(url)
        if variants is None:
            return None
        names: tuple[bytes, ...] | None = None
        wanted = b""
        for entry in variants.values():
            if entry.facts.vary != names:
                names = entry.facts.vary
                wanted = variant_of(names, request)
            if entry.variant == wanted:
                self._entries.move_to_end((url, wanted))
                return entry
        return None

    def put(self, entry: Entry) -> None:
        """Keep `entry` in place of what was there."""
        cost = entry.cost_bytes
        known = self._urls.get(entry.url, {}).get(entry.variant)
        if known is not None:
            self._drop(known)
        if cost > self.maximum_bytes:
            return
        variants = self._urls.setdefault(entry.url, {})
        if len(variants) >= VARIANTS:
            self._drop(next(iter(variants.values())))
            variants = self._urls.setdefault(entry.url, {})
        variants[entry.variant] = entry
        self._entries[entry.url, entry.variant] = entry
        for mark in entry.marks:
            self._marks.setdefault(mark, set()).add(entry)
        self.used_bytes += cost
        while self.used_bytes > self.maximum_bytes:
            self._drop(next(iter(self._entries.values())))

    def purge(self, mark: bytes) -> int:
        """Forget all answers with `mark`; how many those were."""
        found = list(self._marks.get(mark, ()))
        for entry in found:
            self._drop(entry)
        return len(found)

    def clear(self) -> None:
        """Forget everything."""
        for entry in list(self._entries.values()):
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        del self._entries[entry.url, entry.variant]
        variants = self._urls[entry.url]
        del variants[entry.variant]
        if not variants:
            del self._urls[entry.url]
        for mark in entry.marks:
            marked = self._marks[mark]
            marked.discard(entry)
            if not marked:
                del self._marks[mark]
        self.used_bytes -= entry.cost_bytes
        entry.fresh_until = 0.0  # whoever still holds it asks anew


class DiskStore:
    """The answers on the disk.

    Args:
        directory: made if it is not there; must belong to us alone.
        maximum_bytes: of all bodies together.

    Errors: OSError if it cannot be made.
    """

    def __init__(self, directory: Path, maximum_bytes: int) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._maximum_bytes = maximum_bytes
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._sweep_in = 0

    def find(self, url: bytes, request: Headers) -> Entry | None:
        """The answer to `request`, whole; None if there is none."""
        return self._do(lambda database: self._find(database, url, request), None)

    def put(self, entry: Entry, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Keep `entry`, if the disk lets us; `unless` is asked when no `purge` of this process can come in between."""
        self._do(lambda database: None if unless() else self._put(database, entry), None)

    def purge(self, url: bytes) -> int:
        """Forget all answers of `url`; how many those were."""
        return self._do(lambda database: self._forget(database, "url = ?", (url,)), 0)

    def purge_tag(self, tag: bytes) -> int:
        """Forget all answers with `tag`."""

        def purge(database: sqlite3.Connection) -> int:
            rows = database.execute("SELECT url, variant FROM tag WHERE name = ?", (tag,)).fetchall()
            return sum(self._forget(database, _ONE, row) for row in rows)

        return self._do(purge, 0)

    def _find(self, database: sqlite3.Connection, url: bytes, request: Headers) -> Entry | None:
        rows = database.execute("SELECT variant, facts, file, digest, used FROM entry WHERE url = ?", (url,))
        for variant, packed, file, digest, used in rows.fetchall():
            try:
                facts = msgspec.msgpack.decode(packed, type=Facts)
            except msgspec.DecodeError:
                self._forget(database, _ONE, (url, variant))
                continue
            if variant != variant_of(facts.vary, request):
                continue
            body = self._read(file, digest)
            if body is None:
                self._forget(database, _ONE, (url, variant))
                continue
            now = time.time()
            if now - used > _USED_SECONDS:
                with database:
                    database.execute(f"UPDATE entry SET used = ? WHERE {_ONE}", (now, url, variant))  # noqa: S608 - a constant of ours
            return Entry(url, variant, facts, body)
        return None

    def _put(self, database: sqlite3.Connection, entry: Entry) -> None:
        file = self._write(entry.body)
        if file is None:
            return
        self._forget(database, _ONE, (entry.url, entry.variant))
        facts = msgspec.msgpack.encode(entry.facts)
        digest = _digest(entry.body)
        row = (entry.url, entry.variant, facts, file, digest, len(entry.body), time.time())
        with database:
            database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            tags = [(tag, entry.url, entry.variant) for tag in entry.facts.tags]
            database.executemany("INSERT OR IGNORE INTO tag VALUES (?, ?, ?)", tags)
        excess = database.execute(
            "SELECT variant FROM entry WHERE url = ? ORDER BY used DESC LIMIT -1 OFFSET ?", (entry.url, VARIANTS)
        )
        for (variant,) in excess.fetchall():
            self._forget(database, _ONE, (entry.url, variant))
        self._sweep_in -= len(entry.body)
        if self._sweep_in < 0:
            self._sweep_in = self._maximum_bytes // 16
            self._make_room(database)

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def __del__(self) -> None:
        if getattr(self, "_database", None) is not None:
            self.close()

    def _do(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """The result of `work`; `otherwise` if the disk or the database cannot. A broken database is begun anew."""
        with self._lock:
            try:
                return work(self._open())
            except sqlite3.OperationalError:
                return otherwise  # busy for too long, or the disk is full
            except sqlite3.DatabaseError:
                self._begin_anew()
                return otherwise
            except OSError:
                return otherwise

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            database = sqlite3.connect(self._directory / "index.db", timeout=_BUSY_SECONDS, check_same_thread=False)
            # A name that cannot be decoded is one of a file that is not there, and not an error for ever.
            database.text_factory = lambda text: text.decode("utf-8", "replace")
            try:
                database.executescript(_SCHEMA)
            except sqlite3.Error:
                database.close()
                raise
            self._database = database
            self._drop_leftovers(database)
        return self._database

    def _begin_anew(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        for path in self._directory.iterdir():
            if path.name.startswith(("index.db", "body-")):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _drop_leftovers(self, database: sqlite3.Connection) -> None:
        """Bodies that no entry names: written by a process that was killed before it said so."""
        known = {file for (file,) in database.execute("SELECT file FROM entry")}
        for path in self._directory.iterdir():
            with contextlib.suppress(OSError):
                old = time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS
                if old and path.name.startswith((".new-", "body-")) and path.name not in known:
                    path.unlink()

    def _write(self, body: bytes) -> str | None:
        name = secrets.token_hex(16)
        temporary = self._directory / f".new-{name}"
        try:
            with temporary.open("xb") as file:
                file.write(body)
            temporary.rename(self._directory / f"body-{name}")
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            return None
        return f"body-{name}"

    def _read(self, file: str, digest: bytes) -> bytes | None:
        try:
            body = (self._directory / os.path.basename(file)).read_bytes()
        except (OSError, ValueError):  # a name with a NUL in it is neither
            return None
        return body if _digest(body) == digest else None

    def _forget(self, database: sqlite3.Connection, which: str, values: tuple[bytes, ...]) -> int:
        """`which` is one of our own conditions."""
        with database:
            files = database.execute(f"SELECT file FROM entry WHERE {which}", values).fetchall()  # noqa: S608 - `which` is ours
            database.execute(f"DELETE FROM entry WHERE {which}", values)  # noqa: S608 - `which` is ours
            database.execute(f"DELETE FROM tag WHERE {which}", values)  # noqa: S608 - `which` is ours
        for (file,) in files:
            with contextlib.suppress(OSError, ValueError):
                (self._directory / os.path.basename(file)).unlink()
        return len(files)

    def _make_room(self, database: sqlite3.Connection) -> None:
        (total,) = database.execute("SELECT COALESCE(SUM(bytes), 0) FROM entry").fetchone()
        if total <= self._maximum_bytes:
            return
        for url, variant, size in database.execute("SELECT url, variant, bytes FROM entry ORDER BY used").fetchall():
            if total <= self._maximum_bytes:
                return
            self._forget(database, _ONE, (url, variant))
            total -= size


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=32).digest()
