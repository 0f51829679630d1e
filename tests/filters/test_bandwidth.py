"""Bandwidth: what goes at once, how long the rest waits, and that nothing is lost, held or sent twice. Time is ours."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from securelight.filters.bandwidth import BandwidthConfig, Rate, build, check
from securelight.model.body import PUSHED_BODY, AsyncBody, FileSlice, OpenFile, Parts
from securelight.model.errors import BodyAborted, ConfigError
from securelight.model.request import Peer, Request
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext
from securelight.pipeline.stage import Deferred, Filter
from tests.helpers import make_context, make_facts, make_request, open_descriptors


class Time:
    """A clock that runs only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def context(tmp_path: Path, time: Time) -> BuildContext:
    context = make_context(tmp_path)
    context.clock, context.sleep = time.clock, time.sleep
    return context


def downloads(context: BuildContext, **rates: Rate) -> Filter:
    made = build(BandwidthConfig(**rates), context)
    assert made is not None
    return made


async def whole(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    assert isinstance(response.body, AsyncBody)
    return b"".join([chunk async for chunk in response.body.chunks()])


async def test_the_burst_goes_at_once_and_the_rest_in_its_time(context: BuildContext, time: Time) -> None:
    apply = downloads(context, stream=Rate(1000, 500))
    small = Response(200, (), b"x" * 500)
    assert apply(make_request(), make_facts(), small) is small, "no detour while there is enough"
    body = bytes(range(256)) * 40
    response = apply(make_request(), make_facts(), Response(200, (), body))
    assert response.content_length == len(body)
    assert await whole(response) == body
    assert time.now - 100 == pytest.approx((len(body) - 500) / 1000)


async def test_a_connection_is_limited_over_its_streams_and_others_are_not(context: BuildContext, time: Time) -> None:
    apply = downloads(context, connection=Rate(1000, 1000))
    body = b"x" * 1000
    assert apply(make_request(), make_facts(), Response(200, (), body)).body is body
    assert await whole(apply(make_request(), make_facts(), Response(200, (), body))) == body
    assert time.now - 100 == pytest.approx(1.0)
    other = make_request().again(1, Peer("192.0.2.99", 1))
    assert apply(other, make_facts(), Response(200, (), body)).body is body


async def test_a_site_is_shared_by_its_routes_and_divided_among_workers(context: BuildContext, time: Time) -> None:
    context.workers = 2
    settings = BandwidthConfig(site=Rate(2000, 2000))
    first, second = build(settings, context), build(settings, context)
    assert first is not None
    assert second is not None
    body = b"x" * 1000
    assert first(make_request(), make_facts(), Response(200, (), body)).body is body
    assert await whole(second(make_request(), make_facts(), Response(200, (), body))) == body
    assert time.now - 100 == pytest.approx(1.0), "half of the rate for one of two workers"


async def test_streams_that_are_reset_use_up_nothing(context: BuildContext, time: Time) -> None:
    """Rapid reset against a site's allowance."""

    async def cancelled(_seconds: float) -> None:
        raise KeyboardInterrupt  # as a Cancelled would come

    reset = downloads(context, site=Rate(1000, 1000))
    for _ in range(100):
        response = reset(make_request(), make_facts(), Response(200, (), b"x" * 5000))
        assert isinstance(response.body, AsyncBody)
        body: Any = response.body
        body._buckets._sleep = cancelled
        with pytest.raises(KeyboardInterrupt):
            await whole(response)
    assert await whole(reset(make_request(), make_facts(), Response(200, (), b"x" * 2000))) == b"x" * 2000
    assert time.now - 100 == pytest.approx(1.0, abs=0.05)


async def test_the_slowest_limit_counts(context: BuildContext, time: Time) -> None:
    apply = downloads(context, connection=Rate(10_000, 1), stream=Rate(1000, 1), site=Rate(100_000, 1))
    await whole(apply(make_request(), make_facts(), Response(200, (), b"x" * 5000)))
    assert time.now - 100 == pytest.approx(5.0, abs=0.01)


async def test_files_and_their_parts_come_whole_and_are_given_back(
    tmp_path: Path, context: BuildContext, time: Time
) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 100)
    before = open_descriptors()
    apply = downloads(context, stream=Rate(1000, 1))

    file = OpenFile(os.open(tmp_path / "file", os.O_RDONLY), 0)
    response = apply(make_request(), make_facts(), Response(206, (), Parts((b"--a", FileSlice(file, 10, 5000), b"--"))))
    assert response.content_length == 5005
    assert await whole(response) == b"--a" + (bytes(range(256)) * 100)[10:5010] + b"--"
    assert time.now - 100 == pytest.approx(5.0, abs=0.01)
    file = OpenFile(os.open(tmp_path / "file", os.O_RDONLY), 0)
    unread = apply(make_request(), make_facts(), Response(200, (), FileSlice(file, 0, 25_600)))
    assert isinstance(unread.body, AsyncBody)
    del unread
    assert open_descriptors() == before


async def test_a_file_that_shrinks_breaks_the_answer_off(tmp_path: Path, context: BuildContext) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    file = OpenFile(os.open(tmp_path / "file", os.O_RDONLY), 0)
    response = downloads(context, stream=Rate(1000, 1))(
        make_request(), make_facts(), Response(200, (), FileSlice(file, 0, 5000))
    )
    with pytest.raises(BodyAborted, match="shorter"):
        await whole(response)


class Chunks(AsyncBody):
    """A handler's body."""

    async def chunks(self) -> AsyncIterator[bytes]:
        for number in range(3):
            yield bytes([number]) * 2000

    def trailers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"a", b"b"),)


async def test_bodies_of_handlers_wait_too_and_keep_their_trailers(context: BuildContext, time: Time) -> None:
    response = downloads(context, stream=Rate(2000, 1))(make_request(), make_facts(), Response(200, (), Chunks()))
    assert isinstance(response.body, AsyncBody)
    assert await whole(response) == b"\0" * 2000 + b"\1" * 2000 + b"\2" * 2000
    assert response.body.trailers() == ((b"a", b"b"),)
    assert time.now - 100 == pytest.approx(3.0, abs=0.01)
    assert not response.body.made, "its handler still has to come to an end"


async def test_what_is_pushed_waits_in_pieces(context: BuildContext, time: Time) -> None:
    response = downloads(context, stream=Rate(8192, 1))(make_request(), make_facts(), Response(200, (), PUSHED_BODY))
    change: Any = response.body
    assert change.piece_bytes == 1024
    assert await change.change(b"x" * 8192) == b"x" * 8192
    assert await change.last() == b""
    assert time.now - 100 == pytest.approx(1.0, abs=0.01)


def test_what_has_no_body_is_left_alone(context: BuildContext) -> None:
    apply = downloads(context, stream=Rate(100, 1))
    for method, status, body in (("HEAD", 200, b"x" * 9000), ("GET", 304, b""), ("GET", 204, b""), ("GET", 200, b"")):
        response = Response(status, (), body)
        assert apply(make_request(method), make_facts(), response) is response


class Uploaded:
    """An Exchange with a body."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [*pieces, b""]
        self.request = make_request("PUT")
        self.upgraded = False

    async def receive(self) -> bytes:
        return self.pieces.pop(0)

    async def upgrade(self, _protocol: bytes, _fields: object) -> None:
        self.upgraded = True


async def test_uploads_are_received_no_faster(context: BuildContext, time: Time) -> None:
    assert build(BandwidthConfig(upload_stream=Rate(1000, 1000)), context) is None
    (wrap,) = context.around
    seen: list[tuple[bytes, float]] = []

    async def run(exchange: Any) -> Response:
        assert exchange.request.method == "PUT"
        while piece := await exchange.receive():
            seen.append((piece, time.now - 100))
        return Response(204)

    handler = wrap(lambda _request, _facts: Deferred(run))
    request = Request("PUT", "/", make_request().headers, peer=make_request().peer, has_body=True)
    answer = handler(request, make_facts())
    assert isinstance(answer, Deferred)
    exchange: Any = Uploaded(b"a" * 1000, b"b" * 500, b"c" * 500)
    await answer.run(exchange)
    assert [(piece[:1], round(when, 3)) for piece, when in seen] == [(b"a", 0.0), (b"b", 0.5), (b"c", 1.0)]
    plain = Deferred(run)
    assert wrap(lambda _request, _facts: plain)(make_request(), make_facts()) is plain, "no body, no detour"


def test_bandwidth_that_limits_nothing_is_a_mistake(context: BuildContext, tmp_path: Path) -> None:
    assert "limits nothing" in check(BandwidthConfig(), tmp_path)[0]
    with pytest.raises(ConfigError, match="limits nothing"):
        build(BandwidthConfig(), context)
