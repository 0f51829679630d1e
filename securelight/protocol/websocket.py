"""WebSocket as messages: the handshake's fields, and frames in and out (RFC 6455, RFC 7692). No waiting.

Frames are wsproto's affair: masks, lengths, reserved bits, UTF-8, close codes. Ours are the bounds that it has none of:
how large a message may become, inflated or not, and of how many frames it may consist. Compression keeps nothing from
one message to the next (no context takeover), so that a connection where nobody speaks costs no window of zlib.

What a peer does wrong is an event (Breach), never an exception.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import zlib
from typing import TYPE_CHECKING

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from securelight.model.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from securelight.model.headers import Fields
    from securelight.model.limits import Limits
    from securelight.model.request import Request

VERSION = b"13"
NORMAL, GOING_AWAY, NO_STATUS, ABNORMAL, INTERNAL_ERROR = 1000, 1001, 1005, 1006, 1011
"""Codes of RFC 6455, section 7.4.1; NO_STATUS and ABNORMAL are never sent."""

_KEY_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NAME = b"permessage-deflate"
_GRANTED = _NAME + b"; server_no_context_takeover; client_no_context_takeover"
_SYNC_TAIL = b"\x00\x00\xff\xff"
_INFLATE_WINDOW = -15
_DEFLATE_WINDOW, _DEFLATE_MEMORY = -12, 5
"""16 kB each, and only while a message is compressed; a client inflates them whatever larger window was agreed."""
SMALLEST_COMPRESSED_BYTES, LARGEST_COMPRESSED_BYTES = 128, 262_144
"""What is smaller gains nothing; what is larger would hold the worker for too long."""
OFFERED_EXTENSIONS = 16
"""How many offers of Sec-WebSocket-Extensions are looked at."""


# The handshake.


def subprotocols_of(request: Request) -> list[str]:
    """What Sec-WebSocket-Protocol offers, in the client's order.

    Errors: Refusal 400 for what is no list of tokens.
    """
    value = request.headers.get(b"sec-websocket-protocol")
    if value is None:
        return []
    offered = [name.strip() for name in value.decode("latin-1").split(",")]
    if not all(map(_TOKEN.fullmatch, offered)) or len(set(offered)) != len(offered):
        raise Refusal(400, "Sec-WebSocket-Protocol is malformed.")
    return offered


def accept_key(key: bytes) -> bytes:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _KEY_GUID, usedforsecurity=False).digest())


def handshake_fields(request: Request) -> Fields:
    """The fields of the answer that accepts, without subprotocol and extensions.

    Errors: Refusal 400 for a handshake that RFC 6455, section 4.2.1 does not allow.
    """
    headers = request.headers
    if headers.lines(b"sec-websocket-version") != [VERSION]:
        raise Refusal(
            400, "Only version 13 of WebSocket is spoken here.", fields=((b"sec-websocket-version", VERSION),)
        )
    if request.http_version == "2":
        return ()  # RFC 8441, section 5: neither key nor accept
    keys = headers.lines(b"sec-websocket-key")
    try:
        valid = len(keys) == 1 and len(keys[0]) == 24 and len(base64.b64decode(keys[0], validate=True)) == 16
    except binascii.Error:
        valid = False
    if not valid:
        raise Refusal(400, "Sec-WebSocket-Key is malformed.")
    return ((b"sec-websocket-accept", accept_key(keys[0])),)


def deflate_fields(request: Request) -> Fields:
    """The field that grants permessage-deflate, empty if no offer of it can be granted (RFC 7692, section 7)."""
    value = request.headers.get(b"sec-websocket-extensions")
    if value is None:
        return ()
    for offer in value.split(b",", OFFERED_EXTENSIONS)[:OFFERED_EXTENSIONS]:
        granted = _grant(offer)
        if granted:
            return ((b"sec-websocket-extensions", granted),)
    return ()


def _grant(offer: bytes) -> bytes:
    """The answer to an offer of permessage-deflate; empty if there is a parameter that we cannot keep to."""
    name, *parameters = [part.strip() for part in offer.split(b";")]
    if name != _NAME:
        return b""
    granted = _GRANTED
    seen = set()
    for parameter in parameters:
        key, has_value, value = (part.strip() for part in parameter.partition(b"="))
        value = value.strip(b'"')
        if key in seen:
            return b""
        seen.add(key)
        if key in (b"server_no_context_takeover", b"client_no_context_takeover"):
            if has_value:
                return b""
        elif key == b"client_max_window_bits":
            if has_value and value not in _WINDOW_BITS:
                return b""
        elif key == b"server_max_window_bits" and value in _WIDE_ENOUGH:
            granted += b"; server_max_window_bits=%d" % -_DEFLATE_WINDOW
        else:
            return b""
    return granted


_WINDOW_BITS = frozenset(b"%d" % bits for bits in range(8, 16))
_WIDE_ENOUGH = frozenset(b"%d" % bits for bits in range(-_DEFLATE_WINDOW, 16))


# Messages.


class Ping:
    """A ping, to be answered with `pong(payload)`."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class Pong:
    """A pong, asked for or not."""

    __slots__ = ()


class Closed:
    """The peer's Close; nothing follows.

    Attributes:
        code: as sent, NO_STATUS if there was none.
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class Breach:
    """The peer has broken the protocol, or a bound; nothing follows.

    Attributes:
        code: to close with.
        why: for the log.
    """

    __slots__ = ("code", "why")

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        self.why = why


Event = str | bytes | Ping | Pong | Closed | Breach
"""A text message, a binary message, or what is not for the application."""


class _Deflate(Extension):
    """permessage-deflate without context takeover on either side (RFC 7692, section 7.2).

    wsproto's own inflates whatever it is given to whatever that becomes, and loses its way when a control frame comes
    between the frames of a compressed message.
    """

    name = "permessage-deflate"

    def __init__(self, message_bytes: int) -> None:
        self._message_bytes = message_bytes
        self._inflater: zlib._Decompress | None = None
        self._inflated_bytes = 0
        self._control = False

    def enabled(self) -> bool:
        """It was granted."""
        return True

    def offer(self) -> str:
        """Servers offer nothing."""
        raise AssertionError("servers offer nothing")

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """See wsproto. RSV1 stands on the first frame of a message, or nowhere in it."""
        self._control = opcode.iscontrol()
        if opcode in (Opcode.TEXT, Opcode.BINARY):
            self._inflater = zlib.decompressobj(_INFLATE_WINDOW) if rsv.rsv1 else None
            self._inflated_bytes = 0
        elif rsv.rsv1:
            return CloseReason.PROTOCOL_ERROR
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """See wsproto."""
        return data if self._control or self._inflater is None else self._inflate(data)

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """See wsproto."""
        if self._control or self._inflater is None or not fin:
            return None
        return self._inflate(_SYNC_TAIL)

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        pieces = []
        inflater = self._inflater
        assert inflater is not None
        while data:
            room = self._message_bytes - self._inflated_bytes + 1
            try:
                piece = inflater.decompress(data, room)
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            pieces.append(piece)
            self._inflated_bytes += len(piece)
            if self._inflated_bytes > self._message_bytes or inflater.unconsumed_tail:
                return CloseReason.MESSAGE_TOO_BIG
            data = inflater.unused_data
            if inflater.eof:  # a final block; another stream follows it (section 7.2.3.4)
                inflater = self._inflater = zlib.decompressobj(_INFLATE_WINDOW)
        return b"".join(pieces)

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        """See wsproto. We send each message in one frame."""
        if opcode.iscontrol() or not SMALLEST_COMPRESSED_BYTES <= len(data) <= LARGEST_COMPRESSED_BYTES:
            return rsv, data
        deflater = zlib.compressobj(wbits=_DEFLATE_WINDOW, memLevel=_DEFLATE_MEMORY)
        packed = deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)
        return RsvBits(True, rsv.rsv2, rsv.rsv3), packed[: -len(_SYNC_TAIL)]


class WebSocket:
    """The server's side of one connection, after its handshake.

    Args:
        limits: the server's bounds.
        deflate: permessage-deflate was granted.
    """

    __slots__ = ("_binary", "_frames", "_message_bytes", "_most_bytes", "_most_frames", "_over", "_proto", "_text")

    def __init__(self, limits: Limits, *, deflate: bool) -> None:
        self._most_bytes = limits.websocket_message_bytes
        self._most_frames = limits.websocket_message_frames
        self._proto = FrameProtocol(False, [_Deflate(self._most_bytes)] if deflate else [])
        # The message under way: not a list of pieces, as a piece may be a single byte.
        self._binary: bytearray | None = None
        self._text: io.StringIO | None = None
        self._message_bytes = 0
        self._frames = 0
        self._over = False

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take `data` in; the events that it completes. After Closed or Breach there are no more."""
        if self._over:
            return
        self._proto.receive_bytes(data)
        try:
            for frame in self._proto.received_frames():
                event = self._event(frame)
                if event is not None:
                    yield event
                if isinstance(event, (Closed, Breach)):
                    return
        except ParseFailed as error:
            self._over = True
            yield Breach(int(error.code), str(error))

    def _event(self, frame: Frame) -> Event | None:
        opcode, payload = frame.opcode, frame.payload
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            assert isinstance(payload, (str, bytes, bytearray))
            return self._message(payload, frame)
        if opcode is Opcode.PING:
            assert isinstance(payload, (bytes, bytearray))
            return Ping(bytes(payload))
        if opcode is Opcode.PONG:
            return Pong()
        assert isinstance(payload, tuple)
        self._over = True
        return Closed(int(payload[0]), payload[1])

    def _message(self, payload: str | bytes | bytearray, frame: Frame) -> Event | None:
        is_text = isinstance(payload, str)
        size = len(payload.encode()) if isinstance(payload, str) and not payload.isascii() else len(payload)
        begun = self._text is not None or self._binary is not None
        whole = frame.frame_finished and frame.message_finished
        if whole and not begun and size <= self._most_bytes:
            return payload if isinstance(payload, str) else bytes(payload)
        self._message_bytes += size
        self._frames += frame.frame_finished
        if self._message_bytes > self._most_bytes:
            return self._breach(CloseReason.MESSAGE_TOO_BIG, f"message of more than {self._most_bytes} bytes")
        if self._frames > self._most_frames:
            return self._breach(CloseReason.POLICY_VIOLATION, f"message of more than {self._most_frames} frames")
        if not begun:
            self._text, self._binary = (io.StringIO(), None) if is_text else (None, bytearray())
        message: str | bytes
        if isinstance(payload, str):
            assert self._text is not None
            self._text.write(payload)
            message = self._text.getvalue() if whole else ""
        else:
            assert self._binary is not None
            self._binary += payload
            message = bytes(self._binary) if whole else b""
        if not whole:
            return None
        self._text = self._binary = None
        self._message_bytes = self._frames = 0
        return message

    def _breach(self, code: CloseReason, why: str) -> Breach:
        self._over = True
        self._text = self._binary = None
        return Breach(int(code), why)

    # What is to be sent.

    def message(self, data: str | bytes) -> bytes:
        """A text or binary message."""
        return bytes(self._proto.send_data(data))

    def ping(self) -> bytes:
        """A ping without content."""
        return bytes(self._proto.ping())

    def pong(self, payload: bytes) -> bytes:
        """The answer to a ping."""
        return bytes(self._proto.pong(payload))

    def close(self, code: int, reason: str = "") -> bytes:
        """A Close; NO_STATUS sends none. The reason is cut to what fits (123 bytes)."""
        if code == NO_STATUS:
            return bytes(self._proto.close())
        return bytes(self._proto.close(code, reason))
