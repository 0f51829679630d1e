"""A server behind the proxy that does whatever a test asks of it, byte by byte, and remembers every byte that it got.

It runs in threads of the test process and reads requests with the plainest parser there is: what it understood is in
`requests`, and `raw` has the bytes of each connection, so that a test can compare the two readings.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT_SECONDS = 20.0


@dataclass
class Seen:
    """One request as the upstream understood it."""

    line: str
    fields: list[tuple[str, str]]
    connection: int
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    whole: bool = False
    """Its body has been read to its end."""

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    def get(self, name: str) -> str | None:
        """The value of a field that is there once; None if it isn't there."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, values
        return values[0] if values else None


class Conversation:
    """One connection, from the upstream's side."""

    def __init__(self, sock: socket.socket, number: int, record: Callable[[bytes], None]) -> None:
        self.sock = sock
        self.number = number
        self._record = record
        self._buffer = b""

    def _more(self) -> bool:
        data = self.sock.recv(65_536)
        self._record(data)
        self._buffer += data
        return bool(data)

    def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            if not self._more():
                raise ConnectionError("the end")
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode("latin-1")

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._more():
                raise ConnectionError("the end")
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def read_head(self) -> Seen:
        seen = Seen(self._line(), [], self.number)
        while line := self._line():
            name, _, value = line.partition(": ")
            seen.fields.append((name, value))
        return seen

    def read_body(self, seen: Seen) -> bytes:
        if seen.get("transfer-encoding") == "chunked":
            while size := int(self._line(), 16):
                seen.body += self._exactly(size)
                assert self._line() == ""
            while line := self._line():
                name, _, value = line.partition(": ")
                seen.trailers[name] = value
        else:
            seen.body = self._exactly(int(seen.get("content-length") or 0))
        seen.whole = True
        return seen.body

    def send(self, data: bytes | str) -> None:
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def answer(self, body: bytes, *fields: str, status: str = "200 OK") -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def wait_for_end(self) -> None:
        """Until the proxy closes the connection."""
        with contextlib.suppress(OSError):
            while self._more():
                pass


Behaviour = Callable[["RawUpstream", Conversation, Seen], bool]
"""Answers one request; True if another may follow on the connection."""


class RawUpstream:
    """The server.

    Attributes:
        port: where it listens; 0 for a unix socket.
        requests: what it understood, in order.
        raw: the bytes that each connection brought.
        proceed: set by a test to let a behaviour that waits go on.
        ended: the numbers of the connections that have ended.
    """

    def __init__(
        self,
        behaviours: Mapping[str, Behaviour],
        *,
        port: int = 0,
        path: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._behaviours = behaviours
        self._tls = tls
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(64)
        self.port: int = 0 if path else self._listener.getsockname()[1]
        self.requests: list[Seen] = []
        self.raw: list[bytes] = []
        self.sent_bytes = 0
        self.proceed = threading.Event()
        self.reached = threading.Event()
        self.ended: set[int] = set()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """Connections that have not ended on this side."""
        return len(self._open)

    def _accept(self) -> None:
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            sock.settimeout(TIMEOUT_SECONDS)
            self._open.add(sock)
            self.raw.append(b"")
            thread = threading.Thread(target=self._serve, args=(sock, len(self.raw) - 1))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        def record(data: bytes) -> None:
            self.raw[number] += data

        with contextlib.suppress(OSError):
            if self._tls is not None:
                self._open.discard(sock)
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.add(sock)
            conversation = Conversation(sock, number, record)
            while True:
                seen = conversation.read_head()
                self.requests.append(seen)
                path = seen.path.partition("?")[0]
                behaviour = self._behaviours.get(path) or self._behaviours["/"]
                if not behaviour(self, conversation, seen):
                    break
        sock.close()
        self._open.discard(sock)
        self.ended.add(number)

    def close(self) -> None:
        """End everything; connections that are still open are cut."""
        self.proceed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(TIMEOUT_SECONDS)
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)
