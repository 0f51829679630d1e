"""A WebSocket client that sends frames as a test wants them, byte by byte, over HTTP/1.1 and over HTTP/2 (RFC 8441)."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, NamedTuple, Protocol

from h2.exceptions import StreamClosedError

from tests.wire.clients import Answer, Http1, Http2

if TYPE_CHECKING:
    from tests.wire.clients import Client

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455, section 1.3."""
OPENING = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": KEY}


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x11\x22\x33\x44",
    length_bytes: int | None = None,
    length: int | None = None,
) -> bytes:
    """Any frame at all; `length_bytes` (0, 2 or 8) forces a form of its length, `length` announces another."""
    size = len(payload) if length is None else length
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65_536 else 8
    short = size if length_bytes == 0 else 126 if length_bytes == 2 else 127
    head = bytes([(0x80 if fin else 0) | rsv | opcode, (0x80 if mask is not None else 0) | short])
    if length_bytes:
        head += struct.pack("!H" if length_bytes == 2 else "!Q", size)
    if mask is None:
        return head + payload
    pad = mask * (len(payload) // 4 + 1)
    masked = int.from_bytes(payload) ^ int.from_bytes(pad[: len(payload)])
    return head + mask + masked.to_bytes(len(payload))


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """A Close frame."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


class Received(NamedTuple):
    """A frame of the server."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self) -> int | None:
        """Of a Close."""
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None


class Tunnel(Protocol):
    """What is left of a connection, or of a stream, after the handshake."""

    def send(self, data: bytes) -> None: ...
    def receive(self) -> bytes: ...
    def end(self) -> None: ...


class Http1Tunnel:
    """All of a connection."""

    def __init__(self, client: Http1) -> None:
        self.client = client

    def send(self, data: bytes) -> None:
        self.client.sock.sendall(data)

    def receive(self) -> bytes:
        """What comes next; b"" at the end."""
        if self.client._buffer or self.client._more():
            data, self.client._buffer = self.client._buffer, b""
            return data
        return b""

    def end(self) -> None:
        self.client.close()


class Http2Tunnel:
    """One stream."""

    def __init__(self, client: Http2, stream_id: int) -> None:
        self.client = client
        self.stream_id = stream_id
        self._over = False

    def send(self, data: bytes) -> None:
        self.client.send_body(self.stream_id, data, end=False)

    def receive(self) -> bytes:
        """What comes next; b"" at the end of the stream."""
        client, stream_id = self.client, self.stream_id
        while stream_id not in client.finished and not client.pending(stream_id).pieces:
            if not client.step():
                return b""
        answer = client.finished.get(stream_id) or client.pending(stream_id)
        data = answer.body
        answer.pieces = []
        return data

    @property
    def reset(self) -> int | None:
        """The code of the RST_STREAM that ended it, None for END_STREAM."""
        return self.client.finished[self.stream_id].reset

    def end(self) -> None:
        """End our side, and see the end of the other."""
        if not self._over:
            self._over = True
            with contextlib.suppress(StreamClosedError):  # the server may have reset it after its end
                self.client.h2.end_stream(self.stream_id)
            self.client.flush()


class WebSocket:
    """Frames both ways, after a handshake.

    Attributes:
        answer: the head that granted it.
    """

    def __init__(self, tunnel: Tunnel, answer: Answer) -> None:
        self.tunnel = tunnel
        self.answer = answer
        self._unread = b""

    def send(self, *frames: bytes) -> None:
        """In one write."""
        self.tunnel.send(b"".join(frames))

    def receive(self) -> Received | None:
        """The next frame; None at the end."""
        while True:
            found = self._parse()
            if found is not None:
                return found
            data = self.tunnel.receive()
            if not data:
                assert not self._unread, f"half a frame: {self._unread[:40]!r}"
                return None
            self._unread += data

    def _parse(self) -> Received | None:
        unread = self._unread
        if len(unread) < 2:
            return None
        first, size = unread[0], unread[1]
        assert not size & 0x80, "servers do not mask"
        offset = 2
        if size == 126:
            if len(unread) < 4:
                return None
            (size,), offset = struct.unpack("!H", unread[2:4]), 4
            assert size >= 126
        elif size == 127:
            if len(unread) < 10:
                return None
            (size,), offset = struct.unpack("!Q", unread[2:10]), 10
            assert size >= 65_536
        if len(unread) < offset + size:
            return None
        self._unread = unread[offset + size :]
        return Received(first & 15, unread[offset : offset + size], bool(first & 0x80), first & 0x70)

    def rest(self) -> list[Received]:
        """Every frame until the end."""
        frames = []
        while (found := self.receive()) is not None:
            frames.append(found)
        return frames

    def ask(self, text: str) -> str:
        """Send a text message; the next frame is its answer."""
        self.send(frame(TEXT, text.encode()))
        found = self.receive()
        assert found is not None
        assert found.opcode == TEXT
        return found.payload.decode()

    def end(self) -> None:
        """End our side without another word."""
        self.tunnel.end()


def ask_to_open(client: Client, path: str, headers: dict[str, str] | None = None) -> tuple[Answer, Tunnel]:
    """Send a handshake; the head of its answer, and what follows it. A header that is "" is left out."""
    if isinstance(client, Http1):
        given = {"host": client.host, **OPENING, **(headers or {})}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
        client.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = Answer()
        line = client._line()
        if line is None:
            answer.reset = 0
        else:
            answer.status = int(line.split(b" ")[1])
            answer.headers = client._fields()
        return answer, Http1Tunnel(client)
    given = {"sec-websocket-version": "13", **(headers or {})}
    fields = [
        (":method", "CONNECT"), (":protocol", given.pop(":protocol", "websocket")), (":scheme", "https"),
        (":authority", client.host), (":path", path), *((name, value) for name, value in given.items() if value),
    ]  # fmt: skip
    stream_id = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream_id, fields)
    client._answers[stream_id] = Answer()
    client.flush()
    while not client.pending(stream_id).status and stream_id not in client.finished:
        if not client.step():
            break
    return client.pending(stream_id), Http2Tunnel(client, stream_id)


def granted_status(client: Client) -> int:
    """The status of the answer that grants a WebSocket."""
    return 101 if isinstance(client, Http1) else 200


def open_websocket(client: Client, path: str, headers: dict[str, str] | None = None) -> WebSocket:
    """A WebSocket on `client`, which on HTTP/1.1 is used up by it."""
    answer, tunnel = ask_to_open(client, path, headers)
    assert answer.status == granted_status(client), (answer.status, answer.headers)
    if isinstance(client, Http1):
        assert answer.headers["connection"].lower() == "upgrade"
        assert answer.headers["upgrade"] == "websocket"
        assert answer.headers["sec-websocket-accept"] == ACCEPT
    else:
        assert "sec-websocket-accept" not in answer.headers
    assert "content-length" not in answer.headers
    assert "transfer-encoding" not in answer.headers
    return WebSocket(tunnel, answer)
