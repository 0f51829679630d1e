"""The first bytes of a connection: however they are cut, the same is made of them, and nothing past the limit is kept
waiting for."""

from __future__ import annotations

from securelight.tls.client_hello import ClientHello, ClientHelloReader, NeedMore, NotTls

LIMIT_BYTES = 1024
_EXTENSIONS = b"\0\0\0\x0b\0\x09\0\0\x06a.test\0\x10\0\x0e\0\x0c\x02h2\x08http/1.1\0\x2b\0\x05\x04\x03\x04\x03\x03"
_BODY = (
    b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + len(_EXTENSIONS).to_bytes(2, "big") + _EXTENSIONS
)
_MESSAGE = b"\x01" + len(_BODY).to_bytes(3, "big") + _BODY
SEEDS = [
    b"\x16\x03\x01" + len(_MESSAGE).to_bytes(2, "big") + _MESSAGE,
    b"\x16\x03\x01\0\x05" + _MESSAGE[:5] + b"\x16\x03\x03" + (len(_MESSAGE) - 5).to_bytes(2, "big") + _MESSAGE[5:],
    b"GET / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x80\x2e\x01\0\x02",
]
WORDS = [
    b"\x16\x03\x01",
    b"\0\0\0\x0b\0\x09\0\0\x06a.test",
    b"\0\x10\0\x05\0\x03\x02h2",
    b"\x02h2",
    b"\0\x2b",
    b"http/1.1",
]


def fuzz(data: bytes) -> None:
    reader = ClientHelloReader(LIMIT_BYTES)
    whole = reader.feed(data)
    assert reader.received == data
    assert not isinstance(whole, NeedMore) or len(data) <= LIMIT_BYTES
    if isinstance(whole, ClientHello):
        assert len(whole.server_name) <= 253
    pieces = ClientHelloReader(LIMIT_BYTES)
    middle = len(data) // 2
    for piece in (data[:1], data[1:middle], data[middle:]) if middle else (data,):
        found = pieces.feed(piece)
    if isinstance(whole, NotTls):
        assert isinstance(found, NotTls)  # a first byte alone may look like that of SSL 2
    else:
        assert found == whole
