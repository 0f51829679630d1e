"""Header blocks byte by byte, right or wrong (RFC 7541, sections 5 and 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securelight.conformance.http2_client import Http2Client
    from securelight.conformance.target import Target

STATIC_ENTRIES = 61
FIRST_DYNAMIC = 62
"""The index of the newest entry of the dynamic table."""
ENTRY_OVERHEAD = 32
"""What each entry counts beyond its name and value (section 4.1)."""
METHOD, PATH = 2, 4
"""Indexes of names in the static table."""
INCREMENTAL, WITHOUT_INDEXING, NEVER_INDEXED = (0x40, 6), (0x00, 4), (0x10, 4)
"""The three kinds of literals: pattern, and bits of the name's index."""


def integer(value: int, bits: int, pattern: int = 0) -> bytes:
    """Section 5.1: with a prefix of so many bits, below the pattern."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([pattern | value])
    encoded = bytearray([pattern | most])
    value -= most
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def string(value: bytes, *, huffman: bool = False) -> bytes:
    """Section 5.2; `value` is Huffman-coded already if it is said to be."""
    return integer(len(value), 7, 0x80 if huffman else 0) + value


def indexed(index: int) -> bytes:
    """Section 6.1."""
    return integer(index, 7, 0x80)


def literal(name: bytes | int, value: bytes, kind: tuple[int, int] = WITHOUT_INDEXING) -> bytes:
    """Section 6.2; the name as bytes or as an index."""
    pattern, bits = kind
    if isinstance(name, int):
        return integer(name, bits, pattern) + string(value)
    return bytes([pattern]) + string(name) + string(value)


def size_update(size: int) -> bytes:
    """Section 6.3."""
    return integer(size, 5, 0x20)


def request(client: Http2Client, method: bytes | None = None) -> bytes:
    """A plain request that leaves the dynamic table alone; `method` is an encoded field, GET if None."""
    return request_to(client.target, method)


def request_to(target: Target, method: bytes | None = None) -> bytes:
    """The same, for whom no client is needed."""
    return b"".join(
        (
            indexed(METHOD) if method is None else method,
            indexed(7 if target.tls else 6),
            literal(PATH, target.path.encode()),
            literal(1, target.authority.encode()),
        )
    )
