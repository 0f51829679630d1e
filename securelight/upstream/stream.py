"""Bytes to and from a server behind us: a plain socket, or TLS over one.

Plain sockets are driven without trio's own stream classes: a small request goes out by one call that never waits, and
the wait for its answer is one, too. What other side sends when nobody asked makes a connection unfit for use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Protocol

import trio

from securelight.upstream.faults import ConnectFailed

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from securelight.upstream.address import SocketAddress


class ByteStream(Protocol):
    """One connection. Errors of both directions are OSError."""

    async def send(self, data: bytes) -> None: ...  # noqa: D102 - as its name says
    async def receive(self) -> bytes: ...  # noqa: D102 - b"" at the end
    def is_quiet(self) -> bool: ...  # noqa: D102 - nothing has come, not even the end
    def close(self) -> None: ...  # noqa: D102 - at once, without waiting


class PlainStream:
    """A connected socket, owned from now on.

    Args:
        sock: in non-blocking mode.
        receive_bytes: the most that one `receive` gives.
    """

    __slots__ = ("_maybe_more", "_receive_bytes", "sock")

    def __init__(self, sock: socket.socket, receive_bytes: int) -> None:
        self.sock = sock
        self._receive_bytes = receive_bytes
        self._maybe_more = False

    async def send(self, data: bytes) -> None:
        """Send all of `data`; no checkpoint if it goes at once."""
        self._maybe_more = False
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return
        view = memoryview(data)[sent:]
        while view:
            await trio.lowlevel.wait_writable(self.sock)
            with contextlib.suppress(BlockingIOError):
                view = view[self.sock.send(view) :]

    async def receive(self) -> bytes:
        """What comes next; b"" at the end."""
        while True:
            if self._maybe_more:
                await trio.lowlevel.checkpoint()  # a fast server does not hold the worker
            else:
                await trio.lowlevel.wait_readable(self.sock)
            try:
                data = self.sock.recv(self._receive_bytes)
            except BlockingIOError:
                self._maybe_more = False
                continue
            self._maybe_more = len(data) == self._receive_bytes
            return data

    def is_quiet(self) -> bool:
        """True if there is nothing to read, not even the end: one system call."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the socket, and wake whoever waits for it."""
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()


class TlsStream:
    """TLS, verified by the context, over a plain stream. An end without close_notify is an error, not an end.

    Args:
        plain: the connected stream.
        context: of a client.
        server_name: for SNI and verification.
    """

    __slots__ = ("_plain", "_receive_bytes", "_tls")

    def __init__(self, plain: PlainStream, context: ssl.SSLContext, server_name: str, receive_bytes: int) -> None:
        self._plain = plain
        self._receive_bytes = receive_bytes
        transport = trio.SocketStream(trio.socket.from_stdlib_socket(plain.sock))
        self._tls: trio.SSLStream[trio.SocketStream] = trio.SSLStream(transport, context, server_hostname=server_name)

    async def handshake(self) -> str:
        """Returns the protocol that ALPN chose, empty without one.

        Errors: OSError.
        """
        try:
            await self._tls.do_handshake()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise OSError(f"TLS: {error.__cause__ or error}") from error
        return str(self._tls.selected_alpn_protocol() or "")

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            await self._tls.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionResetError(f"TLS: {error.__cause__ or error}") from error

    async def receive(self) -> bytes:
        """What comes next; b"" at the proper end."""
        try:
            return bytes(await self._tls.receive_some(self._receive_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionResetError(f"TLS: {error.__cause__ or error}") from error

    def is_quiet(self) -> bool:
        """As PlainStream's; a session ticket that nobody has read is noise too."""
        return self._plain.is_quiet()

    def close(self) -> None:
        """Close the socket without another word."""
        self._plain.close()


async def connect(addresses: Sequence[SocketAddress], seconds: float, receive_bytes: int) -> PlainStream:
    """A connection to the first of `addresses` that answers, tried one after the other, each in its share of time.

    Errors: ConnectFailed.
    """
    failure = ConnectFailed("there is no address")
    share = seconds / max(1, min(len(addresses), 4))
    deadline = trio.current_time() + seconds
    for family, address in addresses:
        now = trio.current_time()
        if now >= deadline:
            break
        sock = socket.socket(family, socket.SOCK_STREAM)
        done = False
        try:
            sock.setblocking(False)
            with trio.move_on_after(min(share, deadline - now)):
                code = await _connect(sock, address)
                if code == 0:
                    if family != socket.AF_UNIX:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    done = True
                    return PlainStream(sock, receive_bytes)
                failure = ConnectFailed(f"{_text(address)}: {os.strerror(code)}")
                continue
            failure = ConnectFailed(f"{_text(address)}: no answer in time", late=True)
        finally:
            if not done:
                sock.close()
    raise failure


async def _connect(sock: socket.socket, address: str | tuple[str, int]) -> int:
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        await trio.lowlevel.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return code


def _text(address: str | tuple[str, int]) -> str:
    return address if isinstance(address, str) else f"{address[0]} port {address[1]}"
