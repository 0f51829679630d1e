"""A server behind the proxy that grants every upgrade and then sends back what it gets, all of them in one thread."""

from __future__ import annotations

import selectors
import socket
import threading

from securelight.protocol.websocket import accept_key


class TunnelUpstream:
    """The server.

    Attributes:
        port: where it listens.
        heads: the heads of the requests that it got, in order.
        switched: how many upgrades it has granted.
        reads: it reads what comes through tunnels; a test that clears it has a server that takes nothing.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._heads: dict[socket.socket, bytes] = {}
        self._tunnels: set[socket.socket] = set()
        self.port: int = self._listener.getsockname()[1]
        self.heads: list[str] = []
        self.switched = 0
        self.reads = threading.Event()
        self.reads.set()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def open_tunnels(self) -> int:
        """Tunnels that have not ended on this side."""
        return len(self._tunnels)

    def _run(self) -> None:
        while True:
            for key, _mask in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._woken:
                    return
                if sock is self._listener:
                    made, _address = sock.accept()
                    self._heads[made] = b""
                    self._selector.register(made, selectors.EVENT_READ)
                else:
                    self._read(sock)

    def _read(self, sock: socket.socket) -> None:
        if sock in self._tunnels and not self.reads.wait(0.01):
            return
        try:
            data = sock.recv(65_536)
            if sock in self._tunnels:
                sock.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(sock)
            self._tunnels.discard(sock)
            self._heads.pop(sock, None)
            sock.close()
        elif sock in self._heads:
            self._heads[sock] += data
            head, end, rest = self._heads[sock].partition(b"\r\n\r\n")
            if end:
                del self._heads[sock]
                self._switch(sock, head.decode("latin-1"), rest)

    def _switch(self, sock: socket.socket, head: str, rest: bytes) -> None:
        self.heads.append(head)
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
        lines = ["HTTP/1.1 101 Switching Protocols", "Connection: upgrade", f"Upgrade: {fields['upgrade']}"]
        key = next((line[19:] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key: ")), None)
        if key is not None:
            lines.append(f"Sec-WebSocket-Accept: {accept_key(key.encode()).decode()}")
        self._tunnels.add(sock)
        self.switched += 1
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + rest)

    def close(self) -> None:
        """End everything."""
        self.reads.set()
        self._wake.send(b"x")
        self._thread.join(20)
        for sock in (self._listener, self._wake, self._woken, *self._heads, *self._tunnels):
            sock.close()
        self._selector.close()
