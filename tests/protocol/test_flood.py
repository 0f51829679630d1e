"""What a peer may do only so often: the counters by themselves, and each flood against both adapters."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import hpack
import pytest

from securelight.model.errors import ConnectionFault, Http2Code
from securelight.model.response import Response
from securelight.protocol.events import ConnectionFailed
from securelight.protocol.flood import Flood
from tests.protocol.http2_support import (
    ENGINES,
    GET,
    LIMITS,
    POST,
    Client,
    Clock,
    HeadersFrame,
    data,
    goaway,
    ping,
    raw_frame,
    reset,
    settings,
    window_update,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from securelight.protocol.events import Event
    from securelight.protocol.http2_adapter import Http2Adapter

Engine = type["Http2Adapter"]
SMALL = dataclasses.replace(LIMITS, stream_resets=5, stream_resets_per_second=2, control_frames=10)


@pytest.mark.parametrize(("method", "burst", "rate"), [("reset", 5, 2.0), ("control", 10, 100.0), ("reply", 10, 100.0)])
def test_a_bucket_empties_and_fills_again(method: str, burst: int, rate: float) -> None:
    clock = Clock()
    flood = Flood(SMALL, clock)
    count: Callable[[str], None] = getattr(flood, method)
    for _ in range(burst):
        count("it")
    with pytest.raises(ConnectionFault, match="flood: it") as caught:
        count("it")
    assert caught.value.code == Http2Code.ENHANCE_YOUR_CALM
    flood = Flood(SMALL, clock)
    count = getattr(flood, method)
    for _ in range(20 * burst):
        clock.now += 1 / rate
        flood.sent(0)
        count("it")


def test_a_long_rest_earns_no_more_than_one_burst() -> None:
    clock = Clock()
    flood = Flood(SMALL, clock)
    clock.now += 1e6
    for _ in range(5):
        flood.reset("it")
    with pytest.raises(ConnectionFault):
        flood.reset("it")


def test_window_updates_are_free_as_far_as_traffic_explains_them() -> None:
    flood = Flood(LIMITS, Clock())
    for _ in range(10_000):
        flood.sent(16_384)
        for _ in range(8):
            flood.update("WINDOW_UPDATE")


def test_acknowledgements_that_nobody_reads_are_bounded_however_slowly_they_grow() -> None:
    clock = Clock()
    flood = Flood(SMALL, clock)
    for _ in range(10):
        clock.now += 60
        flood.reply("PING")
    clock.now += 60
    with pytest.raises(ConnectionFault, match="PING acknowledgements not read"):
        flood.reply("PING")


# Each flood against both adapters. Every generator yields reads; the bound is how many frames may pass.


def rapid_reset(client: Client) -> Iterator[bytes]:
    for stream_id in itertools.count(1, 2):
        yield client.head(stream_id) + reset(stream_id)


def made_you_reset(client: Client) -> Iterator[bytes]:
    for stream_id in itertools.count(1, 2):
        yield client.head(stream_id) + window_update(stream_id, 0)


def made_you_reset_by_overflow(client: Client) -> Iterator[bytes]:
    for stream_id in itertools.count(1, 2):
        yield client.head(stream_id) + window_update(stream_id, 2**31 - 1)


def data_after_the_end(client: Client) -> Iterator[bytes]:
    for stream_id in itertools.count(1, 2):
        yield client.head(stream_id) + data(stream_id, b"x")


def malformed_heads(client: Client) -> Iterator[bytes]:
    for stream_id in itertools.count(1, 2):
        yield client.head(stream_id, [*GET, (b"connection", b"close")])


def empty_heads(_: Client) -> Iterator[bytes]:
    for stream_id in itertools.count(1, 2):
        yield raw_frame(1, 5, stream_id)


def wrong_lengths(client: Client) -> Iterator[bytes]:
    for stream_id in itertools.count(1, 2):
        yield client.head(stream_id, [*POST, (b"content-length", b"1")], end=False) + data(stream_id, end=True)


def refused_streams(client: Client) -> Iterator[bytes]:
    for stream_id in itertools.count(1, 2):
        yield client.head(stream_id)


def pings(_: Client) -> Iterator[bytes]:
    while True:
        yield ping()


def empty_settings(_: Client) -> Iterator[bytes]:
    while True:
        yield settings()


def priorities(client: Client) -> Iterator[bytes]:
    yield client.head(1)
    while True:
        yield raw_frame(2, 0, 1, b"\0\0\0\0\x10")


def unknown_frames(_: Client) -> Iterator[bytes]:
    while True:
        yield raw_frame(0x77, 0, 0)


def goaways(_: Client) -> Iterator[bytes]:
    while True:
        yield goaway()


def window_updates(_: Client) -> Iterator[bytes]:
    while True:
        yield window_update(0, 1)


def stream_window_updates(client: Client) -> Iterator[bytes]:
    yield client.head(1)
    while True:
        yield window_update(1, 1)


def priority_updates(client: Client) -> Iterator[bytes]:
    yield client.head(1)
    while True:
        yield raw_frame(16, 0, 0, b"\0\0\0\1u=1")


def empty_data(client: Client) -> Iterator[bytes]:
    yield client.head(1, POST, end=False)
    while True:
        yield data(1)


def padding_only(client: Client) -> Iterator[bytes]:
    yield client.head(1, POST, end=False)
    while True:
        yield data(1, pad=100)


RESETS = LIMITS.stream_resets
CONTROLS = LIMITS.control_frames

FLOODS = [
    (rapid_reset, RESETS),
    (made_you_reset, RESETS),
    (made_you_reset_by_overflow, RESETS),
    (data_after_the_end, RESETS),
    (malformed_heads, RESETS),
    (empty_heads, RESETS),
    (wrong_lengths, RESETS),
    (refused_streams, LIMITS.concurrent_streams + RESETS),
    (pings, CONTROLS),
    (empty_settings, CONTROLS),
    (priorities, CONTROLS),
    (unknown_frames, CONTROLS),
    (goaways, CONTROLS),
    (window_updates, CONTROLS),
    (stream_window_updates, CONTROLS),
    (priority_updates, CONTROLS),
    (empty_data, CONTROLS),
    (padding_only, CONTROLS),
]


def failure(events: list[Event]) -> ConnectionFailed | None:
    """The ConnectionFailed among `events`; nothing may follow it."""
    for event in events:
        if isinstance(event, ConnectionFailed):
            assert event is events[-1]
            return event
    return None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("reading", [True, False], ids=["reading", "never reading"])
@pytest.mark.parametrize(("flood", "bound"), FLOODS, ids=[flood.__name__ for flood, _ in FLOODS])
def test_flood_ends_the_connection(
    engine: Engine, flood: Callable[[Client], Iterator[bytes]], bound: int, reading: bool
) -> None:
    client = Client(engine)
    failed = None
    number = 0
    for number, frames in enumerate(flood(client)):
        # What was earned by our own output before and in between comes on top of the bound.
        assert number <= 3 * bound + 10, "never stopped"
        failed = failure(client.send(frames))
        if failed is not None:
            break
        if reading and number % 64 == 63:
            client.read()
    assert number >= bound - 1, "stopped too early"
    assert failed is not None
    assert failed.code == Http2Code.ENHANCE_YOUR_CALM
    assert failed.reason.startswith("flood: ")
    client.read()
    assert [code for _, code in client.goaways()] == [Http2Code.ENHANCE_YOUR_CALM]
    assert client.adapter.closing
    assert client.send(ping()) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("flood", "bound"), FLOODS, ids=[flood.__name__ for flood, _ in FLOODS])
def test_flood_in_few_large_reads_ends_the_connection(
    engine: Engine, flood: Callable[[Client], Iterator[bytes]], bound: int
) -> None:
    client = Client(engine)
    stream = b"".join(itertools.islice(flood(client), 3 * bound + 10))
    failed = None
    for start in range(0, len(stream), 16_384):
        failed = failed or failure(client.send(stream[start : start + 16_384]))
    assert failed is not None
    assert failed.code == Http2Code.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("empty", [True, False])
def test_continuation_flood(engine: Engine, empty: bool) -> None:
    client = Client(engine)
    client.send(raw_frame(1, 1, 1, b"\x82"))
    frame = raw_frame(9, 0, 1, b"" if empty else b"\x40\x01a\x01b")
    for _ in range(LIMITS.continuation_frames):
        assert client.send(frame) == []
    (event,) = client.send(frame)
    assert isinstance(event, ConnectionFailed)
    assert event.code == Http2Code.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("engine", ENGINES)
def test_large_header_block_is_stopped_before_it_is_complete(engine: Engine) -> None:
    client = Client(engine)
    literal = b"\x00\x01a\x7f\x81\x7d" + b"x" * 16_128
    client.send(raw_frame(1, 1, 1, literal))
    events = client.send(*(raw_frame(9, 0, 1, literal) for _ in range(5)))
    assert [type(event) for event in events] == [ConnectionFailed]
    client.read()
    assert client.goaways() == [(0, Http2Code.ENHANCE_YOUR_CALM)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [1, 3900])
def test_hpack_bomb(engine: Engine, size: int) -> None:
    """One table entry, then thousands of one-byte references to it (CVE-2016-6581, CVE-2026-49975)."""
    client = Client(engine)
    block = hpack.Encoder().encode([*GET, (b"cookie", b"c" * size)])
    client.send(client.head(1))
    bomb = HeadersFrame(3, data=block + b"\xbe" * 12_000, flags=["END_HEADERS", "END_STREAM"]).serialize()
    (event,) = client.send(bomb)
    assert isinstance(event, ConnectionFailed)
    assert event.code == Http2Code.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("engine", ENGINES)
def test_settings_with_thousands_of_entries(engine: Engine) -> None:
    client = Client(engine)
    (event,) = client.send(raw_frame(4, 0, 0, b"\x00\x03\x00\x00\x00\x64" * 2000))
    assert isinstance(event, ConnectionFailed)
    assert event.code == Http2Code.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("engine", ENGINES)
def test_thousands_of_streams_in_one_read(engine: Engine) -> None:
    client = Client(engine)
    events = client.send(*(client.head(stream_id) for stream_id in range(1, 8001, 2)))
    assert isinstance(events[-1], ConnectionFailed)
    assert events[-1].code == Http2Code.ENHANCE_YOUR_CALM
    assert client.adapter.open_streams <= LIMITS.concurrent_streams


@pytest.mark.parametrize("engine", ENGINES)
def test_dribbling_on_a_reset_stream_is_bounded(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False))
    client.adapter.reset(1, Http2Code.CANCEL)
    client.read()
    for _ in range(LIMITS.request_body_buffer_bytes // 16_384):
        assert client.send(data(1, b"x" * 16_384)) == []
        client.read()
    (event,) = client.send(data(1, b"x" * 16_384))
    assert isinstance(event, ConnectionFailed)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lively_client_is_not_a_flood(engine: Engine) -> None:
    """Hours of requests, each with what browsers add to one: none of it may ever add up."""
    client = Client(engine)
    content = b"x" * 20_000
    answer = Response(200, (), content)
    for stream_id in range(1, 4001, 2):
        client.clock.now += 0.01
        frames = [client.head(stream_id, POST, end=False), data(stream_id, end=True), window_update(stream_id, 65_536)]
        if stream_id % 10 == 1:
            frames.append(ping())
        assert len(client.send(*frames)) == 2
        client.adapter.respond(stream_id, answer, content, end=True)
        client.read()
        client.send(window_update(0, 20_000), raw_frame(16, 0, 0, stream_id.to_bytes(4, "big") + b"u=1"))
    assert not client.adapter.closing
    assert client.adapter.open_streams == 0
