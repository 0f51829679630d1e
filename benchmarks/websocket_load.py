"""A load of WebSockets over TLS: messages that are echoed. Group 20 of the benchmark is made of it.

    python -m benchmarks.websocket_load wss://localhost:8443/echo --connections 50 --seconds 5

Prints one line of JSON. The client does as little as it can: one thread, frames made in advance, answers counted by
their bytes. It speaks HTTP/1.1, and verifies no certificate.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TIMEOUT_SECONDS = 30.0


def frame_of(payload_bytes: int) -> tuple[bytes, int]:
    """A masked binary frame, and how many bytes its echo has."""
    if payload_bytes < 126:
        head, echoed = bytes([0x82, 0x80 | payload_bytes]), 2 + payload_bytes
    elif payload_bytes < 65_536:
        head, echoed = b"\x82\xfe" + struct.pack("!H", payload_bytes), 4 + payload_bytes
    else:
        head, echoed = b"\x82\xff" + struct.pack("!Q", payload_bytes), 10 + payload_bytes
    return head + b"\0\0\0\0" + bytes(payload_bytes), echoed


def open_socket(url: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A WebSocket after its handshake, blocking.

    Errors: OSError; ValueError if it is not granted.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "localhost", parts.port or 443
    raw = socket.create_connection((host, port), TIMEOUT_SECONDS)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock = context.wrap_socket(raw, server_hostname=host)
    sock.sendall(
        f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            break
        head += data
    if not head.startswith(b"HTTP/1.1 101 "):
        sock.close()
        raise ValueError(f"no WebSocket: {head[:60]!r}")
    return sock


class Echoes:
    """Sends on each connection as soon as the echo of what was sent before has come.

    Args:
        socks: the connections.
        frame, echoed_bytes: see `frame_of`.
        burst: how many messages are on their way on each.
    """

    def __init__(self, socks: Sequence[ssl.SSLSocket], frame: bytes, echoed_bytes: int, burst: int) -> None:
        self._frames = frame * burst
        self._bytes = echoed_bytes * burst
        self._burst = burst
        self._missing = dict.fromkeys(socks, 0)
        self.messages = 0

    def run(self, seconds: float) -> float:
        """The messages of `seconds` are in `messages`; returns how long it really took."""
        with selectors.DefaultSelector() as selector:
            for sock in self._missing:
                selector.register(sock, selectors.EVENT_READ)
                self._send(sock)
            started = time.perf_counter()
            while (taken := time.perf_counter() - started) < seconds:
                for key, _mask in selector.select(1.0):
                    assert isinstance(key.fileobj, ssl.SSLSocket)
                    self._receive(key.fileobj)
        return taken

    def _send(self, sock: ssl.SSLSocket) -> None:
        self._missing[sock] = self._bytes
        sock.setblocking(True)
        sock.sendall(self._frames)
        sock.setblocking(False)

    def _receive(self, sock: ssl.SSLSocket) -> None:
        try:
            while True:
                data = sock.recv(65_536)
                if not data:
                    raise ConnectionError("the server has closed a WebSocket")
                self._missing[sock] -= len(data)
                if not self._missing[sock]:
                    self.messages += self._burst
                    self._send(sock)
        except ssl.SSLWantReadError:
            return


def context_without_verification() -> ssl.SSLContext:
    """For HTTP/1.1."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def echo_load(url: str, connections: int, seconds: float, payload_bytes: int, burst: int) -> dict[str, float]:
    """Messages a second."""
    context = context_without_verification()
    socks = [open_socket(url, context) for _ in range(connections)]
    try:
        echoes = Echoes(socks, *frame_of(payload_bytes), burst)
        taken = echoes.run(seconds)
    finally:
        for sock in socks:
            sock.close()
    return {"messages_per_second": round(echoes.messages / taken, 1), "connections": connections}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.websocket_load")
    parser.add_argument("url", help="wss://HOST:PORT/PATH of something that echoes")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--bytes", type=int, default=64, help="of each message")
    parser.add_argument("--burst", type=int, default=1, help="messages on their way on each connection")
    options = parser.parse_args()
    found = echo_load(options.url, options.connections, options.seconds, options.bytes, options.burst)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
