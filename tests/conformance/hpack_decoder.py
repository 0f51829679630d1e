"""A small decoder of header blocks that is right, and can be made wrong in one way at a time."""

from __future__ import annotations

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

STATIC = HeaderTable.STATIC_TABLE
_SYMBOLS = {
    (length, code): symbol
    for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
}
EOS = 256


class HpackError(Exception):
    """The block cannot be decoded."""


class HpackDecoder:
    """One side's table.

    Args:
        faults: what it does wrong.
    """

    def __init__(self, faults: frozenset[str]) -> None:
        self.faults = faults
        self.maximum = self.size_limit = 4096
        self.table: list[tuple[bytes, bytes]] = []

    def decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        if "table is new for each request" in self.faults:
            self.table = []
        fields: list[tuple[bytes, bytes]] = []
        position = 0
        while position < len(block):
            first = block[position]
            if first & 0x80:
                index, position = self._integer(block, position, 7)
                if index == 0 and "index zero is skipped" in self.faults:
                    continue
                fields.append(self._entry(index))
            elif first & 0xE0 == 0x20:
                size, position = self._integer(block, position, 5)
                self._resize(size, bool(fields))
            else:
                indexes = bool(first & 0x40)
                if first & 0x10 and not indexes and "never-indexed fields are indexed" in self.faults:
                    indexes = True
                if not first & 0x50 and "fields without indexing are indexed" in self.faults:
                    indexes = True
                index, position = self._integer(block, position, 6 if first & 0x40 else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, position = self._string(block, position)
                value, position = self._string(block, position)
                fields.append((name, value))
                if indexes:
                    self._add(name, value)
        return fields

    def _integer(self, block: bytes, position: int, bits: int) -> tuple[int, int]:
        if position >= len(block):
            raise HpackError("cut")
        most = (1 << bits) - 1
        value = block[position] & most
        position += 1
        if value < most:
            return value, position
        shift = 0
        while True:
            if position >= len(block):
                if "cut integers are taken" in self.faults:
                    return 2, position
                raise HpackError("cut")
            byte = block[position]
            position += 1
            value += (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        if "integers have 32 bits" in self.faults:
            value &= 0xFFFFFFFF
        return value, position

    def _string(self, block: bytes, position: int) -> tuple[bytes, int]:
        if position >= len(block):
            if "cut strings are taken" in self.faults:
                return b"", position
            raise HpackError("cut")
        coded = block[position] & 0x80
        length, position = self._integer(block, position, 7)
        value = block[position : position + length]
        if len(value) != length and "cut strings are taken" not in self.faults:
            raise HpackError("cut")
        position += length
        return (self._huffman(value) if coded else value), position

    def _huffman(self, coded: bytes) -> bytes:
        found = bytearray()
        length = code = 0
        for byte in coded:
            for bit in range(7, -1, -1):
                code = code << 1 | (byte >> bit & 1)
                length += 1
                symbol = _SYMBOLS.get((length, code))
                if symbol is None:
                    continue
                if symbol == EOS:
                    if "EOS is skipped" not in self.faults:
                        raise HpackError("EOS")
                else:
                    found.append(symbol)
                length = code = 0
        if length > 7 and "long padding is taken" not in self.faults:
            raise HpackError("padding is too long")
        if code != (1 << length) - 1 and "padding is not looked at" not in self.faults:
            raise HpackError("padding is not ones")
        return bytes(found)

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if 0 < index <= len(STATIC):
            return STATIC[index - 1]
        place = index - len(STATIC) - 1
        if "oldest entry is first" in self.faults:
            place = len(self.table) - 1 - place
        if not 0 <= place < len(self.table):
            if "indexes beyond the table are taken" in self.faults:
                return b"x-nothing", b""
            raise HpackError(f"index {index}")
        return self.table[place]

    def _resize(self, size: int, late: bool) -> None:
        if late and "late size updates are taken" not in self.faults:
            raise HpackError("size update after a field")
        if size > self.size_limit and "size updates have no limit" not in self.faults:
            raise HpackError("size update beyond the limit")
        if "size updates are ignored" not in self.faults:
            self.maximum = size
            self._evict(0)

    def _add(self, name: bytes, value: bytes) -> None:
        size = self._size(name, value)
        self._evict(size)
        if size <= self.maximum:
            self.table.insert(0, (name, value))
        elif "a large field is an error" in self.faults:
            raise HpackError("too large")

    def _evict(self, size: int) -> None:
        if "nothing is evicted" in self.faults:
            return
        if size > self.maximum and "a large field empties nothing" in self.faults:
            return
        while self.table and sum(self._size(*entry) for entry in self.table) + size > self.maximum:
            self.table.pop()

    def _size(self, name: bytes, value: bytes) -> int:
        return len(name) + len(value) + (0 if "entries have no overhead" in self.faults else 32)
