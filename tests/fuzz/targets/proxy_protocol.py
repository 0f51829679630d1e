"""PROXY headers, versions 1 and 2: only ProxyFault is raised, the same is read however it comes in pieces, little is
held, and what stands behind the header is left as it is."""

from __future__ import annotations

from securelight.protocol.proxy_protocol import ProxyFault, ProxyHeader, ProxyHeaderReader, write_v1, write_v2

LIMIT_BYTES = 300
ADDRESSES = (("192.0.2.1", 1), ("192.0.2.2", 2))
SEEDS = [
    write_v1(*ADDRESSES) + b"behind",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
    write_v2(*ADDRESSES) + b"behind",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x2d" + bytes(36) + b"\x01\0\x02h2" + b"\x04\0\0\x05\0\x00",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1f" + bytes(12) + b"\x20\0\x0d\x01\0\0\0\0\x22\0\x05a b c\x03\0\x04abcd",
]
WORDS = [
    b"\r\n\r\n\0\r\nQUIT\n",
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b"::1 ::2 1 2\r\n",
    b"\x20\0\x05\1\0\0\0\0",
    b"\x02\0\x06a.test",
]


def _read(pieces: list[bytes]) -> tuple[ProxyHeader, bytes] | str:
    """The header and what is behind it, or why there is none."""
    reader = ProxyHeaderReader(LIMIT_BYTES)
    for number, piece in enumerate(pieces):
        try:
            header = reader.feed(piece)
        except ProxyFault:
            return "fault"
        if header is not None:
            return header, reader.rest + b"".join(pieces[number + 1 :])
        assert len(reader._received) <= LIMIT_BYTES
    return "incomplete"


def fuzz(data: bytes) -> None:
    whole = _read([data])
    assert _read([data[place : place + 1] for place in range(len(data))]) == (whole if data else "incomplete")
    if not isinstance(whole, str):
        header, rest = whole
        assert data.endswith(rest)
        assert len(data) - len(rest) <= LIMIT_BYTES
        if header.tls is not None:
            assert header.tls.common_name.isprintable()
        assert header.authority.isprintable()
