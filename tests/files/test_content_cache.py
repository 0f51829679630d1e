"""The bounds of the content cache hold whatever is put in, and what is in use stays longest."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings, strategies as st

from securelight.files.content_cache import ENTRY_OVERHEAD_BYTES, CacheEntry, ContentCache
from securelight.model.body import OpenFile
from securelight.model.limits import Limits
from tests.helpers import open_descriptors

View = dict[str, CacheEntry]


def entry_of(held_bytes: int, files: int = 0) -> CacheEntry:
    opened = tuple(OpenFile(os.open("/dev/null", os.O_RDONLY), 0) for _ in range(files))
    return CacheEntry(held_bytes, opened, 0.0)


def cache_of(entries: int, open_files: int = 512) -> ContentCache:
    return ContentCache(Limits(content_cache_bytes=entries * (ENTRY_OVERHEAD_BYTES + 100), open_files=open_files))


def test_many_tiny_files_stay_within_the_bytes() -> None:
    cache, view = cache_of(10), View()
    for number in range(1000):
        assert cache.put(view, f"/{number}", entry_of(1))
        assert cache.used_bytes <= cache.limits.content_cache_bytes
    assert len(view) == len(cache) == 10
    assert "/999" in view


def test_entries_in_use_outlive_those_that_are_not() -> None:
    cache, view = cache_of(10), View()
    cache.put(view, "/popular", entry_of(100))
    for number in range(200):
        cache.put(view, f"/{number}", entry_of(100))
        view["/popular"].used = True
    assert "/popular" in view


def test_an_entry_that_can_never_fit_is_refused_and_evicts_nothing() -> None:
    cache, view = cache_of(10), View()
    cache.put(view, "/small", entry_of(1))
    before = open_descriptors()
    assert not cache.put(view, "/large", entry_of(100_000, files=1))
    assert list(view) == ["/small"]
    assert open_descriptors() == before


def test_nothing_is_kept_where_the_operator_gives_no_room() -> None:
    cache, view = ContentCache(Limits(content_cache_bytes=0)), View()
    assert not cache.put(view, "/a", entry_of(0))
    assert not view


def test_descriptors_have_a_bound_of_their_own() -> None:
    cache, view = cache_of(1000, open_files=8), View()
    before = open_descriptors()
    cache.put(view, "/content", entry_of(1))
    for number in range(50):
        cache.put(view, f"/{number}", entry_of(1, files=2))
        assert open_descriptors() - before <= 8
    assert "/content" in view
    cache.clear()
    assert (open_descriptors(), cache.used_bytes, cache.descriptors, len(cache), view) == (before, 0, 0, 0, {})


def test_a_new_entry_takes_the_place_of_the_old_one() -> None:
    cache, view = cache_of(10), View()
    before = open_descriptors()
    for _ in range(100):
        cache.put(view, "/a", entry_of(50, files=1))
    assert len(cache) == 1
    assert open_descriptors() == before + 1
    cache.clear()


def test_a_file_that_is_being_sent_stays_open_when_its_entry_goes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    cache, view = cache_of(10), View()
    file = OpenFile(os.open(tmp_path / "a", os.O_RDONLY), 0)
    cache.put(view, "/a", CacheEntry(0, (file,), 0.0))
    file.acquire()
    cache.drop(view["/a"])
    assert os.pread(file.descriptor, 7, 0) == b"content"
    file.release()
    assert file.descriptor == -1


def test_views_do_not_mix() -> None:
    cache, one, two = cache_of(2), View(), View()
    cache.put(one, "/a", entry_of(100))
    cache.put(two, "/a", entry_of(100))
    assert one["/a"] is not two["/a"]
    one["/a"].used = two["/a"].used = False
    cache.put(two, "/b", entry_of(100))
    assert (list(one), list(two)) == ([], ["/a", "/b"])


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 3000), st.integers(0, 3), st.booleans()), min_size=1, max_size=40
    )
)
def test_the_books_balance_after_any_sequence(steps: list[tuple[int, int, int, bool]]) -> None:
    cache, view = cache_of(3, open_files=4), View()
    before = open_descriptors()
    for name, held_bytes, files, drop in steps:
        if drop and str(name) in view:
            cache.drop(view[str(name)])
        else:
            cache.put(view, str(name), entry_of(held_bytes, files))
        assert cache.used_bytes == sum(entry.cost_bytes for entry in view.values())
        assert cache.used_bytes <= cache.limits.content_cache_bytes
        assert cache.descriptors == sum(len(entry.files) for entry in view.values()) == open_descriptors() - before
        assert cache.descriptors <= 4
    cache.clear()
    assert open_descriptors() == before
