"""Small blocking clients over real TLS sockets: one for HTTP/1.1, one for HTTP/2 (on the h2 package).

They do what a client may do, including what a polite one does not: raw bytes, half a request, vanishing.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings

TIMEOUT_SECONDS = 15.0


@dataclass
class Answer:
    """One response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)
    interim: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    reset: int | None = None
    """HTTP/2: the code of the RST_STREAM that ended it; HTTP/1: 0 if the connection broke in the middle."""

    @property
    def body(self) -> bytes:
        """What has come of it."""
        if len(self.pieces) > 1:
            self.pieces = [b"".join(self.pieces)]
        return self.pieces[0] if self.pieces else b""


def connect(
    port: int, ca: Path, alpn: str, name: str = "localhost", client: Path | None = None, receive_bytes: int = 0
) -> ssl.SSLSocket:
    """A verified TLS connection.

    Args:
        client: a file with the client's own certificate and key.
        receive_bytes: of the kernel's buffer, for a slow reader; 0 for its own choice.
    """
    context = ssl.create_default_context(cafile=str(ca))
    if client is not None:
        context.load_cert_chain(client)
    context.set_alpn_protocols([alpn])
    raw = socket.socket()
    try:
        raw.settimeout(TIMEOUT_SECONDS)
        if receive_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # or the server's kernel takes a megabyte
        raw.connect(("127.0.0.1", port))
        return context.wrap_socket(raw, server_hostname=name, suppress_ragged_eofs=False)
    except BaseException:
        raw.close()
        raise


class Http1:
    """HTTP/1.1 on one connection."""

    protocol = "http/1.1"

    def __init__(
        self, port: int, ca: Path, name: str = "localhost", client: Path | None = None, receive_bytes: int = 0
    ) -> None:
        self.sock = connect(port, ca, "http/1.1", name, client, receive_bytes)
        self.host = f"{name}:{port}"
        self.cut = False
        """The connection ended without close_notify."""
        self._buffer = b""

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        lines = [f"{method} {path} HTTP/1.1"]
        given = {"host": self.host, **(headers or {})}
        if body is not None and "transfer-encoding" not in given:
            given.setdefault("content-length", str(len(body)))
        lines += [f"{name}: {value}" for name, value in given.items()]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        return self.answer(method)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _more(self) -> bool:
        try:
            data = self.sock.recv(262_144)
        except (ssl.SSLEOFError, ConnectionError):
            self.cut = True
            return False
        self._buffer += data
        return bool(data)

    def _line(self) -> bytes | None:
        while b"\r\n" not in self._buffer:
            if not self._more():
                return None
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _exactly(self, count: int) -> bytes | None:
        data, whole = self.rest(count)
        if not whole:
            self._buffer = data
            return None
        return data

    def rest(self, count: int) -> tuple[bytes, bool]:
        """`count` more bytes, or as many as there are; whether those are all."""
        pieces = [self._buffer]
        size = len(self._buffer)
        while size < count:
            self._buffer = b""
            if not self._more():
                return b"".join(pieces), False
            pieces.append(self._buffer)
            size += len(self._buffer)
        data = b"".join(pieces)
        self._buffer = data[count:]
        return data[:count], True

    def _fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            name = name.lower()
            fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
        return fields

    def end_output(self) -> None:
        """End our direction of the TCP connection, and go on reading."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def read_head(self) -> Answer:
        """The head of the next response; `reset` is set if the connection ended instead."""
        answer = Answer()
        while True:
            line = self._line()
            if line is None:
                answer.reset = 0
                return answer
            version, status, _reason = line.decode("latin-1").split(" ", 2)
            assert version == "HTTP/1.1"
            fields = self._fields()
            if status.startswith("1"):
                answer.interim.append((int(status), fields))
                continue
            answer.status, answer.headers = int(status), fields
            return answer

    def answer(self, method: str = "GET") -> Answer:
        """The next response."""
        answer = self.read_head()
        if answer.reset is not None:
            return answer
        fields = answer.headers
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        if fields.get("transfer-encoding") == "chunked":
            self._chunked(answer)
        elif "content-length" in fields:
            body = self._exactly(int(fields["content-length"]))
            if body is None:
                answer.pieces, answer.reset = [self._buffer], 0
            else:
                answer.pieces = [body]
        else:
            while self._more():
                pass
            answer.pieces, self._buffer = [self._buffer], b""
        return answer

    def _chunked(self, answer: Answer) -> None:
        while True:
            size = self._line()
            if size is None:
                answer.reset = 0
                return
            count = int(size, 16)
            if count == 0:
                answer.trailers = self._fields()
                return
            chunk = self._exactly(count)
            if chunk is None or self._exactly(2) != b"\r\n":
                answer.reset = 0
                return
            answer.pieces.append(chunk)

    def ended(self) -> bool:
        """True once the server has ended the connection (waits for it)."""
        return not self._buffer and not self._more()

    def close(self) -> None:
        self.sock.close()


class Http2:
    """HTTP/2 on one connection; requests one after the other, or `open` several and `answers` them together."""

    protocol = "h2"

    def __init__(self, port: int, ca: Path, name: str = "localhost", client: Path | None = None) -> None:
        self.sock = connect(port, ca, "h2", name, client)
        self.host = f"{name}:{port}"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        self.h2.increment_flow_control_window(1 << 24)
        self.flush()
        self.finished: dict[int, Answer] = {}
        self._answers: dict[int, Answer] = {}
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.at_end = False

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def open(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        end: bool = True,
        authority: str | None = None,
    ) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":authority", authority or self.host), (":path", path)]
        self.h2.send_headers(stream_id, [*fields, *(headers or {}).items()], end_stream=end)
        self._answers[stream_id] = Answer()
        self.flush()
        return stream_id

    def send_body(self, stream_id: int, body: bytes, *, end: bool = True) -> None:
        while body:
            room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size, len(body))
            if room == 0:
                if stream_id in self.finished or not self.step():
                    return
                continue
            self.h2.send_data(stream_id, body[:room])
            self.flush()
            body = body[room:]
        if end:
            self.h2.end_stream(stream_id)
            self.flush()

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        stream_id = self.open(method, path, headers, end=body is None)
        if body is not None:
            self.send_body(stream_id, body)
        return self.answer(stream_id)

    def pending(self, stream_id: int) -> Answer:
        """What has come of an answer so far."""
        return self._answers[stream_id]

    def answer(self, stream_id: int) -> Answer:
        """The whole response of `stream_id`, waited for."""
        while stream_id not in self.finished:
            if not self.step():
                self._finish(stream_id, 0)
        return self.finished.pop(stream_id)

    def _finish(self, stream_id: int, reset: int | None) -> None:
        answer = self._answers[stream_id]
        answer.reset = reset
        self.finished[stream_id] = answer

    def step(self) -> bool:
        """Take in what the server says next; False once it has ended."""
        try:
            data = self.sock.recv(65_536)
        except (ssl.SSLEOFError, ConnectionError):
            data = b""
        if not data:
            self.at_end = True
            return False
        for event in self.h2.receive_data(data):
            self._note(event)
        self.flush()
        return True

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            answer = self._answers[event.stream_id]
            answer.headers = {str(name): str(value) for name, value in event.headers}
            answer.status = int(answer.headers.pop(":status"))
        elif isinstance(event, h2.events.InformationalResponseReceived):
            fields = {str(name): str(value) for name, value in event.headers}
            self._answers[event.stream_id].interim.append((int(fields.pop(":status")), fields))
        elif isinstance(event, h2.events.DataReceived):
            self._answers[event.stream_id].pieces.append(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self._answers[event.stream_id].trailers = {str(name): str(value) for name, value in event.headers}
        elif isinstance(event, h2.events.StreamEnded):
            self._finish(event.stream_id, None)
        elif isinstance(event, h2.events.StreamReset):
            if event.stream_id not in self.finished:
                self._finish(event.stream_id, int(event.error_code))
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event

    def close(self) -> None:
        self.sock.close()


Client = Http1 | Http2
