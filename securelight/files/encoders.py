"""Content codings that are made here (RFC 9110, section 8.4.1): gzip, brotli (RFC 7932) and zstd (RFC 8878).

gzip is the standard library's; the other two come with the extra `compression`. An encoder belongs to one body and is
used by one thread at a time. Its window is bounded: a body that is sent as it is made takes little memory, and no
client needs more than the 8 MB that RFC 9659 allows to read what is kept.
"""

from __future__ import annotations

import importlib
import zlib
from typing import Any, Final, Protocol

_LIVE_WINDOW_BITS = 18
"""256 kB, for bodies that are sent as they are made."""
_KEPT_WINDOW_BITS = 22
_GZIP_FORMAT = 16
"""zlib's way to ask for a gzip header and trailer, added to the bits of the window."""
_GZIP_WINDOW_BITS, _GZIP_MEMORY_LEVEL = (9, 15), 8
_GZIP_LOOK_AHEAD_BYTES = 262
"""Of its window, zlib cannot point that far back."""

LEVELS: Final = {b"br": (0, 11), b"zstd": (1, 19), b"gzip": (1, 9)}
"""The least and greatest level of each coding; zstd above 19 takes a window that browsers refuse."""
MODULES: Final = {b"br": "brotli", b"zstd": "zstandard"}
"""The packages that codings need."""
SUFFIXES: Final = {b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"}
"""What a precompressed sibling's name ends in."""


class Encoder(Protocol):
    """One body on its way through a coding."""

    def feed(self, data: bytes, *, flush: bool) -> bytes:
        """What there is to send for `data`; with `flush`, all of it can be decoded by who has received that."""
        ...

    def finish(self) -> bytes:
        """The rest of the body."""
        ...


class _Gzip:
    __slots__ = ("_object",)

    def __init__(self, level: int, size: int | None = None) -> None:
        least, bits = _GZIP_WINDOW_BITS
        if size is not None:  # a table that has to be cleared first is not made larger than there is to look up in it
            bits = min(bits, max(least, (size + _GZIP_LOOK_AHEAD_BYTES).bit_length()))
        memory = _GZIP_MEMORY_LEVEL - (_GZIP_WINDOW_BITS[1] - bits)
        self._object = zlib.compressobj(level, zlib.DEFLATED, _GZIP_FORMAT + bits, memory)

    def feed(self, data: bytes, *, flush: bool) -> bytes:
        made = self._object.compress(data)
        return made + self._object.flush(zlib.Z_SYNC_FLUSH) if flush else made

    def finish(self) -> bytes:
        return self._object.flush()


class _Brotli:
    __slots__ = ("_object",)

    def __init__(self, level: int, window_bits: int) -> None:
        self._object: Any = importlib.import_module("brotli").Compressor(quality=level, lgwin=window_bits)

    def feed(self, data: bytes, *, flush: bool) -> bytes:
        made: bytes = self._object.process(data)
        return made + self._object.flush() if flush else made

    def finish(self) -> bytes:
        made: bytes = self._object.finish()
        return made


class _Zstandard:
    __slots__ = ("_flush_kind", "_object")

    def __init__(self, level: int, window_bits: int) -> None:
        zstandard: Any = importlib.import_module("zstandard")
        parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=window_bits)
        self._object: Any = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self._flush_kind = zstandard.COMPRESSOBJ_FLUSH_BLOCK

    def feed(self, data: bytes, *, flush: bool) -> bytes:
        made: bytes = self._object.compress(data)
        return made + self._object.flush(self._flush_kind) if flush else made

    def finish(self) -> bytes:
        made: bytes = self._object.flush()
        return made


def is_available(coding: bytes) -> bool:
    """Whether `coding` (a key of LEVELS) can be made here."""
    module = MODULES.get(coding)
    if module is None:
        return True
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def live_encoder(coding: bytes, level: int, size: int | None = None) -> Encoder:
    """For a body that is sent as it is made.

    Args:
        coding: a key of LEVELS that is available.
        level: within LEVELS[coding].
        size: how many bytes it is said to have; None if that is not known. More or less of them harm nothing.
    """
    return _Gzip(level, size) if coding == b"gzip" else _encoder(coding, level, _LIVE_WINDOW_BITS)


def kept_encoder(coding: bytes, level: int) -> Encoder:
    """For a body that is made once and sent many times; arguments as for `live_encoder`."""
    return _encoder(coding, level, _KEPT_WINDOW_BITS)


def encode(data: bytes, coding: bytes, level: int) -> bytes:
    """The whole of `data`, to be kept."""
    encoder = kept_encoder(coding, level)
    return encoder.feed(data, flush=False) + encoder.finish()


def _encoder(coding: bytes, level: int, window_bits: int) -> Encoder:
    if coding == b"br":
        return _Brotli(level, window_bits)
    if coding == b"zstd":
        return _Zstandard(level, window_bits)
    return _Gzip(level)
