"""Locks and dead properties of a WebDAV share (RFC 4918, sections 4 and 6), in an SQLite database.

All workers of a machine share it, and it survives whatever ends them. A Transaction is also what orders changes of the
share itself: whoever holds one is the only one who changes anything, in any worker. Everything here blocks and is
called in threads. Paths are those below the root, without a slash at the end, and empty for the root itself.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from securelight.handlers.webdav_xml import Name

_BUSY_SECONDS: Final = 10.0
_PAGE_BYTES: Final = 4_096
_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA temp_store = MEMORY;
CREATE TABLE IF NOT EXISTS lock (
    token TEXT NOT NULL PRIMARY KEY, path BLOB NOT NULL, deep INTEGER NOT NULL, exclusive INTEGER NOT NULL,
    owner TEXT NOT NULL, user TEXT NOT NULL, address TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lock_path ON lock (path);
CREATE TABLE IF NOT EXISTS property (
    path BLOB NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (path, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leftover (path BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID;
"""
_LOCK: Final = "SELECT token, path, deep, exclusive, owner, user, address, expires FROM lock WHERE expires > ?"
_BELOW: Final = "path >= ? AND path < ?"


class Lock(NamedTuple):
    """One lock.

    Attributes:
        token: its URI.
        path: what was locked.
        deep: with all that is below it.
        exclusive: rather than shared.
        owner: what its taker calls itself, as XML.
        user: who took it; empty on a share without passwords.
        address: from where.
        expires: the time.time() of its end.
    """

    token: str
    path: bytes
    deep: bool
    exclusive: bool
    owner: str
    user: str
    address: str
    expires: float


def _below(path: bytes) -> tuple[bytes, bytes]:
    """The bounds between which all paths below `path` are; `0` is what comes after `/`."""
    return (path + b"/", path + b"0") if path else (b"\0", b"\xff" * 8)


def ancestors(path: bytes) -> list[bytes]:
    """The folders above `path`, the root last."""
    found = []
    while path:
        path = path.rpartition(b"/")[0]
        found.append(path)
    return found


class Transaction:
    """What is known, and may be changed. Its methods raise sqlite3.Error alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._now = time.time()

    # Locks

    def covering(self, path: bytes) -> list[Lock]:
        """The locks that `path` is under: its own, and those of folders above it that go down to it."""
        above = ancestors(path)
        marks = ",".join("?" * len(above))
        return self._locks(
            f"{_LOCK} AND (path = ? OR (deep AND path IN ({marks})))", self._now, path, *above
        )  # fmt: skip

    def own(self, path: bytes) -> list[Lock]:
        """The locks of `path` itself."""
        return self._locks(f"{_LOCK} AND path = ?", self._now, path)

    def inside(self, path: bytes) -> list[Lock]:
        """The locks of what is below `path`."""
        return self._locks(f"{_LOCK} AND {_BELOW}", self._now, *_below(path))

    def _locks(self, statement: str, *values: object) -> list[Lock]:
        rows = self._connection.execute(statement, values).fetchall()
        return [Lock(row[0], row[1], bool(row[2]), bool(row[3]), row[4], row[5], row[6], row[7]) for row in rows]

    def count_locks(self, user: str, address: str) -> tuple[int, int]:
        """(how many there are, how many of them are of `user` or, if that is empty, from `address`)."""
        self._connection.execute("DELETE FROM lock WHERE expires <= ?", (self._now,))
        column, value = ("user", user) if user else ("address", address)
        total, own = self._connection.execute(
            f"SELECT COUNT(*), COALESCE(SUM({column} = ?), 0) FROM lock", (value,)  # noqa: S608 - of two names
        ).fetchone()  # fmt: skip
        return total, own

    def add_lock(self, lock: Lock) -> None:
        """Keep `lock`."""
        self._connection.execute("INSERT INTO lock VALUES (?, ?, ?, ?, ?, ?, ?, ?)", lock)

    def refresh_lock(self, token: str, expires: float) -> None:
        """Let it end at `expires`."""
        self._connection.execute("UPDATE lock SET expires = ? WHERE token = ?", (expires, token))

    def remove_lock(self, token: str) -> None:
        """It is given back."""
        self._connection.execute("DELETE FROM lock WHERE token = ?", (token,))

    # Properties

    def properties(self, paths: Sequence[bytes]) -> dict[bytes, dict[Name, str]]:
        """The dead properties of `paths`, as XML by name."""
        found: dict[bytes, dict[Name, str]] = {}
        marks = ",".join("?" * len(paths))
        statement = f"SELECT path, namespace, name, value FROM property WHERE path IN ({marks})"  # noqa: S608 - marks
        for path, namespace, name, value in self._connection.execute(statement, paths):
            found.setdefault(path, {})[namespace, name] = value
        return found

    def set_property(self, path: bytes, name: Name, value: str) -> None:
        """Set one."""
        self._connection.execute("INSERT OR REPLACE INTO property VALUES (?, ?, ?, ?)", (path, *name, value))

    def remove_property(self, path: bytes, name: Name) -> None:
        """Remove one, if it is there."""
        self._connection.execute("DELETE FROM property WHERE path = ? AND namespace = ? AND name = ?", (path, *name))

    # What happens to files

    def forget(self, path: bytes, *, locks: bool = True) -> None:
        """Nothing is at `path` any more, nor below it."""
        for table in ("property", "lock") if locks else ("property",):
            self._connection.execute(f"DELETE FROM {table} WHERE path = ?", (path,))  # noqa: S608 - of two names
            self._connection.execute(f"DELETE FROM {table} WHERE {_BELOW}", _below(path))  # noqa: S608 - of two names

    def copy_properties(self, source: bytes, target: bytes, *, deep: bool) -> None:
        """What is at `source` is at `target` too, with all that is below it if `deep`."""
        values = (target, len(source) + 1)
        copy = "INSERT OR REPLACE INTO property SELECT CAST(? || substr(path, ?) AS BLOB), namespace, name, value"
        self._connection.execute(f"{copy} FROM property WHERE path = ?", (*values, source))
        if deep:
            self._connection.execute(f"{copy} FROM property WHERE {_BELOW}", (*values, *_below(source)))

    def note_leftover(self, path: bytes) -> None:
        """Work in progress lies at `path`."""
        self._connection.execute("INSERT OR REPLACE INTO leftover VALUES (?)", (path,))

    def forget_leftover(self, path: bytes) -> None:
        """It does not any more."""
        self._connection.execute("DELETE FROM leftover WHERE path = ?", (path,))

    def leftovers(self) -> list[bytes]:
        """All of it, that of others too."""
        return [path for (path,) in self._connection.execute("SELECT path FROM leftover")]


class Store:
    """The database.

    Args:
        file: where it is; its folder is made.
        maximum_bytes: how large it may become; what would make it larger fails with sqlite3.OperationalError.
    """

    def __init__(self, file: Path, maximum_bytes: int) -> None:
        self._file = file
        self._maximum_bytes = maximum_bytes
        self._connection: sqlite3.Connection | None = None
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Nobody else changes anything meanwhile; what was changed is kept if nothing is raised.

        Errors: sqlite3.Error, OSError.
        """
        with self._mutex:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it already
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def look(self) -> Iterator[Transaction]:
        """What is known at the moment; nothing may be changed.

        Errors: sqlite3.Error, OSError.
        """
        with self._mutex:
            yield Transaction(self._opened())

    def close(self) -> None:
        """Close it."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._file.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                self._connection = self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                # Not a database any more. Locks and properties are lost; the files are not.
                for suffix in ("-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(f"{self._file}{suffix}")
                os.replace(self._file, f"{self._file}.broken")
                self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA max_page_count = {max(16, self._maximum_bytes // _PAGE_BYTES)}")
        except BaseException:
            connection.close()
            raise
        return connection


def by_path(locks: Iterable[Lock]) -> dict[bytes, list[Lock]]:
    """The locks of each path."""
    found: dict[bytes, list[Lock]] = {}
    for lock in locks:
        found.setdefault(lock.path, []).append(lock)
    return found
