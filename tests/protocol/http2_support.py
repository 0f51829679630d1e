"""The other side of the HTTP/2 tests: frames by hyperframe, header blocks by hpack, nothing of the adapters."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from securelight.model.limits import Limits
from securelight.model.request import Peer, Request, TlsFacts
from securelight.model.response import Response
from securelight.protocol.events import (
    BodyEnded,
    BodyReceived,
    ConnectionFailed,
    PeerLeaving,
    RequestRefused,
    StreamAborted,
)
from securelight.protocol.h2_adapter import H2Adapter
from securelight.protocol.http2_frames import PREFACE
from securelight.protocol.nghttp2_adapter import Nghttp2Adapter
from tests.protocol.spelled_out import spelled_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from securelight.protocol.events import Event
    from securelight.protocol.http2_adapter import Http2Adapter

PEER = Peer("192.0.2.1", 4711, tls=TlsFacts(version="TLSv1.3", alpn="h2"))
LIMITS = Limits()
ENGINES: list[type[Http2Adapter]] = [H2Adapter, Nghttp2Adapter]

GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a.test")]
POST = [(b":method", b"POST"), *GET[1:]]
OK = Response(200, ((b"content-type", b"text/plain"),), b"hello")


class Clock:
    """Monotonic seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def raw_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Any frame at all, valid or not."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def settings(values: dict[int, int] | None = None) -> bytes:
    return SettingsFrame(0, settings=values or {}).serialize()


def window_update(stream_id: int, increment: int) -> bytes:
    return raw_frame(8, 0, stream_id, increment.to_bytes(4, "big"))


def ping(data: bytes = b"12345678") -> bytes:
    return PingFrame(0, opaque_data=data).serialize()


def reset(stream_id: int, code: int = 8) -> bytes:
    return raw_frame(3, 0, stream_id, code.to_bytes(4, "big"))


def goaway() -> bytes:
    return GoAwayFrame(0, last_stream_id=0, error_code=0).serialize()


def data(stream_id: int, content: bytes = b"", *, end: bool = False, pad: int | None = None) -> bytes:
    frame = DataFrame(stream_id, data=content)
    if end:
        frame.flags.add("END_STREAM")
    if pad is not None:
        frame.flags.add("PADDED")
        frame.pad_length = pad
    return frame.serialize()


def fields_of(frame: Frame) -> dict[bytes, bytes]:
    """Of a head that Client.read() has decoded."""
    assert isinstance(frame, HeadersFrame)
    head: Any = frame
    return dict(head.fields)


class Client:
    """One connection to an adapter of the class `engine`."""

    def __init__(
        self, engine: type[Http2Adapter], limits: Limits = LIMITS, *, peer: Peer = PEER, greet: bool = True
    ) -> None:
        self.clock = Clock()
        self.adapter = spelled_out(engine)(peer, limits, self.clock)
        self.adapter.start()
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self._unread = b""
        self.frames: list[Frame] = []
        if greet:
            assert self.send(PREFACE, settings()) == []
            self.read()

    def head(
        self,
        stream_id: int,
        fields: Iterable[tuple[bytes, bytes]] = GET,
        *,
        end: bool = True,
        split: Sequence[int] = (),
        end_headers: bool = True,
    ) -> bytes:
        """A header block, in CONTINUATION frames cut at the offsets of `split`."""
        block = self.encoder.encode(list(fields))
        cuts = [0, *split, len(block)]
        pieces = [block[start:stop] for start, stop in itertools.pairwise(cuts)]
        first: Any = HeadersFrame(stream_id, data=pieces[0])
        if end:
            first.flags.add("END_STREAM")
        frames = [first, *(ContinuationFrame(stream_id, data=piece) for piece in pieces[1:])]
        if end_headers:
            frames[-1].flags.add("END_HEADERS")
        return b"".join(frame.serialize() for frame in frames)

    def send(self, *frames: bytes) -> list[Event]:
        """The adapter's events for `frames`, given in one read."""
        return list(self.adapter.receive(b"".join(frames)))

    def read(self) -> list[Frame]:
        """The frames that the adapter has to send now, header blocks decoded into `fields`."""
        output = []
        while piece := self.adapter.take_output(65_536):
            output.append(piece)
        self._unread += b"".join(output)
        frames: list[Frame] = []
        while len(self._unread) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._unread[:9]))
            assert len(self._unread) >= 9 + length, "a frame was cut off"
            frame.parse_body(memoryview(self._unread[9 : 9 + length]))
            self._unread = self._unread[9 + length :]
            if isinstance(frame, HeadersFrame):
                assert "END_HEADERS" in frame.flags
                head: Any = frame
                head.fields = self.decoder.decode(frame.data, raw=True)
            frames.append(frame)
        assert not self._unread, "a frame was cut off"
        self.frames += frames
        return frames

    def lose_patience(self) -> None:
        """As long passes as the adapter waits for the end of a request that it has answered."""
        self.clock.now += LIMITS.closing_seconds

    def answers(self) -> dict[int, tuple[int, bytes, bool]]:
        """stream -> (status, body, whole) of the responses read so far."""
        result: dict[int, tuple[int, bytes, bool]] = {}
        for frame in self.frames:
            ended = "END_STREAM" in frame.flags
            if isinstance(frame, HeadersFrame):
                status = fields_of(frame).get(b":status")
                before = result.get(frame.stream_id, (0, b"", False))
                result[frame.stream_id] = (int(status or before[0]), before[1], ended)
            elif isinstance(frame, DataFrame):
                status_code, body, _ = result[frame.stream_id]
                result[frame.stream_id] = (status_code, body + frame.data, ended)
        return result

    def resets(self) -> dict[int, int]:
        """stream -> code of the RST_STREAM frames read so far; a second one for a stream fails."""
        result: dict[int, int] = {}
        for frame in self.frames:
            if isinstance(frame, RstStreamFrame):
                assert frame.stream_id not in result
                result[frame.stream_id] = frame.error_code
        return result

    def goaways(self) -> list[tuple[int, int]]:
        """(last stream, code) of the GOAWAY frames read so far."""
        return [(frame.last_stream_id, frame.error_code) for frame in self.frames if isinstance(frame, GoAwayFrame)]


def one_request(events: list[Event]) -> Request:
    (request,) = events
    assert isinstance(request, Request)
    return request


def outline(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """What the events say, in a form that can be compared."""
    result: list[tuple[Any, ...]] = []
    for event in events:
        match event:
            case Request():
                result.append((
                    "request", event.stream_id, event.method, event.target, event.authority, event.headers.fields,
                    event.has_body, event.content_length,
                ))  # fmt: skip
            case BodyReceived():
                result.append(("body", event.stream_id, event.data))
            case BodyEnded():
                result.append(("end", event.stream_id, tuple(event.trailers)))
            case RequestRefused():
                result.append(("refused", event.stream_id, event.refusal.status, event.in_body))
            case StreamAborted():
                result.append(("aborted", event.stream_id, int(event.code), event.by_peer))
            case ConnectionFailed():
                result.append(("failed", int(event.code)))
            case PeerLeaving():
                result.append(("leaving",))
    return result


__all__ = [
    "ENGINES", "GET", "LIMITS", "OK", "PEER", "POST", "PREFACE", "Client", "Clock", "ContinuationFrame", "DataFrame",
    "ExtensionFrame", "GoAwayFrame", "HeadersFrame", "PingFrame", "PriorityFrame", "RstStreamFrame", "SettingsFrame",
    "WindowUpdateFrame", "data", "goaway", "one_request", "outline", "ping", "raw_frame", "reset", "settings",
    "window_update",
]  # fmt: skip
