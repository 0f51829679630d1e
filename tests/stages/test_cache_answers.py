"""What one kept answer gives to conditions and ranges, and what a change makes the cache forget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from securelight.model.body import PUSHED_BODY
from securelight.model.errors import Refusal
from securelight.model.request import Facts, Request
from securelight.model.response import Response
from securelight.pipeline.stage import RESPONDED, Deferred
from securelight.stages.cache_answers import changed_urls
from tests.helpers import in_thread, make_request
from tests.stages.cache_world import KEEP, Client, Origin, World, field_of, ok, reading_slowly

TAG = (b"etag", b'"1"')


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ({b"range": b"bytes=1-2"}, 206, b"el", "bytes 1-2/5"),
        ({b"range": b"bytes=3-"}, 206, b"lo", "bytes 3-4/5"),
        ({b"range": b"bytes=-2"}, 206, b"lo", "bytes 3-4/5"),
        ({b"range": b"bytes=1-2", b"if-range": b'"1"'}, 206, b"el", "bytes 1-2/5"),
        ({b"range": b"bytes=1-2", b"if-range": b'"2"'}, 200, b"hello", ""),
        ({b"range": b"bytes=1-2", b"if-range": b'W/"1"'}, 200, b"hello", ""),
        ({b"range": b"bytes=0-0,2-2"}, 200, b"hello", ""),
        ({b"range": b"lines=0-0"}, 200, b"hello", ""),
        ({b"range": b"bytes=2-1"}, 200, b"hello", ""),
        ({b"range": b"bytes=1-2", b"if-none-match": b'"1"'}, 304, b"", ""),
    ],
)
async def test_a_part_of_what_is_kept_whole(
    tmp_path: Path, asked: dict[bytes, bytes], status: int, body: bytes, content_range: str
) -> None:
    origin = Origin(ok(b"hello", KEEP, TAG))
    world = World(origin, tmp_path)
    await world.get()
    answer, got = await world.get(headers=asked)
    assert (answer.status, got, field_of(answer, b"content-range")) == (status, body, content_range)
    assert len(origin.requests) == 1


async def test_a_part_that_is_not_there_is_refused_and_one_of_what_is_not_kept_is_left_to_the_origin(
    tmp_path: Path,
) -> None:
    world = World(Origin(ok(b"hello", KEEP, TAG)), tmp_path)
    assert await world.said(headers={b"range": b"bytes=0-1"}) == "fwd=bypass"
    await world.get()
    with pytest.raises(Refusal, match="416"):
        await world.get(headers={b"range": b"bytes=5-"})


async def test_a_weak_tag_never_cuts_out_a_part(tmp_path: Path) -> None:
    world = World(Origin(ok(b"hello", KEEP, (b"etag", b'W/"1"'))), tmp_path)
    await world.get()
    answer, _ = await world.get(headers={b"range": b"bytes=0-1", b"if-range": b'W/"1"'})
    assert answer.status == 200


@pytest.mark.parametrize("name", [b"if-match", b"if-unmodified-since"])
async def test_preconditions_of_changes_are_for_the_origin(tmp_path: Path, name: bytes) -> None:
    world = World(Origin(ok(b"hello", KEEP, TAG)), tmp_path)
    await world.get()
    assert await world.said(headers={name: b'"1"'}) == "fwd=bypass"


async def test_a_confirmation_changes_the_fields_but_not_those_of_the_body(tmp_path: Path) -> None:
    checked = (b"cache-control", b"no-cache")
    origin = Origin(
        ok(b"hello", checked, TAG, (b"x-a", b"old"), (b"content-encoding", b"br")),
        ok(b"", checked, (b"x-a", b"new"), (b"etag", b'"2"'), (b"content-encoding", b"gzip"), status=304),
    )
    world = World(origin, tmp_path)
    await world.get()
    for _ in range(2):
        answer, body = await world.get()
        found = [field_of(answer, name) for name in (b"x-a", b"etag", b"content-encoding")]
        assert (found, body) == (["new", '"1"', "br"], b"hello")


async def test_a_confirmation_that_sets_a_cookie_reaches_its_client_and_is_not_kept(tmp_path: Path) -> None:
    checked = (b"cache-control", b"no-cache")
    origin = Origin(ok(b"hello", checked, TAG), ok(b"", checked, (b"set-cookie", b"a=b"), status=304), ok(b"anew"))
    world = World(origin, tmp_path, directory="kept")
    await world.get()
    answer, body = await world.get()
    assert (field_of(answer, b"set-cookie"), body) == ("a=b", b"hello")
    answer, body = await world.get()
    assert (field_of(answer, b"set-cookie"), body) == ("", b"anew")


@pytest.mark.parametrize(
    ("name", "value", "forgotten"),
    [
        (b"location", b"/b?c", True),
        (b"location", b"b?c", True),
        (b"content-location", b"https://a.test/b?c#part", True),
        (b"location", b"https://b.test/b?c", False),
        (b"location", b"http://a.test/b?c", False),
        (b"location", b"//b.test/b?c", False),
        (b"location", b"https://[/b?c", False),
        (b"link", b"/b?c", False),
    ],
)
async def test_a_change_forgets_where_it_leads_on_the_same_origin(
    tmp_path: Path, name: bytes, value: bytes, forgotten: bool
) -> None:
    origin = Origin(ok(), ok(b"", (name, value), status=201), ok())
    world = World(origin, tmp_path)
    await world.get("/b?c")
    await world.get("/a", method="POST")
    assert (await world.said("/b?c")).startswith("fwd=uri-miss" if forgotten else "hit")


def test_a_change_names_its_own_url_first() -> None:
    request = make_request("POST", "/a")
    request.target = b"/a"
    assert changed_urls(request, Response(204, ((b"location", b"x" * 9000),))) == [b"https a.test /a"]


async def test_a_change_of_one_url_leaves_the_others_in_memory(tmp_path: Path) -> None:
    world = World(Origin(ok()), tmp_path)
    for path in ("/a", "/b"):
        await world.get(path)
    await world.get("/a", method="POST")
    assert (await world.said("/b")).startswith("hit")
    assert (await world.said("/a")).startswith("fwd=uri-miss")


async def test_what_was_purged_while_it_was_fetched_is_not_kept(tmp_path: Path) -> None:
    origin = Origin(ok(b"old"), ok(b"purged", status=204), ok(b"new"))
    world = World(origin, tmp_path)
    gate = origin.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.get)
        await trio.testing.wait_all_tasks_blocked()
        origin.gate = None
        await world.get(method="DELETE")
        gate.set()
    assert (await world.get())[1] == b"new"


async def test_what_is_purged_while_it_is_read_from_the_disk_is_not_believed(tmp_path: Path) -> None:
    read, purged = trio.Event(), trio.Event()
    origin = Origin(ok(b"old"), ok(b"purged", status=204), ok(b"new"))
    await World(origin, tmp_path, directory="kept").get()
    world = World(origin, tmp_path, directory="kept")
    world.client = reading_slowly(read, purged)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.get)
        await read.wait()
        world.client = Client
        await world.get(method="DELETE")
        purged.set()
    assert (await world.get())[1] == b"new"


async def test_what_is_purged_on_its_way_to_the_disk_is_never_found_there(tmp_path: Path) -> None:
    saving, begin, done, end = (trio.Event() for _ in range(4))

    async def slow_at_first(function: Callable[[], Any]) -> Any:
        if saving.is_set():
            return await in_thread(function)
        saving.set()
        await begin.wait()
        result = await in_thread(function)
        done.set()
        await end.wait()
        return result

    origin = Origin(ok(b"old"), ok(b"purged", status=204), ok(b"new"))
    world = World(origin, tmp_path, in_thread=slow_at_first, directory="kept")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.get)
        await saving.wait()
        await world.get(method="DELETE")
        begin.set()
        await done.wait()
        _, found = await World(origin, tmp_path, directory="kept").get()
        end.set()
    assert found == (await world.get())[1] == b"new"


async def test_a_client_that_leaves_with_the_last_byte_does_not_take_the_answer_along(tmp_path: Path) -> None:
    class Leaving(Client):
        async def end(self, trailers: object = ()) -> None:
            await super().end(trailers)
            scope.cancel()
            await trio.lowlevel.checkpoint()

    origin = Origin(ok(b"hello"))
    world = World(origin, tmp_path, directory="kept")
    with trio.CancelScope() as scope:
        request = make_request("GET", "/a")
        request.target = b"/a"
        facts = Facts("192.0.2.7")
        answer = world.handle(request, facts)
        assert isinstance(answer, Deferred)
        client: Any = Leaving(request, facts)
        await answer.run(client)
    assert scope.cancelled_caught
    assert (await world.said()).startswith("hit")
    assert (await World(origin, tmp_path, directory="kept").said()).startswith("hit"), "on the disk too"


@pytest.mark.parametrize(
    ("anyway", "response", "asked"),
    [
        ("private", ok(b"a", (b"cache-control", b"private, max-age=60")), {}),
        ("set-cookie", ok(b"a", KEEP, (b"set-cookie", b"secret=1")), {}),
        ("cookie", ok(b"a"), {b"cookie": b"seen=1"}),
    ],
)
async def test_what_is_never_kept_unless_told(
    tmp_path: Path, anyway: str, response: Response, asked: dict[bytes, bytes]
) -> None:
    for told, kept in (((anyway,), True), ((), False)):
        world = World(Origin(response), tmp_path, anyway=told)
        await world.get(headers=asked)
        answer, _ = await world.get(headers=asked)
        assert field_of(answer, b"cache-status").startswith("securelight; hit") is kept
        if kept:
            assert field_of(answer, b"set-cookie") == "", "what one client was given is not given to the next"


@pytest.mark.parametrize(
    ("status", "says", "kept"),
    [
        (599, b"max-age=60", True),
        (599, b"max-age=60, must-understand", False),
        (200, b"max-age=60, must-understand, no-store", True),
    ],
)
async def test_what_must_be_understood(tmp_path: Path, status: int, says: bytes, kept: bool) -> None:
    world = World(Origin(ok(b"a", (b"cache-control", says), status=status)), tmp_path)
    await world.get()
    assert (await world.said()).startswith("hit") is kept


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({b"accept-language": b"en, DE;q=0.5"}, {b"accept-language": b"EN,de; q=0.5"}, True),
        ({b"accept-language": b"en, de"}, {b"accept-language": b"de, en"}, False),
        ({b"accept-encoding": b"gzip, br"}, {b"accept-encoding": b"BR,gzip"}, True),
        ({b"x-a": b"A"}, {b"x-a": b"a"}, False),
    ],
)
async def test_wishes_that_mean_the_same_get_the_same(
    tmp_path: Path, one: dict[bytes, bytes], other: dict[bytes, bytes], same: bool
) -> None:
    world = World(Origin(ok(b"a", KEEP, (b"vary", next(iter(one))))), tmp_path)
    await world.get(headers=one)
    assert (await world.said(headers=other)).startswith("hit") is same


async def test_a_client_may_want_what_stays_fresh_for_a_while(tmp_path: Path) -> None:
    world = World(Origin(ok()), tmp_path)
    await world.get()
    assert (await world.said(headers={b"cache-control": b"min-fresh=30"})).startswith("hit")
    assert (await world.said(headers={b"cache-control": b"min-fresh=90"})).startswith("fwd=stale")


async def test_a_body_longer_than_announced_is_not_kept(tmp_path: Path) -> None:
    class Longer(Origin):
        def handle(self, request: Request, facts: Facts) -> Deferred:
            async def run(exchange: Any) -> Any:
                self.requests.append(request)
                await exchange.begin(Response(200, (KEEP,), PUSHED_BODY, content_length=2))
                await exchange.send(b"three")
                await exchange.end()
                return RESPONDED

            return Deferred(run)

    origin = Longer()
    world = World(origin, tmp_path)
    for _ in range(2):
        await world.get()
    assert len(origin.requests) == 2
