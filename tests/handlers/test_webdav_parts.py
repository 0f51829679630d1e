"""The parts of a share by themselves: its database, its fields, its XML, its locks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given, settings as hypothesis_settings, strategies as st

from securelight.files.writable_root import TREE_DEPTH, WritableRoot, copy_folder
from securelight.handlers import webdav_head, webdav_xml
from securelight.handlers.webdav_changes import Changes
from securelight.handlers.webdav_locks import LOCKS_OF_ONE, Claim, Denied, Locks
from securelight.handlers.webdav_share import Janitor, Share
from securelight.handlers.webdav_store import Lock, Store
from securelight.model.errors import Refusal
from tests.helpers import SilentEvents, ThreadExchange, make_facts, make_request, open_descriptors
from tests.server.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

WISH = webdav_xml.parse(
    b'<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><write/></locktype></lockinfo>'
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state" / "state.sqlite", 1 << 20)
    yield made
    made.close()


def claim_of(user: str | None, condition: bytes | None = None) -> Claim:
    facts = make_facts()
    facts.user = user
    request = make_request(headers={} if condition is None else {b"if": condition})
    return Claim(request, facts, lambda path: path.strip("/").encode())


def a_lock(path: bytes, *, user: str = "", deep: bool = True, seconds: float = 60) -> Lock:
    return Lock(f"urn:{path!r}", path, deep, True, "", user, "192.0.2.1", time.time() + seconds)


def href(path: bytes) -> str:
    return "/" + path.decode()


def test_a_lock_covers_what_is_below_it_and_nothing_beside_it(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.add_lock(a_lock(b"a/b"))
        transaction.add_lock(a_lock(b"flat", deep=False))
        transaction.add_lock(a_lock(b"over", seconds=-1))
        paths = (b"a/b", b"a/b/c/d", b"a", b"a/bc", b"flat/x", b"over")
        assert [len(transaction.covering(path)) for path in paths] == [1, 1, 0, 0, 0, 0]
        assert [lock.path for lock in transaction.inside(b"a")] == [b"a/b"]
        assert [lock.path for lock in transaction.inside(b"")] == [b"a/b", b"flat"]
        assert transaction.count_locks("", "192.0.2.1") == (2, 2), "one that is over does not count"


def test_a_lock_is_good_for_its_user_alone(store: Store) -> None:
    lock = a_lock(b"f", user="alice")
    with store.transaction() as transaction:
        transaction.add_lock(lock)
        condition = f"(<{lock.token}>)".encode()
        claim_of("alice", condition).permits(transaction, b"f", href)
        for other in (claim_of("bob", condition), claim_of(None, condition), claim_of("alice")):
            with pytest.raises(Denied):
                other.permits(transaction, b"f", href)
        with pytest.raises(Refusal) as refused:
            Locks(1, 1, 9, 9).give_back(
                transaction, claim_of("bob"), make_request(headers={b"lock-token": f"<{lock.token}>".encode()}), b"f"
            )
        assert refused.value.status == 403


def test_locks_are_bounded_in_all_and_for_each(store: Store) -> None:
    locks = Locks(60, 60, total=5, each=3)
    request = make_request(headers={b"depth": b"0"})
    with store.transaction() as transaction:
        for user, expected in (("alice", 3), ("bob", 2), ("carol", 0)):
            for _ in range(expected):
                locks.take(transaction, claim_of(user), request, b"f", WISH, href)
            with pytest.raises(Refusal) as refused:
                locks.take(transaction, claim_of(user), request, b"f", WISH, href)
            assert refused.value.status == 507


def test_what_is_not_committed_is_not_there(store: Store) -> None:
    def fail() -> None:
        with store.transaction() as transaction:
            transaction.add_lock(a_lock(b"f"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.look() as known:
        assert known.covering(b"f") == []


def test_a_broken_database_is_put_aside(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    file.write_bytes(b"this is no database, and was never one" * 100)
    store = Store(file, 1 << 20)
    with store.transaction() as transaction:
        transaction.add_lock(a_lock(b"f"))
    store.close()
    assert (tmp_path / "state.sqlite.broken").exists()


def test_a_database_that_is_full_takes_no_more(store: Store) -> None:
    def fill() -> None:
        for number in range(100):
            with store.transaction() as transaction:
                transaction.set_property(b"f", ("urn:x", f"p{number}"), "x" * 60_000)

    with pytest.raises(sqlite3.OperationalError, match="full"):
        fill()
    with store.transaction() as transaction:
        assert transaction.properties([b"f"])[b"f"]
        transaction.forget(b"f")


def test_properties_go_where_the_file_goes(store: Store) -> None:
    names = [b"a", b"a/b", b"a/\xff", b"ab"]
    with store.transaction() as transaction:
        for name in names:
            transaction.set_property(name, ("urn:x", "p"), repr(name))
        transaction.copy_properties(b"a", b"new/a", deep=True)
        transaction.forget(b"a")
        found = transaction.properties([*names, b"new/a", b"new/a/b", b"new/a/\xff"])
    assert {path: list(values.values()) for path, values in found.items()} == {
        b"ab": [repr(b"ab")], b"new/a": [repr(b"a")], b"new/a/b": [repr(b"a/b")], b"new/a/\xff": [repr(b"a/\xff")],
    }  # fmt: skip


@given(st.binary(max_size=60) | st.text(alphabet='()<>[]"W/Not ,a:', max_size=40).map(str.encode))
@hypothesis_settings(max_examples=300, deadline=None)
def test_any_if_field_is_read_or_refused(value: bytes) -> None:
    with contextlib.suppress(Refusal):
        assert all(one.tests for one in webdav_head.parse_if(value))


def test_what_an_if_field_says() -> None:
    lists = webdav_head.parse_if(b'</a> (<urn:1> ["x"]) (Not <urn:2>) <https://a.test/b> ([W/"y"] not <DAV:no-lock>)')
    assert [(one.target, [tuple(test) for test in one.tests]) for one in lists] == [
        (b"/a", [(b"urn:1", False, False), (b'"x"', True, False)]),
        (b"/a", [(b"urn:2", False, True)]),
        (b"https://a.test/b", [(b'W/"y"', True, False), (b"DAV:no-lock", False, True)]),
    ]
    assert webdav_head.submitted(lists) == {"urn:1", "urn:2", "DAV:no-lock"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"Second-5", 5), (b"Infinite", 100), (b"Second-99999", 100), (b"Second-0", 1), (b"x, Second-7", 7), (b"", 60)],
)
def test_how_long_a_lock_lasts(value: bytes, seconds: int) -> None:
    assert webdav_head.timeout_seconds(make_request(headers={b"timeout": value}).headers, 60, 100) == seconds


@given(st.binary(max_size=200) | st.text(alphabet='<>/a:x="&;![]DOCTYPE \n', max_size=80).map(str.encode))
@hypothesis_settings(max_examples=300, deadline=None)
def test_any_xml_is_read_and_written_or_refused(data: bytes) -> None:
    try:
        element = webdav_xml.parse(data)
    except webdav_xml.XmlFault:
        return
    assert webdav_xml.write(webdav_xml.parse(webdav_xml.write(element, "").encode()), "") == webdav_xml.write(
        element, ""
    )


@pytest.mark.parametrize(
    "document",
    [
        '<a xmlns="urn:a" b="&quot;&lt;&amp;&#10;&#13;">x&#13;&lt;<b xmlns="">y</b>'
        '<c:d xmlns:c="urn:c" c:e="f" xml:lang="g"/>z</a>',
        '<p:a xmlns:p="DAV:"><p:b/></p:a>',
    ],
)
def test_xml_means_the_same_after_it_was_kept(document: str) -> None:
    def shape(element: webdav_xml.Element) -> object:
        inner = [item if isinstance(item, str) else shape(item) for item in element.content]
        return element.name, element.attributes, inner

    element = webdav_xml.parse(document.encode())
    again = webdav_xml.parse(f'<x xmlns="DAV:">{webdav_xml.write(element)}</x>'.encode()).elements()[0]
    assert shape(again) == shape(element)


NAMESPACE = "u" * 20_000


@pytest.mark.parametrize(
    "document",
    [
        f'<a xmlns:n="{NAMESPACE}">' + "<n:b/>" * 1_000 + "</a>",
        f'<a xmlns:n="{NAMESPACE}"><b ' + " ".join(f"n:c{number}=''" for number in range(1_000)) + "/></a>",
        f'<a xmlns:n="{NAMESPACE}" xmlns:m="{NAMESPACE}" n:b="1" m:b="2"/>',
        '<a b:c=""/>', "<b:a/>", '<a xmlns:b=""/>', '<a xmlns:xmlns="x"/>', '<a xmlns:xml="x"/>',
        '<a xmlns:b="http://www.w3.org/2000/xmlns/"/>', '<a xmlns:b="http://www.w3.org/XML/1998/namespace"/>',
        '<a xmlns:b="x"><b:c:d/></a>', '<a xmlns:b="x"><b:/></a>', "<:a/>", '<a><b xmlns:c="x"/><c:d/></a>',
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "<a>" * 33,
    ],
)  # fmt: skip
def test_xml_that_is_refused(document: str) -> None:
    with pytest.raises(webdav_xml.XmlFault):
        webdav_xml.parse(document.encode())


def test_a_small_document_with_a_long_namespace_takes_no_memory() -> None:
    """Expat would put the namespace into each name: 64 kB became 90 MB, and the answer as much for each file."""
    document = f'<a xmlns:n="{NAMESPACE}"><b ' + " ".join(f"n:c{number}=''" for number in range(4_000)) + "/></a>"
    tracemalloc.start()
    try:
        with pytest.raises(webdav_xml.XmlFault):
            webdav_xml.parse(document.encode())
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_names_are_those_of_their_namespaces() -> None:
    root = webdav_xml.parse(
        b'<a xmlns="DAV:" xmlns:n="one"><n:b n:c="1" c="2" xml:lang="en"><d xmlns="" xmlns:n="two"><n:e/></d></n:b></a>'
    )
    assert root.name == ("DAV:", "a")
    (b,) = root.elements()
    assert (b.name, b.attributes) == (("one", "b"), {"one c": "1", "c": "2", webdav_xml.LANGUAGE: "en"})
    (d,) = b.elements()
    assert (d.name, [inner.name for inner in d.elements()]) == (("", "d"), [("two", "e")])


def test_shared_locks_of_one_file_are_bounded(store: Store) -> None:
    locks = Locks(60, 60, total=1_000, each=1_000)
    with store.transaction() as transaction:
        for _ in range(LOCKS_OF_ONE):
            locks.take(transaction, claim_of("ada"), make_request("LOCK"), b"a", WISH, href)
        with pytest.raises(Refusal) as refused:
            locks.take(transaction, claim_of("ada"), make_request("LOCK"), b"a", WISH, href)
        assert refused.value.status == 507
        locks.take(transaction, claim_of("ada"), make_request("LOCK"), b"b", WISH, href)


def test_folders_that_are_too_deep_are_neither_walked_nor_copied(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(TREE_DEPTH + 2):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    files = WritableRoot(root)
    with pytest.raises(OSError, match="nested too deep"):
        files.make_folder(b"d/" * (TREE_DEPTH + 1) + b"x")
    with pytest.raises(OSError, match="nested too deep"):
        list(files.remove(b"d"))
    (tmp_path / "target").mkdir()
    source, target = os.open(root, os.O_RDONLY), os.open(tmp_path / "target", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="nested too deep"):
            list(copy_folder(source, target, lambda _name: False))
    finally:
        os.close(source)
        os.close(target)


def test_a_link_that_appears_on_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_text("secret")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    files = WritableRoot(tmp_path / "root")
    for change in (files.make_folder, files.make_file, files.new_file, lambda path: files.put_aside(path, b"link/g")):
        with pytest.raises(NotADirectoryError):
            change(b"link/f")
    assert list(files.remove(b"link")) == [None], "the link itself goes"
    assert (tmp_path / "outside" / "f").read_text() == "secret"


KILLED = """
import os, sys, trio
from pathlib import Path
from securelight.files.writable_root import WritableRoot
from securelight.handlers.webdav_changes import Changes
from securelight.handlers.webdav_changes import Changes
from securelight.handlers.webdav_locks import Claim
from tests.handlers.test_webdav_parts import exchange_of, share_of

method, path = sys.argv[2:]
share, store, janitor = share_of(Path(sys.argv[1]))
put_aside = WritableRoot.put_aside

def last_breath(*arguments):
    put_aside(*arguments)
    os._exit(9)

WritableRoot.put_aside = last_breath
exchange = exchange_of(method.upper(), f"/{path}", {b"destination": b"/target"} if method != "delete" else {})
claim = Claim(exchange.request, exchange.facts, share.relative)
change = getattr(Changes(share, store, janitor, 1 << 30, 0), method)
trio.run(change, exchange, claim, path.encode())
"""


def share_of(root: Path) -> tuple[Share, Store, Janitor]:
    store = Store(root / ".securelight-webdav" / "state.sqlite", 1 << 20)
    share = Share(root, "", (), store, dot_files=False)
    return share, store, Janitor(share, store, SilentEvents())


def exchange_of(method: str, path: str, headers: dict[bytes, bytes]) -> Any:
    return ThreadExchange(make_request(method, path, headers), make_facts())


async def clean(janitor: Janitor, root: Path) -> None:
    """Have `janitor` remove all that lies aside, and note that."""
    database = root / ".securelight-webdav" / "state.sqlite"

    def is_clean() -> bool:
        with contextlib.closing(sqlite3.connect(database)) as known:
            noted = known.execute("SELECT count(*) FROM leftover").fetchone()[0]
        return not noted and not list(root.glob(".securelight-trash-*")) + list(root.glob(".securelight-upload-*"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(janitor.run, lambda: None)
        await trio.to_thread.run_sync(wait_until, is_clean)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("method", "path", "left"), [("delete", "target", ["source"]), ("move", "source", ["source"]),
                                 ("copy", "source", ["source"])],
)  # fmt: skip
def test_who_is_killed_with_a_folder_put_aside_leaves_nothing_that_is_not_found_again(
    tmp_path: Path, method: str, path: str, left: list[str]
) -> None:
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    tests = Path(__file__).parents[2]
    child = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), method, path], cwd=tests, check=False)
    assert child.returncode == 9
    assert any(one.name.startswith(".securelight-trash-") for one in tmp_path.iterdir())
    _share, _store, janitor = share_of(tmp_path)

    trio.run(clean, janitor, tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [".securelight-webdav", *left]
    assert (tmp_path / "source" / "file").read_text() == "source"


@pytest.mark.parametrize(("source", "target"), [("folder", "file"), ("file", "folder"), ("folder", "folder")])
@pytest.mark.parametrize("method", ["move", "copy"])
def test_what_is_replaced_is_gone_and_held_by_nobody(tmp_path: Path, method: str, source: str, target: str) -> None:
    for name, kind in (("source", source), ("target", target)):
        if kind == "folder":
            (tmp_path / name).mkdir()
        (tmp_path / name / "x" if kind == "folder" else tmp_path / name).write_text(name)
    share, store, janitor = share_of(tmp_path)
    exchange = exchange_of(method.upper(), "/source", {b"destination": b"/target"})
    claim = Claim(exchange.request, exchange.facts, share.relative)
    changes = Changes(share, store, janitor, 1 << 30, 0)
    before = open_descriptors()

    async def change() -> None:
        response = await getattr(changes, method)(exchange, claim, b"source")
        assert response.status == 204
        await clean(janitor, tmp_path)

    trio.run(change)
    assert (tmp_path / "source").exists() is (method == "copy")
    assert (tmp_path / "target").is_dir() is (source == "folder")
    assert open_descriptors() <= before
    with store.look() as known:
        assert known.leftovers() == []
    store.close()
