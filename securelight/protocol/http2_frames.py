"""What HTTP/2 frames look like: numbers, sizes, and the layout that one frame alone decides (RFC 9113, section 6).

Errors: ConnectionFault, for all that the functions refuse.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from securelight.model.errors import ConnectionFault, Http2Code

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES = 9
MAX_FRAME_BYTES = 16_384
"""Our MAX_FRAME_SIZE: the default, never raised (RFC 9113, section 4.2)."""
DEFAULT_WINDOW = 65_535
"""RFC 9113, section 6.9.2."""
LARGEST_WINDOW = 2**31 - 1
LARGEST_STREAM_ID = 2**31 - 1
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
END_STREAM, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x4, 0x8, 0x20
ACK = 0x1

frame_header = struct.Struct(">BHBBI").unpack_from
uint32 = struct.Struct(">I").unpack_from


def check_connection_frame(name: str, stream_id: int) -> None:
    """Refuse a frame `name` that is for the connection and names a stream."""
    if stream_id:
        raise ConnectionFault(f"{name} on stream {stream_id}")


def check_length(name: str, right: bool) -> None:
    """Refuse a frame `name` whose length is not `right`."""
    if not right:
        raise ConnectionFault(f"{name} of a wrong length", Http2Code.FRAME_SIZE_ERROR)


def padding(data: bytes, position: int, length: int) -> int:
    """How many bytes of padding the frame at `position` ends with; `length` is that of its payload."""
    if length == 0:
        raise ConnectionFault("padded frame without a pad length", Http2Code.FRAME_SIZE_ERROR)
    pad_bytes = data[position + FRAME_HEADER_BYTES]
    if pad_bytes >= length:
        raise ConnectionFault("padding longer than its frame")
    return pad_bytes


def frames_of(run: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(kind, flags, stream, bytes of content) of each frame of a run that the walk has let through."""
    position = 0
    while position < len(run):
        high, low, kind, flags, stream_id = frame_header(run, position)
        length = high << 16 | low
        padded = kind == DATA and flags & PADDED
        yield kind, flags, stream_id & LARGEST_STREAM_ID, length - (1 + padding(run, position, length) if padded else 0)
        position += FRAME_HEADER_BYTES + length


def check_headers_layout(data: bytes, position: int, length: int, flags: int, stream_id: int) -> None:
    """RFC 9113, section 6.2: pad length, priority fields, fragment, padding."""
    offset = 0
    pad_bytes = 0
    if flags & PADDED:
        pad_bytes = padding(data, position, length)
        offset = 1
    if flags & HAS_PRIORITY:
        check_length("HEADERS with priority", length >= offset + 5)
        if uint32(data, position + FRAME_HEADER_BYTES + offset)[0] & LARGEST_WINDOW == stream_id:
            raise ConnectionFault(f"stream {stream_id} depends on itself")
        offset += 5
    if offset + pad_bytes > length:
        raise ConnectionFault("padding longer than its frame")
