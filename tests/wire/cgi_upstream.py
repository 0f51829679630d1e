"""Applications that speak FastCGI, SCGI or uwsgi, in threads: each says its name, or does what the path says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("fastcgi", "scgi", "uwsgi")
PATIENCE_SECONDS = 2.5
"""For a body, at /gives-up."""


class CgiUpstream:
    """One application.

    Args:
        kind: the protocol.
        name: what it answers.
        path: of the unix socket; None for a TCP port.

    Attributes:
        address: as the configuration has it.
        requests: (path, body) of those that came whole.
        checks: how often it was asked for /healthy.
        well: whether it answers that with 200.
        open: connections that have not ended here.
        proceed: what /wait waits for.
        waits: somebody asked for /wait.
    """

    def __init__(self, kind: str, name: str, path: Path | None = None) -> None:
        self.kind = kind
        self.name = name.encode()
        self.requests: list[tuple[str, bytes]] = []
        self.checks = 0
        self.well = True
        self.open: set[socket.socket] = set()
        self.proceed = threading.Event()
        self.waits = threading.Event()
        self._threads: list[threading.Thread] = []
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            path.unlink(missing_ok=True)
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(64)
            self.address = f"unix:{path}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(60)
            self.open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        read = {"fastcgi": self._fastcgi, "scgi": self._scgi, "uwsgi": self._uwsgi}[self.kind]
        with sock, contextlib.suppress(OSError), sock.makefile("rb") as file:
            while read(sock, file) and self.kind == "fastcgi":
                pass
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.open.discard(sock)

    # The protocols: True if another request may follow on the connection.

    def _fastcgi(self, sock: socket.socket, file: BinaryIO) -> bool:
        described = b""
        while (record := _record(file))[0] != 4 or record[1]:
            described += record[1] if record[0] == 4 else b""
        path = _pairs(described)[b"REQUEST_URI"].decode()
        if self.name == b"full":
            sock.sendall(_packed(3, b"\0\0\0\0\2\0\0\0"))  # FCGI_OVERLOADED
            return False
        if path.endswith("/gives-up"):
            sock.settimeout(PATIENCE_SECONDS)
        if path.endswith("/early"):
            sock.sendall(_packed(6, b"Content-Type: text/plain\r\n\r\nearly"))
        body = b""
        while piece := _record(file)[1]:
            body += piece
        answer = self._answer(path, body)
        if answer is None:
            return False
        head, content = answer
        output = b"Status: %s\r\nContent-Type: text/plain\r\n\r\n%s" % (head, content)
        sock.sendall(_packed(6, output) + _packed(3, bytes(8)))
        return True

    def _scgi(self, sock: socket.socket, file: BinaryIO) -> bool:
        size = b""
        while (digit := _exactly(file, 1)).isdigit():
            size += digit
        parts = _exactly(file, int(size)).split(b"\0")
        _exactly(file, 1)
        variables = dict(zip(parts[::2], parts[1::2], strict=False))
        return self._plain(sock, file, variables, b"Status: ")

    def _uwsgi(self, sock: socket.socket, file: BinaryIO) -> bool:
        _modifier, size, _ = struct.unpack("<BHB", _exactly(file, 4))
        data, variables, at = _exactly(file, size), {}, 0
        while at < len(data):
            pair = []
            for _ in range(2):
                (length,) = struct.unpack_from("<H", data, at)
                pair.append(data[at + 2 : at + 2 + length])
                at += 2 + length
            variables[pair[0]] = pair[1]
        return self._plain(sock, file, variables, b"HTTP/1.1 ")

    def _plain(self, sock: socket.socket, file: BinaryIO, variables: dict[bytes, bytes], status: bytes) -> bool:
        path = variables[b"REQUEST_URI"].decode()
        if path.endswith("/gives-up"):
            sock.settimeout(PATIENCE_SECONDS)
        if path.endswith("/early"):
            sock.sendall(status + b"200 OK\r\nContent-Type: text/plain\r\n\r\nearly")
        answer = self._answer(path, _exactly(file, int(variables[b"CONTENT_LENGTH"] or b"0")))
        if answer is not None:
            head, content = answer
            sock.sendall(status + head + b"\r\nContent-Type: text/plain\r\n\r\n" + content)
        return False

    def _answer(self, path: str, body: bytes) -> tuple[bytes, bytes] | None:
        """The status and the content; None to close."""
        if path.endswith("/healthy"):
            self.checks += 1
            return (b"200 OK" if self.well else b"500 Unwell"), self.name
        self.requests.append((path, body))
        if path.endswith("/close"):
            return None
        if path.endswith("/unwell"):
            return b"503 Unwell", self.name
        if path.endswith("/wait"):
            self.waits.set()
            assert self.proceed.wait(30)
        return b"200 OK", self.name

    def close(self) -> None:
        """End it, and every connection."""
        self.proceed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(20)
        for sock in list(self.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ConnectionResetError
    return data


def _record(file: BinaryIO) -> tuple[int, bytes]:
    _version, kind, _identity, length, padding, _ = struct.unpack("!BBHHBB", _exactly(file, 8))
    return kind, _exactly(file, length + padding)[:length]


def _packed(kind: int, data: bytes) -> bytes:
    return struct.pack("!BBHHBx", 1, kind, 1, len(data), 0) + data


def _pairs(data: bytes) -> dict[bytes, bytes]:
    pairs, at = {}, 0
    while at < len(data):
        sizes = []
        for _ in range(2):
            if data[at] < 128:
                sizes.append(data[at])
                at += 1
            else:
                sizes.append(struct.unpack_from("!I", data, at)[0] & 0x7FFFFFFF)
                at += 4
        pairs[data[at : at + sizes[0]]] = data[at + sizes[0] : at + sum(sizes)]
        at += sum(sizes)
    return pairs
