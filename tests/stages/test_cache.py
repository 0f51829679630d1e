"""The cache: what it keeps, for whom, how long, and what an attacker must not get out of it or put into it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from securelight.features import FEATURES
from securelight.files.cache_rules import Lifetime, directives, lifetime, names_in_vary, variant_of
from securelight.files.cache_store import DiskStore, Entry, Facts as EntryFacts, MemoryStore
from securelight.model.body import PUSHED_BODY
from securelight.model.errors import ConfigError, Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from securelight.pipeline.scoreboard import Scoreboard
from securelight.pipeline.stage import Deferred
from securelight.stages.cache_settings import CacheConfig
from tests.helpers import in_thread, make_context, make_facts, make_request
from tests.stages.cache_world import KEEP, Client, Origin, World, field_of, ok, reading_slowly

FEATURE = next(feature for feature in FEATURES if feature.name == "cache")


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves both clocks on."""
    real_time, real_monotonic = time.time, time.monotonic
    moved = 0.0

    def move(seconds: float) -> None:
        nonlocal moved
        moved += seconds
        monkeypatch.setattr(time, "time", lambda: real_time() + moved)
        for module in ("cache", "cache_purging"):
            monkeypatch.setattr(f"securelight.stages.{module}.monotonic", lambda: real_monotonic() + moved)

    return move


@pytest.mark.parametrize("push", [True, False])
@pytest.mark.parametrize("directory", ["", "kept"])
async def test_the_second_answer_comes_from_the_cache(tmp_path: Path, push: bool, directory: str) -> None:
    origin = Origin(ok(b"hello", KEEP, (b"content-type", b"text/plain"), (b"x", b"y")), push=push)
    world = World(origin, tmp_path, directory=directory)
    first, body = await world.get()
    assert (body, field_of(first, b"cache-status")) == (b"hello", "securelight; fwd=uri-miss; stored")
    second, body = await world.get()
    assert (second.status, body, len(origin.requests)) == (200, b"hello", 1)
    assert field_of(second, b"cache-status").startswith("securelight; hit; ttl=")
    assert (field_of(second, b"age"), field_of(second, b"x")) == ("0", "y")
    head, _ = await world.get(method="HEAD")
    assert (head.content_length, len(origin.requests)) == (5, 1)
    other, _ = await world.get("/a?b")
    assert field_of(other, b"cache-status").endswith("fwd=uri-miss; stored")


async def test_age_grows_and_the_answer_is_fetched_again_when_it_is_old(
    tmp_path: Path, shift: Callable[[float], None]
) -> None:
    origin = Origin(ok(b"old", KEEP, (b"age", b"10")), ok(b"new"))
    world = World(origin, tmp_path)
    await world.get()
    shift(20)
    answer, body = await world.get()
    assert (field_of(answer, b"age"), body) == ("30", b"old")
    shift(31)
    assert (await world.get())[1] == b"new"


@pytest.mark.parametrize(
    "response",
    [
        ok(b"a", (b"x", b"no lifetime")),
        ok(b"a", (b"cache-control", b"no-store, max-age=60")),
        ok(b"a", (b"cache-control", b"private, max-age=60")),
        ok(b"a", (b"cache-control", b'Private="x", MAX-AGE=60')),
        ok(b"a", (b"cache-control", b"max-age=0")),
        ok(b"a", (b"cache-control", b"max-age=nonsense")),
        ok(b"a", (b"cache-control", b"max-age=60, s-maxage=0")),
        ok(b"a", (b"expires", b"0")),
        ok(b"a", (b"expires", b"Thu, 01 Jan 1970 00:00:00 GMT")),
        ok(b"a", KEEP, (b"set-cookie", b"a=b")),
        ok(b"a", KEEP, (b"vary", b"accept, *")),
        ok(b"a", KEEP, (b"content-range", b"bytes 0-0/2"), status=206),
        ok(b"", KEEP, status=304),
        ok(b"x" * 2000),
        Response(200, (KEEP,), b"short", content_length=9),
    ],
    ids=lambda response: repr((response.fields, response.status)),
)
async def test_what_must_not_be_kept_is_not(tmp_path: Path, response: Response) -> None:
    origin = Origin(response)
    world = World(origin, tmp_path, object_bytes=1000, directory="kept")
    for _ in range(2):
        answer, _ = await world.get()
        assert answer.status == response.status
    assert len(origin.requests) == 2


async def test_a_body_that_breaks_off_is_not_kept(tmp_path: Path) -> None:
    class Breaking(Origin):
        def handle(self, request: Request, facts: Facts) -> Deferred:
            async def run(exchange: Any) -> Any:
                self.requests.append(request)
                await exchange.begin(Response(200, (KEEP,), PUSHED_BODY))
                await exchange.send(b"half")
                raise OSError("gone")

            return Deferred(run)

    origin = Breaking()
    world = World(origin, tmp_path)
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            await world.get()
    assert len(origin.requests) == 2


# Whose answer it is.


@pytest.mark.parametrize("secret", [{b"cookie": b"a=b"}, {b"authorization": b"Basic x"}])
async def test_an_answer_to_somebody_is_not_given_to_others_nor_theirs_to_them(
    tmp_path: Path, secret: dict[bytes, bytes]
) -> None:
    origin = Origin(ok(b"for alice"), ok(b"for all"), ok(b"for alice"))
    world = World(origin, tmp_path, directory="kept")
    assert (await world.get(headers=secret))[1] == b"for alice"
    assert (await world.get())[1] == b"for all"
    assert (await world.get(headers=secret))[1] == b"for alice"
    assert (await world.get())[1] == b"for all"
    assert len(origin.requests) == 3


async def test_a_user_known_by_other_means_is_somebody_too(tmp_path: Path) -> None:
    origin = Origin(ok(b"for alice"), ok(b"for all"))
    world = World(origin, tmp_path)
    assert (await world.get(user="alice"))[1] == b"for alice"
    assert (await world.get())[1] == b"for all"


async def test_what_is_for_everybody_is_given_to_everybody(tmp_path: Path) -> None:
    origin = Origin(ok(b"a", (b"cache-control", b"public, max-age=60")))
    world = World(origin, tmp_path)
    await world.get(headers={b"cookie": b"a=b"})
    await world.get(headers={b"authorization": b"Basic x"})
    await world.get(user="alice")
    assert len(origin.requests) == 1


async def test_variants_are_told_apart(tmp_path: Path) -> None:
    origin = Origin(
        *(ok(body, KEEP, (b"vary", b"Accept-Language, X")) for body in (b"plain", b"de", b"en")),
    )
    world = World(origin, tmp_path, directory="kept")
    asked: list[dict[bytes, bytes]] = [{}, {b"accept-language": b"de"}, {b"accept-language": b"en"}]
    for headers, body in zip(asked * 2, (b"plain", b"de", b"en") * 2, strict=True):
        assert (await world.get(headers=headers))[1] == body
    assert len(origin.requests) == 3
    await world.get(headers={b"accept-language": b"de", b"user-agent": b"another"})
    assert len(origin.requests) == 3


async def test_hosts_and_schemes_are_told_apart(tmp_path: Path) -> None:
    origin = Origin(ok())
    world = World(origin, tmp_path)
    for scheme, authority in (("https", "a.test"), ("http", "a.test"), ("https", "b.test"), ("https", "a.test:444")):
        request = make_request("GET", "/", scheme=scheme)
        request.authority = authority
        answer = world.handle(request, make_facts())
        assert isinstance(answer, Deferred)
        client: Any = Client(request, make_facts())
        await answer.run(client)
    assert len(origin.requests) == 4


# Validation.


async def test_an_old_answer_is_confirmed_by_its_validator(tmp_path: Path, shift: Callable[[float], None]) -> None:
    origin = Origin(
        ok(b"hello", KEEP, (b"etag", b'"1"'), (b"last-modified", b"Mon, 02 Nov 2026 10:00:00 GMT"), (b"x", b"old")),
        Response(304, (KEEP, (b"etag", b'"1"'), (b"x", b"new"))),
    )
    world = World(origin, tmp_path, directory="kept")
    await world.get()
    shift(61)
    answer, body = await world.get(headers={b"if-none-match": b'"other"', b"x-own": b"1"})
    assert (answer.status, body, field_of(answer, b"x")) == (200, b"hello", "new")
    assert field_of(answer, b"cache-status") == "securelight; hit; fwd=stale; fwd-status=304"
    asked = origin.requests[1].headers
    assert asked.get(b"if-none-match") == b'"1"'
    assert asked.get(b"if-modified-since") == b"Mon, 02 Nov 2026 10:00:00 GMT"
    assert asked.get(b"x-own") == b"1"
    assert (await world.said()).startswith("hit; ttl=")
    assert len(origin.requests) == 2


async def test_no_cache_means_to_ask_each_time(tmp_path: Path) -> None:
    origin = Origin(
        ok(b"hello", (b"cache-control", b"no-cache"), (b"etag", b'"1"')),
        Response(304, ((b"etag", b'"1"'),)),
    )
    world = World(origin, tmp_path)
    for _ in range(3):
        assert (await world.get())[1] == b"hello"
    assert len(origin.requests) == 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({b"if-none-match": b'"1"'}, 304),
        ({b"if-none-match": b'W/"1", "2"'}, 304),
        ({b"if-none-match": b'"2"'}, 200),
        ({b"if-modified-since": b"Mon, 02 Nov 2026 10:00:00 GMT"}, 304),
        ({b"if-modified-since": b"Mon, 02 Nov 2026 09:00:00 GMT"}, 200),
        ({b"if-modified-since": b"nonsense"}, 200),
    ],
)
async def test_a_client_s_own_copy_is_confirmed(tmp_path: Path, headers: dict[bytes, bytes], status: int) -> None:
    origin = Origin(ok(b"hello", KEEP, (b"etag", b'W/"1"'), (b"last-modified", b"Mon, 02 Nov 2026 10:00:00 GMT")))
    world = World(origin, tmp_path)
    await world.get()
    answer, body = await world.get(headers=headers)
    assert (answer.status, len(origin.requests)) == (status, 1)
    assert body == (b"" if status == 304 else b"hello")


@pytest.mark.parametrize(
    "asks", [(b"cache-control", b"no-cache"), (b"cache-control", b"max-age=0"), (b"pragma", b"no-cache")]
)
async def test_a_client_may_ask_for_a_new_answer_unless_the_operator_says_no(
    tmp_path: Path, asks: tuple[bytes, bytes]
) -> None:
    origin = Origin(ok())
    world = World(origin, tmp_path)
    await world.get()
    await world.get(headers=dict([asks]))
    assert len(origin.requests) == 2
    strict = World(origin, tmp_path, honour_clients=False)
    await strict.get()
    assert (await strict.said(headers=dict([asks]))).startswith("hit")


async def test_only_if_cached(tmp_path: Path) -> None:
    world = World(Origin(ok()), tmp_path)
    only = {b"cache-control": b"only-if-cached"}
    with pytest.raises(Refusal, match="504"):
        await world.get(headers=only)
    await world.get()
    assert (await world.said(headers=only)).startswith("hit")


# Stale answers.


@pytest.mark.parametrize(
    "failure", [Refusal(502), Refusal(504), ok(b"broken", (b"x", b"y"), status=500), ok(b"", (b"x", b"y"), status=503)]
)
async def test_a_stale_answer_stands_in_for_a_failure_as_long_as_it_may(
    tmp_path: Path, failure: Any, shift: Callable[[float], None]
) -> None:
    origin = Origin(ok(b"good", (b"cache-control", b"max-age=60, stale-if-error=100")), failure)
    world = World(origin, tmp_path)
    await world.get()
    shift(70)
    answer, body = await world.get()
    assert (answer.status, body) == (200, b"good")
    assert field_of(answer, b"cache-status") == f"securelight; hit; fwd=stale; fwd-status={failure.status}"
    shift(100)
    if isinstance(failure, Refusal):
        with pytest.raises(Refusal):
            await world.get()
    else:
        assert (await world.get())[0].status == failure.status


async def test_must_revalidate_never_stands_in(tmp_path: Path, shift: Callable[[float], None]) -> None:
    origin = Origin(ok(b"good", (b"cache-control", b"max-age=1, must-revalidate, stale-if-error=100")), Refusal(502))
    world = World(origin, tmp_path, stale_if_error_seconds=100)
    await world.get()
    shift(2)
    with pytest.raises(Refusal):
        await world.get()


async def test_a_stale_answer_is_given_while_a_new_one_is_fetched(
    tmp_path: Path, shift: Callable[[float], None], nursery: trio.Nursery
) -> None:
    origin = Origin(ok(b"old", (b"cache-control", b"max-age=60, stale-while-revalidate=60")), ok(b"new"))
    world = World(origin, tmp_path)
    ready = trio.Event()
    nursery.start_soon(world.services[0].run, ready.set)
    await ready.wait()
    await world.get()
    shift(70)
    assert (await world.get())[1] == b"old"
    with trio.fail_after(10):
        while (await world.get())[1] == b"old":
            await trio.testing.wait_all_tasks_blocked()
    assert len(origin.requests) == 2, "one fetch, however many asked"


# Many at a time.


async def test_one_fetches_for_many(tmp_path: Path) -> None:
    origin = Origin(ok())
    origin.gate = trio.Event()
    world = World(origin, tmp_path)
    bodies = []

    async def ask() -> None:
        bodies.append((await world.get())[1])

    async with trio.open_nursery() as many:
        for _ in range(50):
            many.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert len(origin.requests) == 1
        origin.gate.set()
    assert bodies == [b"hello"] * 50
    assert len(origin.requests) == 1


async def test_nobody_waits_for_what_cannot_be_kept_nor_for_ever(tmp_path: Path) -> None:
    origin = Origin(ok(b"mine", (b"cache-control", b"private")))
    world = World(origin, tmp_path)
    async with trio.open_nursery() as many:
        for _ in range(10):
            many.start_soon(world.get)
    assert len(origin.requests) == 10

    stuck = Origin(ok())
    stuck.gate = trio.Event()
    world = World(stuck, tmp_path, wait_seconds=0.01)
    async with trio.open_nursery() as many:
        many.start_soon(world.get)
        await trio.testing.wait_all_tasks_blocked()
        many.start_soon(world.get)
        with trio.fail_after(10):
            await stuck.asked_twice.wait()
        stuck.gate.set()


async def test_when_the_one_that_fetches_leaves_another_one_fetches(tmp_path: Path) -> None:
    origin = Origin(ok())
    origin.gate = trio.Event()
    world = World(origin, tmp_path)
    bodies = []

    async def ask() -> None:
        bodies.append((await world.get())[1])

    async with trio.open_nursery() as many:
        with trio.CancelScope() as leaving:
            async with trio.open_nursery() as first:
                first.start_soon(world.get)
                await trio.testing.wait_all_tasks_blocked()
                many.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                leaving.cancel()
        origin.gate.set()
    assert bodies == [b"hello"]
    assert len(origin.requests) == 2


# Purging and changing.


@pytest.mark.parametrize("directory", ["", "kept"])
async def test_a_change_forgets_the_url_and_a_failed_one_does_not(tmp_path: Path, directory: str) -> None:
    origin = Origin(ok(), ok(b"", (b"x", b"y"), status=403), ok(b"", (b"x", b"y"), status=204), ok(b"new"))
    world = World(origin, tmp_path, directory=directory)
    await world.get()
    await world.get(method="POST")
    assert (await world.said()).startswith("hit")
    await world.get(method="POST")
    assert (await world.get())[1] == b"new"


async def test_what_is_purged_while_it_is_revalidated_is_not_kept_again(
    tmp_path: Path, shift: Callable[[float], None]
) -> None:
    origin = Origin(
        ok(b"old", KEEP, (b"etag", b'"1"')),
        Response(304, (KEEP, (b"etag", b'"1"'))),
        ok(b"purged", status=204),
        ok(b"new"),
    )
    world = World(origin, tmp_path)
    await world.get()
    shift(100)
    gate = origin.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.get)
        await trio.testing.wait_all_tasks_blocked()
        origin.gate = None
        await world.get(method="DELETE")
        gate.set()
    assert (await world.get())[1] == b"new"


async def test_what_is_purged_while_its_request_waits_is_not_validated(
    tmp_path: Path, shift: Callable[[float], None]
) -> None:
    read, purged = trio.Event(), trio.Event()
    origin = Origin(ok(b"old", KEEP, (b"etag", b'"1"')), ok(b"purged", status=204), ok(b"new"))
    world = World(origin, tmp_path, directory="kept")
    await world.get()
    shift(100)
    world.client = reading_slowly(read, purged)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.get)
        await read.wait()
        world.client = Client
        await world.get(method="DELETE")
        purged.set()
    assert b"if-none-match" not in origin.requests[-1].headers
    assert (await world.get())[1] == b"new"


async def test_only_those_named_may_purge(tmp_path: Path) -> None:
    origin = Origin(ok(b"a", KEEP, (b"cache-tag", b"shop, news")))
    world = World(origin, tmp_path, directory="kept", purge=("192.0.2.0/24",))
    board = Scoreboard(1)
    other = World(origin, tmp_path, board, directory="kept", purge=("127.0.0.1",))
    await world.get()
    with pytest.raises(Refusal, match="403"):
        await other.get(method="PURGE")
    assert (await world.get(method="PURGE"))[1] == b"1 purged\n"
    assert (await world.said()).startswith("fwd=uri-miss")
    assert (await world.get("/", {b"cache-tag": b"news"}, method="PURGE"))[1] == b"1 purged\n"
    assert (await world.get("/", {b"cache-tag": b"news"}, method="PURGE"))[1] == b"0 purged\n"
    answer, _ = await world.get()
    assert field_of(answer, b"cache-status").endswith("stored")
    assert await World(origin, tmp_path).said(method="PURGE") == "fwd=method", "elsewhere it is a method like any other"


async def test_a_purge_reaches_the_memory_of_other_workers(tmp_path: Path, shift: Callable[[float], None]) -> None:
    origin, board = Origin(ok()), Scoreboard(1)
    one = World(origin, tmp_path, board, purge=("192.0.2.0/24",))
    two = World(origin, tmp_path, board)
    await two.get()
    await one.get(method="PURGE")
    shift(1.5)
    assert (await two.said()).startswith("fwd=uri-miss")


async def test_what_another_worker_purges_while_it_is_saved_does_not_stay_on_the_disk(tmp_path: Path) -> None:
    """The saving begins and ends while the other one, which has emptied the disk, has not come back from its thread."""
    emptied, saved = trio.Event(), trio.Event()

    async def slow(function: Callable[[], Any]) -> Any:
        result = await in_thread(function)
        emptied.set()
        await saved.wait()
        return result

    origin, board = Origin(ok(b"old"), ok(b"new")), Scoreboard(2)
    gate = origin.gate = trio.Event()
    saving = World(origin, tmp_path, board, directory="kept")
    purging = World(origin, tmp_path, board, slow, directory="kept", purge=("192.0.2.0/24",))

    async def get() -> None:
        await saving.get()
        saved.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get)
        await origin.asked.wait()
        nursery.start_soon(lambda: purging.get(method="PURGE"))
        await emptied.wait()
        gate.set()
    assert (await World(origin, tmp_path, board, directory="kept").get())[1] == b"new"


# The stores.


async def test_the_disk_outlives_the_worker_and_is_shared(tmp_path: Path) -> None:
    origin = Origin(ok(b"hello", KEEP, (b"content-type", b"text/plain")))
    await World(origin, tmp_path, directory="kept").get()
    answer, body = await World(origin, tmp_path, directory="kept").get()
    assert (body, field_of(answer, b"content-type"), len(origin.requests)) == (b"hello", "text/plain", 1)


@pytest.mark.parametrize("damage", [b"", b"hellO", b"hello!"])
async def test_a_damaged_body_is_dropped_and_fetched_anew(tmp_path: Path, damage: bytes) -> None:
    origin = Origin(ok(b"hello"))
    await World(origin, tmp_path, directory="kept").get()
    [path] = (tmp_path / "kept").glob("body-*")
    path.write_bytes(damage)
    assert (await World(origin, tmp_path, directory="kept").get())[1] == b"hello"
    assert len(origin.requests) == 2
    await World(origin, tmp_path, directory="kept").get()
    assert len(origin.requests) == 2


async def test_a_damaged_index_is_begun_anew(tmp_path: Path) -> None:
    origin = Origin(ok(b"hello"))
    first = World(origin, tmp_path, directory="kept")
    await first.get()
    assert first.cache._disk is not None
    first.cache._disk.close()
    (tmp_path / "kept" / "index.db").write_bytes(b"this is no database" * 500)
    for suffix in ("-wal", "-shm"):
        (tmp_path / "kept" / f"index.db{suffix}").unlink(missing_ok=True)
    for _ in range(3):
        world = World(origin, tmp_path, directory="kept")
        assert (await world.get())[1] == b"hello"
    assert len(origin.requests) <= 3
    assert (await world.said()).startswith("hit")


def entries(count: int, size: int = 100) -> Iterator[Any]:
    for number in range(count):
        facts = EntryFacts(200, (), (), time.time(), 0, Lifetime(60, 0, 0, False), (b"t",))
        yield Entry(b"url %d" % number, variant_of((), Headers()), facts, bytes(size), frozenset((b"mark",)))


def test_memory_is_bounded_and_what_was_used_least_lately_goes() -> None:
    store = MemoryStore(20_000)
    for entry in entries(100):
        store.put(entry)
        store.find(b"url 0", Headers())
        assert store.used_bytes <= 20_000
    kept = len(store)
    assert 5 < kept < 10
    assert store.find(b"url 0", Headers()) is not None
    assert store.find(b"url 1", Headers()) is None
    assert store.find(b"url 99", Headers()) is not None
    assert store.purge(b"mark") == kept
    assert (store.used_bytes, len(store)) == (0, 0)


def test_the_disk_is_bounded_too(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "kept", 100_000)
    for entry in entries(60, 5_000):
        store.put(entry)
    bodies = list((tmp_path / "kept").glob("body-*"))
    assert sum(path.stat().st_size for path in bodies) <= 100_000 * 17 / 16 + 5_000
    assert store.purge_tag(b"t") == len(bodies)
    assert list((tmp_path / "kept").glob("body-*")) == []
    store.close()
    with sqlite3.connect(tmp_path / "kept" / "index.db") as database:
        assert database.execute("SELECT COUNT(*) FROM entry").fetchone() == (0,)
    database.close()


def test_directives_are_read_as_they_are_written() -> None:
    assert directives(b'max-age=5, PUBLIC ,s-maxage="7",,max-age=9') == {
        b"max-age": b"5",
        b"public": b"",
        b"s-maxage": b"7",
    }
    life = lifetime(Headers(), 200, Headers([(b"cache-control", b"max-age=" + b"9" * 40)]))
    assert life is not None
    assert life.fresh_seconds == 315_360_000
    assert names_in_vary(Headers([(b"vary", b"B, a,")])) == (b"a", b"b")
    one = variant_of((b"a",), Headers([(b"a", b"x, y")]))
    assert one == variant_of((b"a",), Headers([(b"a", b"x,y")]))
    assert one != variant_of((b"a",), Headers())


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (CacheConfig(purge=("x",)), "purge"),
        (CacheConfig(memory_bytes=10), "larger than memory_bytes"),
        (CacheConfig(directory="open"), "written by others"),
        (CacheConfig(directory="file"), "not a directory"),
    ],
)
def test_bad_settings_are_named(settings: CacheConfig, fault: str, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").write_text("")
    [found] = FEATURE.check(settings, tmp_path)
    assert fault in found
    with pytest.raises(ConfigError):
        FEATURE.build(settings, make_context(tmp_path))
