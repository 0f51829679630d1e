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
