"""Header blocks that cannot be decoded, and unusual ones that can (RFC 7541, sections 2.3.3, 5 and 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import hpack_bytes as hpack, http2_frames as frames
from securelight.conformance.case import Topic
from securelight.conformance.http2_accept import ANSWERED, COMPRESSION_ERROR, connection_error
from securelight.conformance.http2_questions import sends

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.http2_accept import Accept

DECODING = Topic(
    "Decoding",
    rfc=7541,
    why="One block that is decoded wrongly makes every later request on the connection another one, for somebody else.",
    cure="Treat every block that cannot be decoded as a connection error of type COMPRESSION_ERROR.",
)
UNDECODABLE = connection_error(COMPRESSION_ERROR)


def _ends_with(tail: bytes, accept: Accept) -> Question:
    """A request whose block ends with these bytes."""
    return sends(lambda client: [frames.headers(1, hpack.request(client) + tail)], accept)


def _begins_with(start: bytes, accept: Accept) -> Question:
    return sends(lambda client: [frames.headers(1, start + hpack.request(client))], accept)


_WRONG = {
    "6.1/index-zero": ("The index 0", b"\x80"),
    "2.3.3/index-beyond": ("The index 62 while the dynamic table is empty", hpack.indexed(62)),
    "2.3.3/index-far-beyond": ("The index 65,535", hpack.indexed(65_535)),
    "2.3.3/name-beyond-incremental": (
        "A literal to be indexed whose name has the index 62 while the dynamic table is empty",
        hpack.literal(62, b"1", hpack.INCREMENTAL),
    ),
    "2.3.3/name-beyond-without": (
        "A literal not to be indexed whose name has the index 62 while the dynamic table is empty",
        hpack.literal(62, b"1", hpack.WITHOUT_INDEXING),
    ),
    "2.3.3/name-beyond-never": (
        "A literal never to be indexed whose name has the index 62 while the dynamic table is empty",
        hpack.literal(62, b"1", hpack.NEVER_INDEXED),
    ),
    "5.1/index-overflow": ("An index of 70 bits", b"\xff" + b"\xff" * 9 + b"\x7f"),
    "5.1/index-overflow-to-two": ("An index that is 2 modulo 2^32", hpack.integer(2**32 + 2, 7, 0x80)),
    "5.1/index-overflow-to-two-64": ("An index that is 2 modulo 2^64", hpack.integer(2**64 + 2, 7, 0x80)),
    "5.1/length-overflow": ("A string length that is 1 modulo 2^32", b"\x00\x01x" + hpack.integer(2**32 + 1, 7) + b"1"),
    "5.1/length-overflow-64": ("A string length that is 1 modulo 2^64",
                               b"\x00\x01x" + hpack.integer(2**64 + 1, 7) + b"1"),
    "5.1/cut-integer": ("A block that ends inside of an integer", b"\xff"),
    "5.1/cut-long-integer": ("A block that ends inside of a longer integer", b"\xff\x80\x80"),
    "5.2/cut-name": ("A block that ends inside of a name", b"\x00\x05x-n"),
    "5.2/cut-value": ("A block that ends inside of a value", b"\x00\x01x\x05val"),
    "5.2/no-value": ("A block that ends before the value", b"\x00\x01x"),
    "5.2/no-name": ("A block that ends before the name", b"\x00"),
    "5.2/length-beyond": ("A string longer than its block", b"\x00\x01x\x7f\x80\x01abc"),
    "5.2/huffman-eos": (
        "A Huffman-coded value with the symbol EOS", b"\x00\x01x" + hpack.string(b"\xff" * 4, huffman=True),
    ),
    "5.2/huffman-eos-inside": (
        "A Huffman-coded value with the symbol EOS in the middle",
        b"\x00\x01x" + hpack.string(b"\x1f\xff\xff\xff\xf8\xff", huffman=True),
    ),
    "5.2/huffman-long-padding": (
        "A Huffman-coded value with 11 bits of padding", b"\x00\x01x" + hpack.string(b"\x1f\xff", huffman=True),
    ),
    "5.2/huffman-whole-byte-padding": (
        "A Huffman-coded value that is nothing but padding", b"\x00\x01x" + hpack.string(b"\xff", huffman=True),
    ),
    "5.2/huffman-zero-padding": (
        "A Huffman-coded value padded with zeros", b"\x00\x01x" + hpack.string(b"\x18", huffman=True),
    ),
    "5.2/huffman-mixed-padding": (
        "A Huffman-coded value padded with 110", b"\x00\x01x" + hpack.string(b"\x1e", huffman=True),
    ),
    "5.2/huffman-name-padding": (
        "A Huffman-coded name padded with zeros", b"\x00" + hpack.string(b"\x18", huffman=True) + b"\x011",
    ),
    "4.2/size-update-at-the-end": ("A table size update at the end of a block", hpack.size_update(0)),
    "4.2/size-update-inside": ("A table size update between two fields", hpack.size_update(4096) + b"\x00\x01x\x011"),
}  # fmt: skip
for _key, (_words, _tail) in _WRONG.items():
    DECODING.must(f"hpack/{_key}", _words)(_ends_with(_tail, UNDECODABLE))

_RIGHT = {
    "5.2/huffman-value": ("A Huffman-coded value", b"\x00\x01x" + hpack.string(b"\x1f", huffman=True)),
    "5.2/huffman-no-padding": (
        "A Huffman-coded value that ends with its last byte",
        b"\x00\x01x" + hpack.string(b"\x18\xc6\x31\x8c\x63", huffman=True),
    ),
    "5.2/huffman-empty": ("A Huffman-coded value of no bytes", b"\x00\x01x\x80"),
    "5.2/huffman-name": ("A Huffman-coded name", b"\x00" + hpack.string(b"\x1f", huffman=True) + b"\x011"),
    "5.1/length-of-127": (
        "A value of 127 bytes, whose length needs a second byte of zero", b"\x00\x01x\x7f\x00" + b"a" * 127,
    ),
    "5.1/length-of-128": ("A value of 128 bytes", b"\x00\x01x" + hpack.string(b"a" * 128)),
    "5.1/padded-length": ("A length of 127 with a needless byte of zero", b"\x00\x01x\x7f\x80\x00" + b"a" * 127),
    "6.2.1/incremental": ("A literal to be indexed", hpack.literal(b"x-field", b"1", hpack.INCREMENTAL)),
    "6.2.2/without-indexing": ("A literal not to be indexed", hpack.literal(b"x-field", b"1", hpack.WITHOUT_INDEXING)),
    "6.2.3/never-indexed": ("A literal never to be indexed", hpack.literal(b"x-field", b"1", hpack.NEVER_INDEXED)),
    "6.2.2/static-name": ("A literal with a name of the static table", hpack.literal(58, b"judge")),
    "6.2.2/last-static-name": ("A literal with the last name of the static table", hpack.literal(61, b"1")),
    "6.1/static-field": ("A field of the static table", hpack.indexed(16)),
}  # fmt: skip
for _key, (_words, _tail) in _RIGHT.items():
    DECODING.must(f"hpack/{_key}", f"{_words}: that is right")(_ends_with(_tail, ANSWERED))

_UPDATES = {
    "6.3/to-zero": ("A table size update to zero", hpack.size_update(0)),
    "6.3/to-the-limit": ("A table size update to 4,096", hpack.size_update(4_096)),
    "4.2/two-updates": ("Two table size updates, to zero and back", hpack.size_update(0) + hpack.size_update(4_096)),
}
for _key, (_words, _start) in _UPDATES.items():
    DECODING.must(f"hpack/{_key}", f"{_words}, at the beginning of a block: that is right")(
        _begins_with(_start, ANSWERED)
    )
