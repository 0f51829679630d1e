"""Clients that break the rules of HTTP/2, on both engines: what costs an answer, a stream or the connection."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from securelight.model.errors import Http2Code
from securelight.model.request import Request
from securelight.model.response import Response
from securelight.protocol.events import RequestRefused
from tests.protocol.http2_support import (
    ENGINES,
    GET,
    LIMITS,
    OK,
    POST,
    PREFACE,
    Client,
    data,
    one_request,
    outline,
    ping,
    raw_frame,
    reset,
    settings,
    window_update,
)

if TYPE_CHECKING:
    from securelight.protocol.http2_adapter import Http2Adapter

pytestmark = pytest.mark.parametrize("engine", ENGINES)

Engine = type["Http2Adapter"]


# Refusals and faults of one stream


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param([*GET, *((b"x-%d" % number, b"") for number in range(101))], 431, id="too many fields"),
        pytest.param([*GET, *((b"cookie", b"a=%d" % number) for number in range(101))], 431, id="cookie crumbs"),
        pytest.param([*GET, *((b"x-%d" % number, b"v" * 8000) for number in range(5))], 431, id="too large"),
        pytest.param([*GET[:2], (b":path", b"/" + b"a" * 9000), GET[3]], 414, id="long target"),
        pytest.param([*POST, (b"content-length", b"99999999999")], 413, id="announced body"),
        pytest.param([*GET[:2], (b":path", b"/%zz"), GET[3]], 400, id="broken escape"),
        pytest.param([*GET[:2], (b":path", b"/\xff"), GET[3]], 400, id="bytes in the path"),
        pytest.param([*GET[:2], (b":path", b"/../x"), GET[3]], 400, id="above the root"),
        pytest.param([*GET[:3], (b":authority", b"a.test:99999")], 400, id="port"),
        pytest.param([(b":method", b"CONNECT"), (b":authority", b"a.test:443")], 501, id="CONNECT"),
        pytest.param([GET[0], (b":scheme", b"http"), *GET[2:]], 421, id="scheme"),
        pytest.param([*GET, (b"expect", b"miracles")], 417, id="expectation"),
    ],
)
def test_well_formed_requests_that_are_refused_get_an_answer(
    engine: Engine, fields: list[tuple[bytes, bytes]], status: int
) -> None:
    client = Client(engine)
    head = client.head(1, fields, end=b"content-length" not in dict(fields))
    if len(head) > 16_393:
        head = client_frames_of(fields)
    (event,) = client.send(head)
    assert isinstance(event, RequestRefused)
    assert (event.stream_id, event.refusal.status, event.in_body) == (1, status, False)
    assert event.method == fields[0][1].decode()
    client.adapter.respond(1, Response(status), b"", end=True)
    client.send(client.head(3))
    client.adapter.respond(3, OK, b"hello", end=True)
    client.read()
    assert client.answers()[1][0] == status
    assert client.answers()[3] == (200, b"hello", True)


def client_frames_of(fields: list[tuple[bytes, bytes]]) -> bytes:
    """A large head in as few frames as fit; a client of its own, so its compression state is a fresh one."""
    client = Client(ENGINES[0])
    return client.head(1, fields, split=[16_000, 32_000])


MALFORMED_HEADS = {
    "upper case": [*GET, (b"Foo", b"x")],
    "empty name": [*GET, (b"", b"x")],
    "space in a name": [*GET, (b"a b", b"x")],
    "trailing space in a name": [*GET, (b"a ", b"x")],
    "colon in a name": [*GET, (b"a:b", b"x")],
    "control character": [*GET, (b"foo", b"a\x00b")],
    "CR LF": [*GET, (b"foo", b"a\r\nb: c")],
    "leading space": [*GET, (b"foo", b" a")],
    "trailing tab": [*GET, (b"foo", b"a\t")],
    "connection": [*GET, (b"connection", b"close")],
    "transfer-encoding": [*POST, (b"transfer-encoding", b"chunked")],
    "upgrade": [*GET, (b"upgrade", b"websocket")],
    "te": [*GET, (b"te", b"gzip")],
    "no path": GET[:2] + GET[3:],
    "empty path": [*GET[:2], (b":path", b""), GET[3]],
    "space in the path": [*GET[:2], (b":path", b"/a b"), GET[3]],
    "relative path": [*GET[:2], (b":path", b"a"), GET[3]],
    "star path": [*GET[:2], (b":path", b"*"), GET[3]],
    "no method": GET[1:],
    "bad method": [(b":method", b"G T"), *GET[1:]],
    "no scheme": [GET[0], *GET[2:]],
    "bad scheme": [GET[0], (b":scheme", b"1ttps"), *GET[2:]],
    "no authority": GET[:3],
    "empty authority": [*GET[:3], (b":authority", b"")],
    "empty authority with host": [*GET[:3], (b":authority", b""), (b"host", b"a.test")],
    "empty host": [*GET, (b"host", b"")],
    "user information": [*GET[:3], (b":authority", b"me@a.test")],
    "space in the authority": [*GET[:3], (b":authority", b"a test")],
    "another host": [*GET, (b"host", b"b.test")],
    "two hosts": [*GET[:3], (b"host", b"a.test"), (b"host", b"a.test")],
    "repeated pseudo-header": [*GET, (b":path", b"/")],
    "unknown pseudo-header": [*GET, (b":foo", b"/")],
    "status": [*GET, (b":status", b"100")],
    "protocol": [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]],
    "connect with a path": [(b":method", b"CONNECT"), *GET[1:]],
    "pseudo-header after a field": [*GET[:3], (b"a", b"b"), GET[3]],
    "response": [(b":status", b"200")],
    "nothing": [],
    "length that is none": [*POST, (b"content-length", b"x")],
    "signed length": [*POST, (b"content-length", b"+5")],
    "length list": [*POST, (b"content-length", b"5, 5")],
    "two lengths": [*POST, (b"content-length", b"5"), (b"content-length", b"5")],
    "length without content": [*POST, (b"content-length", b"5")],
    "malformed and too large": [*GET, *((b"x-%d" % number, b"") for number in range(120)), (b"B", b"")],
}


@pytest.mark.parametrize("name", MALFORMED_HEADS)
def test_malformed_head_costs_one_stream(engine: Engine, name: str) -> None:
    client = Client(engine)
    events = client.send(client.head(1), client.head(3, MALFORMED_HEADS[name]), client.head(5))
    assert sorted(outline(events), key=lambda item: item[1])[1] == ("aborted", 3, Http2Code.PROTOCOL_ERROR, False)
    assert [event.stream_id for event in events if isinstance(event, Request)] == [1, 5]
    for stream_id in (1, 3, 5):
        client.adapter.respond(stream_id, OK, b"hello", end=True)
    client.read()
    assert client.answers() == {1: (200, b"hello", True), 5: (200, b"hello", True)}
    assert client.resets() == {3: Http2Code.PROTOCOL_ERROR}
    assert client.goaways() == []
    assert client.adapter.open_streams == 0


@pytest.mark.parametrize(
    ("length", "pieces", "trailers"),
    [
        (b"3", [b"ab"], None),
        (b"3", [b"ab", b"cd"], None),
        (b"0", [b"a"], None),
        (b"3", [], None),
        (b"3", [b"ab"], [(b"x-a", b"b")]),
        (None, [b"ab"], [(b":path", b"/")]),
        (None, [b"ab"], [(b"Upper", b"/")]),
        (None, [b"ab"], [(b"connection", b"close")]),
        (None, [b"ab"], [(b"content-length", b"2")]),
        (None, [b"ab"], [(b"content-length", b"3")]),
        (None, [b"ab"], [(b"host", b"b.test")]),
    ],
)
def test_body_that_is_not_what_was_announced_costs_one_stream(
    engine: Engine, length: bytes | None, pieces: list[bytes], trailers: list[tuple[bytes, bytes]] | None
) -> None:
    client = Client(engine)
    fields = POST if length is None else [*POST, (b"content-length", length)]
    client.send(client.head(1, fields, end=False))
    frames = [data(1, piece) for piece in pieces]
    frames.append(data(1, end=True) if trailers is None else client.head(1, trailers))
    events = outline(client.send(*frames))
    assert events[-1] == ("aborted", 1, Http2Code.PROTOCOL_ERROR, False)
    assert all(event[0] == "body" for event in events[:-1])
    client.read()
    assert client.resets() == {1: Http2Code.PROTOCOL_ERROR}
    assert one_request(client.send(client.head(3))).stream_id == 3
    assert client.adapter.open_streams == 1


def test_trailers_that_do_not_end_the_stream(engine: Engine) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False))
    events = client.send(client.head(1, [(b"x-a", b"b")], end=False))
    assert outline(events) == [("aborted", 1, Http2Code.PROTOCOL_ERROR, False)]


def test_body_without_announced_length_is_cut_at_the_limit(engine: Engine) -> None:
    client = Client(engine, dataclasses.replace(LIMITS, request_body_bytes=1000))
    events = outline(client.send(client.head(1, POST, end=False), data(1, b"x" * 1000), data(1, b"y"), data(1, b"z")))
    assert events[1:] == [("body", 1, b"x" * 1000), ("refused", 1, 413, True)]
    client.adapter.respond(1, Response(413), b"", end=True)
    client.read()
    assert client.answers()[1] == (413, b"", True)
    client.lose_patience()
    client.read()
    assert client.resets() == {1: Http2Code.NO_ERROR}


def test_streams_beyond_the_limit_are_refused_and_the_others_served(engine: Engine) -> None:
    client = Client(engine, dataclasses.replace(LIMITS, concurrent_streams=3))
    events = outline(client.send(*(client.head(stream_id) for stream_id in (1, 3, 5, 7))))
    assert events[3] == ("aborted", 7, Http2Code.REFUSED_STREAM, False)
    client.adapter.respond(1, OK, b"hello", end=True)
    client.read()
    assert client.resets() == {7: Http2Code.REFUSED_STREAM}
    assert one_request(client.send(client.head(9))).stream_id == 9


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(window_update(1, 0), Http2Code.PROTOCOL_ERROR, id="WINDOW_UPDATE of zero"),
        pytest.param(window_update(1, 2**31 - 1), Http2Code.FLOW_CONTROL_ERROR, id="window overflow"),
        pytest.param(data(1, b"x"), Http2Code.STREAM_CLOSED, id="DATA on half-closed"),
        pytest.param(raw_frame(2, 0, 1, b"1234"), Http2Code.FRAME_SIZE_ERROR, id="short PRIORITY"),
    ],
)
def test_frame_faults_that_cost_one_stream(engine: Engine, frame: bytes, code: Http2Code) -> None:
    client = Client(engine)
    events = outline(client.send(client.head(1), frame, client.head(3)))
    assert [event[0] for event in events] == ["request", "aborted", "request"]
    assert events[1] == ("aborted", 1, code, False)
    client.adapter.respond(3, OK, b"hello", end=True)
    client.read()
    assert client.resets() == {1: code}
    assert client.answers() == {3: (200, b"hello", True)}


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param([raw_frame(0, 0, 0, b"x")], Http2Code.PROTOCOL_ERROR, id="DATA on stream 0"),
        pytest.param([raw_frame(0, 0, 5, b"x")], Http2Code.PROTOCOL_ERROR, id="DATA on an idle stream"),
        pytest.param([raw_frame(0, 8, 1, b"\x05abcd")], Http2Code.PROTOCOL_ERROR, id="DATA padding"),
        pytest.param([raw_frame(0, 8, 1, b"")], Http2Code.FRAME_SIZE_ERROR, id="DATA without pad length"),
        pytest.param([raw_frame(1, 5, 0, b"\x82")], Http2Code.PROTOCOL_ERROR, id="HEADERS on stream 0"),
        pytest.param([raw_frame(1, 5, 2, b"\x82")], Http2Code.PROTOCOL_ERROR, id="HEADERS on an even stream"),
        pytest.param([raw_frame(1, 0x0D, 3, b"\x09\x82")], Http2Code.PROTOCOL_ERROR, id="HEADERS padding"),
        pytest.param([raw_frame(1, 0x25, 3, b"\x00\x00")], Http2Code.FRAME_SIZE_ERROR, id="HEADERS priority"),
        pytest.param(
            [raw_frame(1, 0x25, 3, b"\x00\x00\x00\x03\x10\x82")], Http2Code.PROTOCOL_ERROR, id="depends on itself"
        ),
        pytest.param([raw_frame(1, 5, 3, b"\xff\xff\xff")], Http2Code.COMPRESSION_ERROR, id="bad compression"),
        pytest.param([raw_frame(1, 1, 3, b"\x82"), ping()], Http2Code.PROTOCOL_ERROR, id="interrupted head"),
        pytest.param(
            [raw_frame(1, 1, 3, b"\x82"), raw_frame(9, 4, 5, b"\x82")], Http2Code.PROTOCOL_ERROR, id="CONTINUATION"
        ),
        pytest.param([raw_frame(9, 4, 1, b"\x82")], Http2Code.PROTOCOL_ERROR, id="CONTINUATION alone"),
        pytest.param([raw_frame(2, 0, 0, b"12345")], Http2Code.PROTOCOL_ERROR, id="PRIORITY on stream 0"),
        pytest.param([raw_frame(3, 0, 0, b"1234")], Http2Code.PROTOCOL_ERROR, id="RST_STREAM on stream 0"),
        pytest.param([raw_frame(3, 0, 9, b"1234")], Http2Code.PROTOCOL_ERROR, id="RST_STREAM on an idle stream"),
        pytest.param([raw_frame(3, 0, 1, b"123")], Http2Code.FRAME_SIZE_ERROR, id="short RST_STREAM"),
        pytest.param([raw_frame(4, 0, 1)], Http2Code.PROTOCOL_ERROR, id="SETTINGS on a stream"),
        pytest.param([raw_frame(4, 0, 0, b"12345")], Http2Code.FRAME_SIZE_ERROR, id="short SETTINGS"),
        pytest.param([raw_frame(4, 1, 0, b"123456")], Http2Code.FRAME_SIZE_ERROR, id="SETTINGS ACK with entries"),
        pytest.param([raw_frame(4, 1, 0), raw_frame(4, 1, 0)], Http2Code.PROTOCOL_ERROR, id="two ACKs"),
        pytest.param([raw_frame(4, 0, 0, b"\0\2\0\0\0\2")], Http2Code.PROTOCOL_ERROR, id="ENABLE_PUSH 2"),
        pytest.param([raw_frame(4, 0, 0, b"\0\4\x80\0\0\0")], Http2Code.FLOW_CONTROL_ERROR, id="initial window"),
        pytest.param([raw_frame(4, 0, 0, b"\0\5\0\0\0\1")], Http2Code.PROTOCOL_ERROR, id="frame size setting"),
        pytest.param([raw_frame(4, 0, 0, b"\0\x09\0\0\0\1")], Http2Code.PROTOCOL_ERROR, id="priorities changed"),
        pytest.param([raw_frame(5, 4, 1, b"\0\0\0\2\x82")], Http2Code.PROTOCOL_ERROR, id="PUSH_PROMISE"),
        pytest.param([raw_frame(6, 0, 1, b"12345678")], Http2Code.PROTOCOL_ERROR, id="PING on a stream"),
        pytest.param([raw_frame(6, 0, 0, b"1234567")], Http2Code.FRAME_SIZE_ERROR, id="short PING"),
        pytest.param([raw_frame(7, 0, 1, b"12345678")], Http2Code.PROTOCOL_ERROR, id="GOAWAY on a stream"),
        pytest.param([raw_frame(7, 0, 0, b"1234567")], Http2Code.FRAME_SIZE_ERROR, id="short GOAWAY"),
        pytest.param([window_update(0, 0)], Http2Code.PROTOCOL_ERROR, id="WINDOW_UPDATE of zero"),
        pytest.param([window_update(0, 2**31 - 1)], Http2Code.FLOW_CONTROL_ERROR, id="window overflow"),
        pytest.param([window_update(7, 1)], Http2Code.PROTOCOL_ERROR, id="WINDOW_UPDATE on an idle stream"),
        pytest.param([raw_frame(8, 0, 1, b"123")], Http2Code.FRAME_SIZE_ERROR, id="short WINDOW_UPDATE"),
        pytest.param([raw_frame(16, 0, 1, b"\0\0\0\1u=1")], Http2Code.PROTOCOL_ERROR, id="PRIORITY_UPDATE"),
        pytest.param([raw_frame(16, 0, 0, b"\0\0\0\0")], Http2Code.PROTOCOL_ERROR, id="PRIORITY_UPDATE stream 0"),
        pytest.param([raw_frame(16, 0, 0, b"\0\0\0")], Http2Code.FRAME_SIZE_ERROR, id="short PRIORITY_UPDATE"),
        pytest.param([raw_frame(0, 0, 1, b"x" * 16_385)], Http2Code.FRAME_SIZE_ERROR, id="frame too large"),
        pytest.param([raw_frame(0x77, 0, 0, b"x" * 16_385)], Http2Code.FRAME_SIZE_ERROR, id="unknown, too large"),
        pytest.param([reset(1), data(1, b"x")], Http2Code.STREAM_CLOSED, id="DATA after RST_STREAM"),
        pytest.param(
            [data(1, b"x", end=True), raw_frame(1, 5, 1, b"\x82")], Http2Code.STREAM_CLOSED, id="HEADERS after the end"
        ),
        pytest.param([raw_frame(2, 0, 9, b"1234")], Http2Code.FRAME_SIZE_ERROR, id="short PRIORITY on no stream"),
        pytest.param(
            [window_update(1, 1 << 30), settings({4: 2**31 - 1})], Http2Code.FLOW_CONTROL_ERROR, id="window by SETTINGS"
        ),
    ],
)
def test_frame_faults_that_cost_the_connection(engine: Engine, frames: list[bytes], code: Http2Code) -> None:
    client = Client(engine)
    client.send(client.head(1, POST, end=False))
    events = outline(client.send(*frames))
    assert events[-1] == ("failed", code)
    assert client.adapter.closing
    assert client.send(client.head(11)) == []
    client.read()
    assert client.goaways() == [(1, code)]
    assert client.adapter.take_output(1000) == b""


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"\x16\x03\x01"])
def test_wrong_preface(engine: Engine, first: bytes) -> None:
    client = Client(engine, greet=False)
    assert outline(client.send(first)) == [("failed", Http2Code.PROTOCOL_ERROR)]
    client.read()
    assert client.goaways() == [(0, Http2Code.PROTOCOL_ERROR)]


@pytest.mark.parametrize("frame", [ping(), raw_frame(4, 1, 0), window_update(0, 1), raw_frame(9, 4, 1)])
def test_first_frame_must_be_settings(engine: Engine, frame: bytes) -> None:
    client = Client(engine, greet=False)
    assert outline(client.send(PREFACE, frame)) == [("failed", Http2Code.PROTOCOL_ERROR)]


def test_frames_that_mean_nothing_are_ignored(engine: Engine) -> None:
    client = Client(engine)
    ignored = [
        raw_frame(0x55, 0xFF, 0, b"unknown"),
        raw_frame(0x0A, 0, 0, b"\0\0"),
        raw_frame(0x0C, 0, 0, b"\0\0"),
        raw_frame(2, 0, 3, b"\0\0\0\x01\x10"),
        raw_frame(16, 0, 0, b"\0\0\0\x09u=1"),
        settings({0x1234: 7, 0xABCD: 2**32 - 1}),
    ]
    assert client.send(*ignored) == []
    events = client.send(client.head(1), window_update(1, 5), *ignored, raw_frame(16, 0, 0, b"\0\0\0\x01u=0,i"))
    assert one_request(events).stream_id == 1
    client.adapter.respond(1, OK, b"hello", end=True)
    client.read()
    assert client.send(window_update(1, 5), window_update(1, 0), reset(1), raw_frame(2, 0, 1, b"\0\0\0\0\x10")) == []
    assert client.answers()[1] == (200, b"hello", True)
