"""A TLS server on loopback that proves trust: its certificate is signed by the authority at hand, here and now.

Whether a store holds a root is read from files; whether clients that read the store believe it, only a handshake shows.
The certificate lives for as long as the server, its key is never on disk.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import threading
from typing import TYPE_CHECKING

from securelight.tls.key_pair import load_into

if TYPE_CHECKING:
    from types import TracebackType

EXCHANGE_SECONDS = 10.0
"""For one client from its connection to its last byte."""

MAXIMUM_CLIENTS = 32
"""At a time: a browser opens a few, and nobody else is meant to come."""

_REQUEST_BYTES = 16_384


class ProbeServer:
    """Runs from `with` to its end, in threads of its own; answers every request with `token`.

    Args:
        chain: PEM, the server's certificate first.
        key: PEM.

    Attributes:
        port: on 127.0.0.1, and on ::1 where that is to be had, since clients differ in which they try.
        token: what the page says; a client that shows it has accepted the certificate.
    """

    def __init__(self, chain: bytes, key: bytes) -> None:
        self.token = secrets.token_hex(16)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_into(self._context, chain, key)
        self._listeners = [socket.create_server(("127.0.0.1", 0))]
        self.port: int = self._listeners[0].getsockname()[1]
        with contextlib.suppress(OSError):
            self._listeners.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        self._clients: dict[threading.Thread, ssl.SSLSocket] = {}
        self._accepting = [
            threading.Thread(target=self._accept, args=(listener,), name="trust-probe", daemon=True)
            for listener in self._listeners
        ]

    def __enter__(self) -> ProbeServer:
        for thread in self._accepting:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for listener, thread in zip(self._listeners, self._accepting, strict=True):
            # Wakes accept(), which close() alone does not.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            listener.close()
        # A browser keeps connections that it never uses.
        for thread, client in list(self._clients.items()):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            for thread in [thread for thread in list(self._clients) if not thread.is_alive()]:
                self._clients.pop(thread, None)
            if len(self._clients) >= MAXIMUM_CLIENTS:
                connection.close()
                continue
            connection.settimeout(EXCHANGE_SECONDS)
            client = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            thread = threading.Thread(target=self._answer, args=(client,), name="trust-probe-client", daemon=True)
            self._clients[thread] = client
            thread.start()

    def _answer(self, client: ssl.SSLSocket) -> None:
        body = self.token.encode()
        with client, contextlib.suppress(OSError):
            client.do_handshake()
            # One read is enough: nothing but the handshake is tested.
            client.recv(_REQUEST_BYTES)
            client.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
            client.unwrap()
