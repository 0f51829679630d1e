"""The cache's folder after somebody else has been in it; what the cache does with it is in tests/stages/test_cache."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from securelight.files.cache_rules import Lifetime, variant_of
from securelight.files.cache_store import DiskStore, Entry, Facts
from securelight.model.headers import Headers

URL = b"https://a.test/"
HEADERS = Headers()


@pytest.mark.parametrize("name", ["a\0b", "../../etc/passwd", "..", ".", "", "a\ud800", "xxx"])
def test_a_body_name_that_is_none_of_ours_is_forgotten(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "passwd"
    outside.write_bytes(b"secret")
    store = DiskStore(tmp_path / "kept", 100_000)
    entry = Entry(URL, variant_of((), HEADERS), Facts(200, (), (), 1.0, 0, Lifetime(60, 0, 0, True), ()), b"body")
    store.put(entry)
    with sqlite3.connect(tmp_path / "kept" / "index.db") as database:
        database.execute("UPDATE entry SET file = CAST(? AS TEXT)", (name.encode("utf-8", "surrogatepass"),))
    database.close()
    assert store.find(URL, HEADERS) is None
    store.put(entry)
    found = store.find(URL, HEADERS)
    assert found is not None
    assert found.body == b"body"
    assert outside.read_bytes() == b"secret"
    store.close()
