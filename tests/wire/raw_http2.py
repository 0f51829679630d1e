"""An HTTP/2 client that sends frames as a test wants them, byte by byte, and reads frames; it has no state machine."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import hpack
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from tests.wire.clients import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4


def raw_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Any frame at all, valid or not."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def settings(values: dict[int, int] | None = None) -> bytes:
    return SettingsFrame(0, settings=values or {}).serialize()


def window_update(stream_id: int, increment: int) -> bytes:
    return raw_frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


class RawHttp2:
    """One connection.

    Args:
        port, ca, name, receive_bytes: see `connect`.
        values: our SETTINGS.
    """

    def __init__(
        self,
        port: int,
        ca: Path,
        name: str = "localhost",
        values: dict[int, int] | None = None,
        receive_bytes: int = 0,
    ) -> None:
        self.sock = connect(port, ca, "h2", name, receive_bytes=receive_bytes)
        self.host = f"{name}:{port}".encode()
        self.ended = False
        self.frames: list[Frame] = []
        self.statuses: dict[int, int] = {}
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._unread = b""
        self.send(PREFACE, settings(values))

    def send(self, *frames: bytes) -> bool:
        """Send them in one write; False if the server has closed."""
        try:
            self.sock.sendall(b"".join(frames))
        except (ssl.SSLError, ConnectionError):
            return False
        return True

    def head(
        self, stream_id: int, path: str = "/", method: str = "GET", *, end: bool = True,
        extra: tuple[tuple[bytes, bytes], ...] = (), end_headers: bool = True,
    ) -> bytes:  # fmt: skip
        """A HEADERS frame."""
        fields = [
            (b":method", method.encode()), (b":scheme", b"https"), (b":authority", self.host),
            (b":path", path.encode()), *extra,
        ]  # fmt: skip
        flags = (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0)
        return raw_frame(HEADERS, flags, stream_id, self._encoder.encode(fields))

    def read(self) -> bool:
        """Take in what comes next; False once the server has ended."""
        try:
            data = self.sock.recv(262_144)
        except (ssl.SSLEOFError, ConnectionError):
            data = b""
        if not data:
            self.ended = True
            return False
        self._unread += data
        while len(self._unread) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._unread[:9]))
            if len(self._unread) < 9 + length:
                break
            frame.parse_body(memoryview(self._unread[9 : 9 + length]))
            self._unread = self._unread[9 + length :]
            self.frames.append(frame)
            if isinstance(frame, HeadersFrame):
                fields = dict(self._decoder.decode(frame.data, raw=True))
                self.statuses[frame.stream_id] = int(fields[b":status"])
        return True

    def until(self, enough: Callable[[], bool]) -> bool:
        """Read until `enough` is true; False if the server ended before."""
        while not enough():
            if not self.read():
                return enough()
        return True

    def finish(self) -> None:
        """Read all there is."""
        self.until(lambda: False)

    def goaway(self) -> tuple[int, int] | None:
        """(last stream, code) of the GOAWAY that came last, waited for with the end of the connection."""
        self.finish()
        found = [frame for frame in self.frames if isinstance(frame, GoAwayFrame)]
        return (found[-1].last_stream_id, found[-1].error_code) if found else None

    def resets(self) -> dict[int, int]:
        """stream -> code of the RST_STREAM frames so far."""
        return {frame.stream_id: frame.error_code for frame in self.frames if isinstance(frame, RstStreamFrame)}

    def ended_streams(self) -> set[int]:
        """The streams that the server has ended as it should."""
        return {
            frame.stream_id
            for frame in self.frames
            if isinstance(frame, (HeadersFrame, DataFrame)) and "END_STREAM" in frame.flags
        }

    def body(self, stream_id: int) -> bytes:
        return b"".join(
            frame.data for frame in self.frames if isinstance(frame, DataFrame) and frame.stream_id == stream_id
        )

    def reset_code(self, stream_id: int) -> int | None:
        """The code that the server resets `stream_id` with, waited for; None if it answers or ends instead."""
        self.until(lambda: stream_id in self.resets() or stream_id in self.ended_streams())
        return self.resets().get(stream_id)

    def works(self, stream_id: int, path: str = "/") -> bool:
        """Whether a new request is answered."""
        self.send(self.head(stream_id, path))
        return self.until(lambda: stream_id in self.ended_streams()) and self.statuses[stream_id] == 200

    def close(self) -> None:
        self.sock.close()
