"""A small HTTP/2 server that is right in all that the judge asks, and can be made wrong in one way at a time.

It owes nothing to the project's own adapters: a third reading of the RFC. No input or output; `serve` gives it those.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

import hpack
import trio

from securelight.model.errors import Http2Code as Code
from tests.conformance.hpack_decoder import HpackDecoder, HpackError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
BODY = b"<p>High water at noon.</p>" * 2_600
WINDOW = 65_535
LARGEST = 2**31 - 1
MOST_STREAMS = 100
MOST_CONTINUATIONS = 64
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
CONNECTION_FIELDS = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
FIXED = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
Fields = list[tuple[bytes, bytes]]


class Fault(Exception):
    """The client's; of the connection if there is no stream."""

    def __init__(self, code: Code, stream_id: int = 0) -> None:
        self.code = code
        self.stream_id = stream_id


@dataclass
class Stream:
    window: int
    receive_window: int = WINDOW
    ended: bool = False
    fields: Fields = field(default_factory=list)
    received: int = 0
    answer: bytes = b""
    answered: bool = False


class SmallServer:
    """One connection.

    Args:
        faults: what it does wrong; nothing if empty.
    """

    def __init__(self, faults: frozenset[str] = frozenset()) -> None:
        self.faults = faults
        self.out = bytearray(self.frame(SETTINGS, 0, 0, struct.pack(">HI", 3, MOST_STREAMS)))
        if self.wrong("settings come late"):
            self.out = bytearray(self.frame(PING, 0, 0, bytes(8)) + self.out)
        if self.wrong("push is announced"):
            self.out += self.frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 1))
        if self.wrong("few streams are allowed"):
            self.out += self.frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 10))
        self.over = False
        self.unread = b""
        self.preface_seen = self.settings_seen = False
        self.streams: dict[int, Stream] = {}
        self.closed: dict[int, str] = {}
        self.highest = 0
        self.block: tuple[int, int, bytes, int] | None = None
        self.window = self.receive_window = WINDOW
        self.initial_window = WINDOW
        self.decoder = HpackDecoder(faults)
        self.encoder = hpack.Encoder()

    def wrong(self, fault: str) -> bool:
        return fault in self.faults

    @staticmethod
    def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload

    # Input

    def receive(self, data: bytes) -> None:
        self.unread += data
        try:
            self._read()
        except Fault as fault:
            last = 0 if self.wrong("goaway forgets streams") else self.highest
            if not self.wrong("no goaway is sent"):
                self.out += self.frame(GOAWAY, 0, 0, struct.pack(">II", last, fault.code))
            self.over = not self.wrong("an error does not close")
            self.block = None

    def _read(self) -> None:
        if not self.preface_seen:
            start = self.unread[: len(PREFACE)]
            if self.wrong("the preface is not looked at") and len(start) == len(PREFACE):
                start = PREFACE
            if not PREFACE.startswith(start):
                raise Fault(Code.PROTOCOL_ERROR)
            if len(start) < len(PREFACE):
                return
            self.preface_seen = True
            self.unread = self.unread[len(PREFACE) :]
        while len(self.unread) >= 9:
            high, low, kind, flags, stream_id = struct.unpack_from(">BHBBI", self.unread)
            length = high << 16 | low
            if length > 16_384 and not self.wrong("frames may be too large"):
                raise Fault(Code.PROTOCOL_ERROR if self.wrong("wrong code for large frames") else Code.FRAME_SIZE_ERROR)
            if len(self.unread) < 9 + length:
                break
            payload = self.unread[9 : 9 + length]
            self.unread = self.unread[9 + length :]
            if not self.wrong("the reserved bit counts"):
                stream_id &= LARGEST
            try:
                self._take(kind, flags, stream_id, payload)
            except Fault as fault:
                if not fault.stream_id:
                    raise
                self._reset(fault.stream_id, fault.code)
            self._pump()

    def _reset(self, stream_id: int, code: Code) -> None:
        self.out += self.frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))
        self.streams.pop(stream_id, None)
        self.closed[stream_id] = "server"

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if not self.settings_seen:
            if (kind != SETTINGS or flags & 1) and not self.wrong("any frame may be first"):
                raise Fault(Code.PROTOCOL_ERROR)
            self.settings_seen = True
        if self.block is not None and (kind != CONTINUATION or stream_id != self.block[0]):
            if self.wrong("blocks may be interrupted by PING") and kind == PING:
                return
            if self.wrong("blocks may be interrupted by unknown frames") and kind > CONTINUATION:
                return
            raise Fault(Code.PROTOCOL_ERROR)
        if kind > CONTINUATION:
            if self.wrong("unknown frames are an error"):
                raise Fault(Code.PROTOCOL_ERROR)
            return
        if kind in FIXED and len(payload) != FIXED[kind]:
            if kind == PRIORITY:
                if self.wrong("PRIORITY may have any size"):
                    return
                raise Fault(Code.FRAME_SIZE_ERROR, stream_id)
            if kind == PING and self.wrong("PING may have any size"):
                payload = payload.ljust(8, b"\0")[:8]
            elif kind == RST_STREAM and self.wrong("RST_STREAM may have any size"):
                payload = bytes(4)
            elif kind == WINDOW_UPDATE and self.wrong("WINDOW_UPDATE may have any size"):
                return
            else:
                raise Fault(Code.FRAME_SIZE_ERROR)
        if kind in (SETTINGS, PING, GOAWAY) and stream_id and not self.wrong("control frames may be on a stream"):
            raise Fault(Code.PROTOCOL_ERROR)
        if kind == PUSH_PROMISE:
            if self.wrong("PUSH_PROMISE is ignored"):
                return
            raise Fault(Code.PROTOCOL_ERROR)
        if kind in (DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION) and not stream_id:
            if self.wrong("stream 0 is ignored"):
                return
            raise Fault(Code.PROTOCOL_ERROR)
        name = ("data", "headers", "", "rst_stream", "settings", "", "ping", "goaway", "window_update", "continuation")
        if kind != PRIORITY:
            getattr(self, f"_{name[kind]}")(flags, stream_id, payload)

    # Control frames

    def _settings(self, flags: int, _stream_id: int, payload: bytes) -> None:
        if flags & 1:
            if payload and not self.wrong("a SETTINGS acknowledgement may have content"):
                raise Fault(Code.FRAME_SIZE_ERROR)
            if self.wrong("acknowledgements are acknowledged"):
                self.out += self.frame(SETTINGS, 1, 0)
            return
        if len(payload) % 6:
            if self.wrong("SETTINGS may have any size"):
                return
            raise Fault(Code.FRAME_SIZE_ERROR)
        for key, value in struct.iter_unpack(">HI", payload):
            if key == 2 and value > 1 and not self.wrong("ENABLE_PUSH may be anything"):
                raise Fault(Code.PROTOCOL_ERROR)
            if key == 4:
                self._initial_window(value)
            if key == 5 and not 2**14 <= value < 2**24 and not self.wrong("MAX_FRAME_SIZE may be anything"):
                raise Fault(Code.PROTOCOL_ERROR)
            if key == 1 and not self.wrong("the client's table size is ignored"):
                self.encoder.header_table_size = min(value, 4096)
            if key > 9 and self.wrong("unknown settings are an error"):
                raise Fault(Code.PROTOCOL_ERROR)
        if not self.wrong("SETTINGS are not acknowledged"):
            self.out += self.frame(SETTINGS, 1, 0)

    def _initial_window(self, value: int) -> None:
        if value > LARGEST:
            if self.wrong("INITIAL_WINDOW_SIZE may be anything"):
                return
            raise Fault(Code.FLOW_CONTROL_ERROR)
        change = value - self.initial_window
        self.initial_window = value
        if self.wrong("SETTINGS change the connection's window"):
            self.window += max(change, 0)
        for stream in self.streams.values():
            if self.wrong("open streams keep their window"):
                continue
            stream.window += change
            if self.wrong("windows are never negative"):
                stream.window = max(stream.window, 0)
            if stream.window > LARGEST and not self.wrong("SETTINGS may overflow windows"):
                raise Fault(Code.FLOW_CONTROL_ERROR)

    def _ping(self, flags: int, _stream_id: int, payload: bytes) -> None:
        if flags & 1 and not self.wrong("PING acknowledgements are answered"):
            return
        if self.wrong("PING is answered with zeros") and not payload.startswith(b"judge"):
            payload = bytes(8)
        self.out += self.frame(PING, 1, 0, payload)

    def _goaway(self, _flags: int, _stream_id: int, payload: bytes) -> None:
        if len(payload) < 8 and not self.wrong("GOAWAY may be short"):
            raise Fault(Code.FRAME_SIZE_ERROR)
        if self.wrong("GOAWAY ends all streams"):
            self.over = True

    def _idle(self, stream_id: int) -> bool:
        return not stream_id & 1 or stream_id > self.highest

    def _rst_stream(self, _flags: int, stream_id: int, _payload: bytes) -> None:
        if self._idle(stream_id):
            if self.wrong("RST_STREAM may be on an idle stream"):
                return
            raise Fault(Code.PROTOCOL_ERROR)
        if self.wrong("resets are answered with resets") and stream_id in self.streams:
            self._reset(stream_id, Code.STREAM_CLOSED)
        if self.closed.get(stream_id) == "server" and self.wrong("late frames are an error"):
            raise Fault(Code.PROTOCOL_ERROR)
        if self.streams.pop(stream_id, None) is not None:
            self.closed[stream_id] = "client"

    def _window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        increment = int.from_bytes(payload, "big")
        if not self.wrong("the increment's reserved bit counts"):
            increment &= LARGEST
        if stream_id and self._idle(stream_id):
            if self.wrong("WINDOW_UPDATE may be on an idle stream"):
                return
            raise Fault(Code.PROTOCOL_ERROR)
        if not increment:
            if self.wrong("zero increments are ignored"):
                return
            raise Fault(Code.PROTOCOL_ERROR, stream_id)
        if stream_id == 0:
            self.window += increment
            if self.window > LARGEST and not self.wrong("the connection's window may overflow"):
                raise Fault(Code.FLOW_CONTROL_ERROR)
        elif stream_id in self.streams:
            stream = self.streams[stream_id]
            stream.window += increment
            if stream.window > LARGEST and not self.wrong("a stream's window may overflow"):
                raise Fault(Code.FLOW_CONTROL_ERROR, stream_id)

    # Requests

    def _padded(self, flags: int, payload: bytes) -> bytes:
        if not flags & 8:
            return payload
        if not payload:
            raise Fault(Code.FRAME_SIZE_ERROR)
        if payload[0] >= len(payload):
            if self.wrong("padding may be too long"):
                return payload[1:]
            raise Fault(Code.PROTOCOL_ERROR)
        return payload[1 : len(payload) - payload[0]]

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._idle(stream_id):
            if self.wrong("DATA may be on an idle stream"):
                return
            raise Fault(Code.PROTOCOL_ERROR)
        content = payload if self.wrong("padding is content") else self._padded(flags, payload)
        if payload and not self.wrong("discarded content is not credited"):
            self.out += self.frame(WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big"))
        stream = self.streams.get(stream_id)
        if stream is None or stream.ended:
            if self.closed.get(stream_id) == "server":
                if self.wrong("late frames are an error"):
                    raise Fault(Code.PROTOCOL_ERROR)
                return
            if self.wrong("DATA after the end is ignored"):
                return
            raise Fault(Code.STREAM_CLOSED)
        stream.receive_window -= len(content) if self.wrong("padding is not counted") else len(payload)
        if stream.receive_window < 0 and not self.wrong("windows for content are not checked"):
            raise Fault(Code.FLOW_CONTROL_ERROR, stream_id)
        if not stream.receive_window and self.wrong("windows for content are not checked"):
            return
        stream.received += len(content)
        if flags & 1:
            self._end(stream_id, stream)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        fragment = self._padded(flags, payload)
        if flags & 0x20:
            if len(fragment) < 5:
                raise Fault(Code.FRAME_SIZE_ERROR)
            fragment = fragment[5:]
        if flags & 0x04:
            self._section(stream_id, flags, fragment)
        else:
            self.block = (stream_id, flags, fragment, 0)

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self.block is None:
            if self.wrong("CONTINUATION may come alone"):
                return
            raise Fault(Code.PROTOCOL_ERROR)
        _, first_flags, fragment, count = self.block
        if count >= MOST_CONTINUATIONS and not self.wrong("CONTINUATION has no end"):
            raise Fault(Code.ENHANCE_YOUR_CALM)
        self.block = (stream_id, first_flags, fragment + payload, count + 1)
        if flags & 4:
            self.block = None
            self._section(stream_id, first_flags, fragment + payload)

    def _section(self, stream_id: int, flags: int, block: bytes) -> None:
        stream = self.streams.get(stream_id)
        late = self.closed.get(stream_id) == "server"
        if late and self.wrong("late blocks are not decoded"):
            return
        try:
            fields = self.decoder.decode(block)
        except HpackError:
            wrong = self.wrong("compression errors cost a stream")
            code = Code.PROTOCOL_ERROR if self.wrong("compression errors have another code") else Code.COMPRESSION_ERROR
            raise Fault(code, stream_id if wrong else 0) from None
        if stream is not None and not stream.ended:
            self._trailers(stream_id, stream, flags, fields)
        elif late:
            if self.wrong("late frames are an error"):
                raise Fault(Code.PROTOCOL_ERROR)
        elif stream is not None or stream_id in self.closed:
            if self.wrong("HEADERS after the end are ignored"):
                return
            raise Fault(Code.STREAM_CLOSED)
        elif stream_id & 1 or self.wrong("even streams may be opened"):
            self._open(stream_id, flags, fields)
        else:
            raise Fault(Code.PROTOCOL_ERROR)

    def _open(self, stream_id: int, flags: int, fields: Fields) -> None:
        if stream_id < self.highest and not self.wrong("streams may be opened in any order"):
            raise Fault(Code.PROTOCOL_ERROR)
        self.highest = max(stream_id, self.highest)
        if len(self.streams) >= MOST_STREAMS and not self.wrong("streams have no limit"):
            raise Fault(Code.REFUSED_STREAM, stream_id)
        if reason := malformed(fields, self.faults):
            assert reason
            raise Fault(Code.PROTOCOL_ERROR, stream_id)
        stream = self.streams[stream_id] = Stream(self.initial_window, fields=fields)
        if flags & 1:
            self._end(stream_id, stream)

    def _trailers(self, stream_id: int, stream: Stream, flags: int, fields: Fields) -> None:
        if self.wrong("trailers are an error"):
            raise Fault(Code.PROTOCOL_ERROR)
        if not flags & 1 and not self.wrong("trailers need no end"):
            raise Fault(Code.PROTOCOL_ERROR, stream_id)
        wrong_names = any(name.startswith(b":") for name, _ in fields)
        if wrong_names and not self.wrong("trailers may have pseudo-header fields"):
            raise Fault(Code.PROTOCOL_ERROR, stream_id)
        if not self.wrong("trailers are not looked at"):
            rest = [entry for entry in fields if not entry[0].startswith(b":")]
            if malformed(rest, self.faults, trailers=True):
                raise Fault(Code.PROTOCOL_ERROR, stream_id)
        self._end(stream_id, stream)

    def _end(self, stream_id: int, stream: Stream) -> None:
        length = next((value for name, value in stream.fields if name == b"content-length"), None)
        if length is not None and not self.wrong("content-length is not compared"):
            try:
                right = int(length) == stream.received
            except ValueError:
                right = False
            if not right:
                raise Fault(Code.PROTOCOL_ERROR, stream_id)
        stream.ended = True
        fields = dict(stream.fields)
        method = fields.get(b":method", b"GET")
        status = b"200" if fields.get(b":path", b"/") == b"/" and method in (b"GET", b"HEAD", b"POST") else b"404"
        body = BODY if status == b"200" else b"nothing here"
        announced = len(body) - (1 if self.wrong("content-length lies") else 0)
        answer = [(b":status", status), (b"content-length", b"%d" % announced), (b"server", b"small")]
        if self.wrong("answers have connection fields"):
            answer.append((b"connection", b"keep-alive"))
        if self.wrong("answers have upper-case names"):
            answer.append((b"X-Upper", b"1"))
        stream.answered = True
        bare = method == b"HEAD" and not self.wrong("HEAD has content")
        block = self.encoder.encode(answer)
        self.out += self.frame(HEADERS, 0x04 | (1 if bare else 0), stream_id, block)
        if bare:
            self._close(stream_id)
        else:
            stream.answer = body

    def _close(self, stream_id: int) -> None:
        del self.streams[stream_id]
        self.closed[stream_id] = "both"

    def _pump(self) -> None:
        if self.over:
            return
        for stream_id, stream in list(self.streams.items()):
            while stream.answered:
                room = min(
                    LARGEST if self.wrong("stream windows are ignored") else stream.window,
                    LARGEST if self.wrong("the connection's window is ignored") else self.window,
                    20_000 if self.wrong("frames sent are too large") else 16_384,
                )
                if room <= 0:
                    break
                piece, stream.answer = stream.answer[:room], stream.answer[room:]
                stream.window -= len(piece)
                self.window -= len(piece)
                end = not stream.answer
                self.out += self.frame(DATA, 1 if end else 0, stream_id, piece)
                if end:
                    self._close(stream_id)
                    break


def malformed(fields: Fields, faults: frozenset[str], *, trailers: bool = False) -> str:
    """Why a field section is malformed (RFC 9113, sections 8.2, 8.3); empty if it is not."""

    def wrong(fault: str) -> bool:
        return fault in faults

    pseudo: dict[bytes, bytes] = {}
    regular = False
    for name, value in fields:
        if name.startswith(b":"):
            if name not in (b":method", b":scheme", b":path", b":authority") and not wrong(
                "any pseudo-header is taken"
            ):
                return "unknown pseudo-header field"
            if regular and not wrong("pseudo-headers may come late"):
                return "pseudo-header field after a field"
            if name in pseudo and not wrong("pseudo-headers may be repeated"):
                return "repeated"
            pseudo[name] = value
            continue
        regular = True
        lower = name.lower() if wrong("names may be in upper case") else name
        if not TOKEN.fullmatch(lower) and not wrong("names may be anything"):
            return "name"
        if name in CONNECTION_FIELDS and not wrong("connection fields are taken"):
            return "field of a connection"
        if name == b"te" and value != b"trailers" and not wrong("TE may be anything"):
            return "te"
        if value != value.strip(b" \t") and not wrong("values may have white space around"):
            return "white space"
    for name, value in fields:
        if re.search(rb"[\0\r\n]", value) and not wrong("values may have control characters"):
            return f"value of {name!r}"
    if trailers:
        return ""
    return _malformed_request(fields, pseudo, wrong)


def _malformed_request(fields: Fields, pseudo: dict[bytes, bytes], wrong: object) -> str:
    assert callable(wrong)
    method = pseudo.get(b":method")
    if not method and not wrong("no method is needed"):
        return "no method"
    if method == b"CONNECT":
        return "CONNECT"
    if not re.fullmatch(rb"[A-Z]*", method or b""):
        return "method"
    if b":scheme" not in pseudo and not wrong("no scheme is needed"):
        return "no scheme"
    path = pseudo.get(b":path")
    if path is None:
        return "" if wrong("no path is needed") else "no path"
    if not re.fullmatch(rb"/[!-~]*", path) and not wrong("paths may be anything"):
        return "path"
    authority = pseudo.get(b":authority")
    hosts = [value for name, value in fields if name == b"host"]
    if b"@" in (authority or b"") and not wrong("user information is taken"):
        return "user information"
    if authority is not None and any(host != authority for host in hosts) and not wrong("Host may be another one"):
        return "another host"
    lengths = [value for name, value in fields if name == b"content-length"]
    if lengths and not re.fullmatch(rb"[0-9]{1,18}", lengths[0]) and not wrong("lengths are read by int()"):
        return "content-length"
    return "two lengths" if len(set(lengths)) > 1 and not wrong("lengths may be repeated") else ""


async def serve(stream: trio.abc.Stream, faults: frozenset[str]) -> None:
    """Talk to one client until either side ends."""
    server = SmallServer(faults)
    try:
        await stream.send_all(bytes(server.out))
        while not server.over:
            server.out.clear()
            data = await stream.receive_some(65_536)
            if not data:
                break
            server.receive(bytes(data))
            if server.out:
                await stream.send_all(bytes(server.out))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        await trio.aclose_forcefully(stream)
