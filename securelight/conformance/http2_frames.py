"""HTTP/2 frames as a judge needs them: any frame at all, right or wrong, and words for the ones that go by."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from securelight.conformance.case import Failed
from securelight.model.errors import Http2Code

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE: Final = 0x10
END_STREAM = ACK = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 2, 3, 4
MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES = 5, 6, 8, 9
LARGEST_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME_BYTES: Final = 16_384

NAMES: Final = {
    0: "DATA", 1: "HEADERS", 2: "PRIORITY", 3: "RST_STREAM", 4: "SETTINGS", 5: "PUSH_PROMISE", 6: "PING", 7: "GOAWAY",
    8: "WINDOW_UPDATE", 9: "CONTINUATION", 10: "ALTSVC", 12: "ORIGIN", 16: "PRIORITY_UPDATE",
}  # fmt: skip
_FLAGS: Final[Mapping[int, Mapping[int, str]]] = {
    DATA: {END_STREAM: "END_STREAM", PADDED: "PADDED"},
    HEADERS: {END_STREAM: "END_STREAM", END_HEADERS: "END_HEADERS", PADDED: "PADDED", HAS_PRIORITY: "PRIORITY"},
    SETTINGS: {ACK: "ACK"},
    PUSH_PROMISE: {END_HEADERS: "END_HEADERS", PADDED: "PADDED"},
    PING: {ACK: "ACK"},
    CONTINUATION: {END_HEADERS: "END_HEADERS"},
}
_SETTINGS: Final = {
    1: "HEADER_TABLE_SIZE", 2: "ENABLE_PUSH", 3: "MAX_CONCURRENT_STREAMS", 4: "INITIAL_WINDOW_SIZE",
    5: "MAX_FRAME_SIZE", 6: "MAX_HEADER_LIST_SIZE", 8: "ENABLE_CONNECT_PROTOCOL", 9: "NO_RFC7540_PRIORITIES",
}  # fmt: skip


class Raw(NamedTuple):
    """The outer shape of one frame; `length` is what its header claims, `payload` what is there of it."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes
    length: int


def raw_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """Any frame at all; `length` is what the header claims if that is not the truth."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def data(stream_id: int, content: bytes = b"", *, end: bool = False, padding: int | None = None) -> bytes:
    """A DATA frame, with `padding` bytes of padding unless that is None."""
    flags = END_STREAM if end else 0
    if padding is None:
        return raw_frame(DATA, flags, stream_id, content)
    return raw_frame(DATA, flags | PADDED, stream_id, bytes([padding]) + content + bytes(padding))


def headers(stream_id: int, block: bytes, *, end: bool = True, end_headers: bool = True) -> bytes:
    """A HEADERS frame with a block that is encoded already."""
    return raw_frame(HEADERS, (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0), stream_id, block)


def continuation(stream_id: int, block: bytes, *, end_headers: bool = True) -> bytes:
    """A CONTINUATION frame."""
    return raw_frame(CONTINUATION, END_HEADERS if end_headers else 0, stream_id, block)


def settings(values: Mapping[int, int] | None = None) -> bytes:
    """A SETTINGS frame."""
    return SettingsFrame(0, settings=dict(values or {})).serialize()


def settings_ack() -> bytes:
    """Its acknowledgement."""
    return raw_frame(SETTINGS, ACK, 0)


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame with any increment of 32 bits, reserved bit included."""
    return raw_frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def rst_stream(stream_id: int, code: int = Http2Code.CANCEL) -> bytes:
    """A RST_STREAM frame."""
    return raw_frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def ping(payload: bytes = b"judgment", *, ack: bool = False) -> bytes:
    """A PING frame."""
    return raw_frame(PING, ACK if ack else 0, 0, payload)


def goaway(last_stream_id: int = 0, code: int = 0, words: bytes = b"") -> bytes:
    """A GOAWAY frame."""
    return raw_frame(GOAWAY, 0, 0, struct.pack(">II", last_stream_id, code) + words)


def priority(stream_id: int, depends_on: int = 0, weight: int = 15, *, exclusive: bool = False) -> bytes:
    """A PRIORITY frame of the old scheme (RFC 7540)."""
    payload = struct.pack(">IB", depends_on | (0x80000000 if exclusive else 0), weight)
    return raw_frame(PRIORITY, 0, stream_id, payload)


def split(stream: bytes) -> Iterator[tuple[Raw, bytes]]:
    """(shape, bytes) of the frames in `stream`; a last one that is not whole is given out with what there is."""
    position = 0
    while len(stream) - position >= HEADER_BYTES:
        high, low, kind, flags, stream_id = struct.unpack_from(">BHBBI", stream, position)
        length = high << 16 | low
        end = position + HEADER_BYTES + length
        whole = stream[position:end]
        yield Raw(kind, flags, stream_id & LARGEST_WINDOW, whole[HEADER_BYTES:], length), whole
        position = end


def words_for(raw: Raw) -> str:
    """One frame in words, such as `SETTINGS stream 0, 6 bytes: INITIAL_WINDOW_SIZE=0`."""
    name = NAMES.get(raw.kind, f"type 0x{raw.kind:02x}")
    known = _FLAGS.get(raw.kind, {})
    flags = [known.get(1 << bit, f"flag 0x{1 << bit:02x}") for bit in range(8) if raw.flags & 1 << bit]
    text = " ".join([name, f"stream {raw.stream_id}", *flags]) + f", {raw.length} bytes"
    payload = raw.payload
    if raw.kind == SETTINGS and payload and len(payload) % 6 == 0 and len(payload) <= 60:
        pairs = struct.iter_unpack(">HI", payload)
        text += ": " + " ".join(f"{_SETTINGS.get(key, f'0x{key:x}')}={value}" for key, value in pairs)
    elif raw.kind == RST_STREAM and len(payload) == 4:
        text += f": {code_name(int.from_bytes(payload, 'big'))}"
    elif raw.kind == WINDOW_UPDATE and len(payload) == 4:
        text += f": +{int.from_bytes(payload, 'big') & LARGEST_WINDOW}"
    elif raw.kind == GOAWAY and len(payload) >= 8:
        last, code = struct.unpack_from(">II", payload)
        text += f": last stream {last & LARGEST_WINDOW}, {code_name(code)}"
        if len(payload) > 8:
            text += f", {payload[8:72].decode('ascii', 'backslashreplace')!r}"
    return text


def code_name(code: int) -> str:
    """An error code by its name (RFC 9113, section 7)."""
    try:
        return Http2Code(code).name
    except ValueError:
        return f"unknown code 0x{code:x}"


def parse(whole: bytes) -> Frame:
    """A frame of the server, read strictly.

    Errors: Failed, because a frame that hyperframe cannot read is a fault of the server.
    """
    try:
        frame, length = Frame.parse_frame_header(memoryview(whole[:HEADER_BYTES]))
        frame.parse_body(memoryview(whole[HEADER_BYTES : HEADER_BYTES + length]))
    except (HyperframeError, ValueError) as error:
        raise Failed(f"the server sent a frame that is malformed: {error}") from None
    return frame


__all__ = [
    "ContinuationFrame", "DataFrame", "Frame", "GoAwayFrame", "HeadersFrame", "PingFrame", "PriorityFrame",
    "PushPromiseFrame", "RstStreamFrame", "SettingsFrame", "WindowUpdateFrame",
]  # fmt: skip
