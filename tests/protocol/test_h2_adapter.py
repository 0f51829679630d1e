"""What only the adapter on h2 has to do; the rest is in the tests of both."""

from __future__ import annotations

from securelight.protocol.adapter import COSTLY_READ_BYTES, READ_BYTES
from securelight.protocol.h2_adapter import H2Adapter
from tests.protocol.http2_support import POST, Client, raw_frame


def adapter_of(client: Client) -> H2Adapter:
    assert isinstance(client.adapter, H2Adapter)
    return client.adapter


def reads(client: Client, data: bytes) -> list[int]:
    """How much of `data` is read at a time, as a connection does it."""
    sizes = []
    while data:
        size = min(adapter_of(client).read_bytes, len(data))
        client.send(data[:size])
        data = data[size:]
        sizes.append(size)
    return sizes


def test_tiny_frames_are_read_a_few_at_a_time_and_large_ones_whole() -> None:
    client = Client(H2Adapter)
    client.send(client.head(1, POST, end=False))
    assert max(reads(client, raw_frame(0, 0, 1, b"x") * 300)) <= COSTLY_READ_BYTES
    large = raw_frame(0, 0, 1, bytes(16_384))
    assert len(reads(client, large * 3)) <= 6
    assert adapter_of(client).read_bytes == COSTLY_READ_BYTES
    assert max(reads(client, large[:20])) == 20
    assert adapter_of(client).read_bytes == READ_BYTES, "never more, however much is missing"
