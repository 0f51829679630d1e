"""A cache folder with anything in it: it is read, or forgotten, never believed halfway."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

import msgspec

from securelight.files.cache_rules import Lifetime, variant_of
from securelight.files.cache_store import DiskStore, Entry, Facts
from securelight.model.headers import Headers

_FACTS = Facts(200, ((b"etag", b'"a"'),), (b"accept",), 1.0, 2, Lifetime(60, 0, 0, True), (b"tag",))
SEEDS = [
    b"\x00" + msgspec.msgpack.encode(_FACTS),
    b"\x01index of nothing",
    b"\x02../../etc/passwd",
    b"\x03body",
]
URL = b"https://a.test/"
IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where a database is quick."""
HEADERS = Headers([(b"accept", b"x")])


def fuzz(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="securelight-fuzz-", dir=IN_MEMORY) as folder:
        store = DiskStore(Path(folder), 1 << 20)
        entry = Entry(URL, variant_of((), HEADERS), msgspec.structs.replace(_FACTS, vary=()), b"the body")
        store.put(entry)
        kind, content = data[:1], data[1:]
        try:
            if kind == b"\x01":
                store.close()
                (Path(folder) / "index.db").write_bytes(content)
            elif kind == b"\x03":
                for path in Path(folder).glob("body-*"):
                    path.write_bytes(content)
            else:
                column = "file" if kind == b"\x02" else "facts"
                value = content.decode("latin-1") if kind == b"\x02" else content
                with sqlite3.connect(Path(folder) / "index.db") as database:
                    database.execute(f"UPDATE entry SET {column} = ?", (value,))
                database.close()
            found = store.find(URL, HEADERS)
            if found is not None:
                assert found.body == b"the body"
            store.put(entry)
            store.purge_tag(b"tag")
            store.purge(URL)
            assert store.find(URL, HEADERS) is None
        finally:
            store.close()
