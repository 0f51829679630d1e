"""What only the adapter on libnghttp2 has to do; the rest is in the tests of both."""

from __future__ import annotations

from securelight.model.errors import Http2Code
from securelight.protocol.nghttp2_adapter import Nghttp2Adapter
from tests.protocol.http2_support import GET, OK, Client, outline, raw_frame


def test_requests_beside_a_broken_header_block_are_not_reported_even_if_they_came_before() -> None:
    client = Client(Nghttp2Adapter)
    fields = [*GET, (b"x-test", b"retract")]
    for stream_id in (1, 3):
        client.send(client.head(stream_id, fields))
        client.adapter.respond(stream_id, OK, b"hello", end=True)
        client.read()
    events = client.send(client.head(5, fields), raw_frame(1, 5, 7, b"\xff\xff\xff"))
    assert outline(events) == [("failed", Http2Code.COMPRESSION_ERROR)]
    client.read()
    assert client.goaways() == [(3, Http2Code.COMPRESSION_ERROR)]
    assert client.adapter.open_streams == 0


def test_a_broken_header_block_is_noticed_before_its_end_and_the_engine_says_no_goodbye_of_its_own() -> None:
    client = Client(Nghttp2Adapter)
    client.adapter.goodbye()
    client.read()
    assert outline(client.send(raw_frame(1, 1, 1, b"\xff\xff\xff"))) == [("failed", Http2Code.COMPRESSION_ERROR)]
    client.read()
    assert client.goaways() == [(0, Http2Code.NO_ERROR), (0, Http2Code.COMPRESSION_ERROR)]


def test_a_broken_header_block_that_is_interrupted_costs_one_goaway() -> None:
    client = Client(Nghttp2Adapter)
    client.send(raw_frame(1, 1, 1, b"\xff\xff\xff") + raw_frame(6, 0, 0, bytes(8)))
    client.read()
    assert client.goaways() == [(0, Http2Code.COMPRESSION_ERROR)]
