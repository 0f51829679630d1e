"""Bytes to and from a server behind us: a plain socket, or TLS over one.

Plain sockets are driven without trio's own stream classes: a small request goes out by one call that never waits, and
the wait for its answer is one, too. What other side sends when nobody asked makes a connection unfit for use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from math import inf
from typing import TYPE_CHECKING, Protocol

import trio

from securelight.upstream.faults import ConnectFailed
from securelight.upstream.poller import current_poller

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from securelight.upstream.address import SocketAddress
    from securelight.upstream.poller import Poller


FULL_READS = 4
"""Reads that fill the buffer, after which others get their turn."""


class Late(OSError):
    """Nothing has come by the deadline."""

    def __init__(self) -> None:
        super().__init__(errno.ETIMEDOUT, "no answer in time")


class ByteStream(Protocol):
    """One connection. Errors of both directions are OSError."""

    async def send(self, data: bytes) -> None: ...  # noqa: D102 - as its name says
    def send_now(self, data: bytes) -> bytes: ...  # noqa: D102 - without waiting; what did not go is given
    async def receive(self) -> bytes: ...  # noqa: D102 - b"" at the end; raises Late
    def set_deadline(self, deadline: float) -> None:
        """Until when `receive` waits, by trio.current_time(); inf, as at first, for ever. Counts for a wait under way
        too, and until another is set."""

    def is_quiet(self) -> bool: ...  # noqa: D102 - nothing has come, not even the end
    def close(self) -> None: ...  # noqa: D102 - at once, without waiting


class Follower(Protocol):
    """What is called for a stream that no task waits for."""

    def readable(self) -> None:
        """There may be something for `receive_now`. Must not raise."""

    def overdue(self) -> None:
        """The deadline of the stream is over; called again and again for as long as that stays so. Must not raise."""


class PlainStream:
    """A connected socket, owned from now on.

    Args:
        sock: in non-blocking mode.
        receive_bytes: the most that one `receive` gives.

    Attributes:
        deadline: see ByteStream.
        follower: called for what comes, in the place of a task that waits; see `follow`.
    """

    __slots__ = ("_ahead", "_closed", "_ended", "_full_reads", "_late", "_poller", "_ready", "_receive_bytes", "_task",
                 "deadline", "follower", "sock")  # fmt: skip

    def __init__(self, sock: socket.socket, receive_bytes: int) -> None:
        self.sock = sock
        self.deadline = inf
        self._receive_bytes = receive_bytes
        self._poller: Poller | None = None
        self._task: trio.lowlevel.Task | None = None
        self._ready = False
        """There may be something to read."""
        self._ended = False
        """The other side has said its last; from then on no news come."""
        self._late = self._closed = False
        self._full_reads = 0
        self._ahead: bytes | None = None
        self.follower: Follower | None = None

    def send_now(self, data: bytes) -> bytes:
        """Send what goes without waiting; what did not is given."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            return data
        return b"" if sent == len(data) else data[sent:]

    async def send(self, data: bytes) -> None:
        """Send all of `data`; no checkpoint if it goes at once."""
        view = memoryview(self.send_now(data))
        while view:
            await trio.lowlevel.wait_writable(self.sock)
            with contextlib.suppress(BlockingIOError):
                view = view[self.sock.send(view) :]

    async def receive(self) -> bytes:
        """What comes next; b"" at the end. After a read that filled the buffer the next one may be without a wait."""
        if self._ahead is not None:
            data, self._ahead = self._ahead, None
            return data
        while True:
            if not self._ready:
                await self._wait()
            elif self._full_reads >= FULL_READS:
                self._full_reads = 0
                await trio.lowlevel.checkpoint()  # a fast server does not hold the worker
            try:
                data = self.sock.recv(self._receive_bytes)
            except BlockingIOError:
                self._ready = False
                continue
            if len(data) == self._receive_bytes:
                self._full_reads += 1
            else:
                self._full_reads = 0
                self._ready = self._ended
            return data

    def follow(self, follower: Follower) -> None:
        """Have `follower` called for what comes, until `follower` is None again; only while the stream is quiet."""
        self._ready = False
        self.follower = follower
        poller = self._poller
        if poller is None:
            poller = self._polled()
        if self.deadline < poller.next_look:
            poller.look_at(self.deadline)

    def receive_now(self) -> bytes | None:
        """What there is, b"" at the end; None if there is nothing yet, and the follower is called again.

        Errors: OSError.
        """
        try:
            data = self.sock.recv(self._receive_bytes)
        except BlockingIOError:
            self._ready = False
            return None
        self._ready = self._ended or len(data) == self._receive_bytes
        return data

    @property
    def ready(self) -> bool:
        """True if there may be more to receive at once, of which nobody will be told."""
        return self._ready

    def give_back(self, data: bytes) -> None:
        """The next `receive` gives `data`, which `receive_now` gave."""
        self._ahead = data

    def _polled(self) -> Poller:
        poller = self._poller = current_poller()
        poller.add(self.sock.fileno(), self)
        return poller

    async def _wait(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the connection is closed")
        poller = self._poller
        if poller is None:
            poller = self._polled()
        if self.deadline < poller.next_look:
            poller.look_at(self.deadline)
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._late:
            self._late = False
            raise Late
        if self._closed:
            raise OSError(errno.EBADF, "the connection is closed")

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def set_deadline(self, deadline: float) -> None:
        """See ByteStream."""
        self.deadline = deadline
        if self._poller is not None and (self._task is not None or self.follower is not None):
            self._poller.look_at(deadline)

    def woken(self, mask: int) -> None:
        """See upstream.poller.Polled."""
        self._ready = True
        if mask & ~select.EPOLLIN:
            self._ended = True
        if self.follower is not None:
            self.follower.readable()
        else:
            self._wake()

    def overdue(self) -> None:
        """See upstream.poller.Polled."""
        if self.follower is not None:
            self.follower.overdue()
            return
        self._late = self._task is not None
        self._wake()

    def is_quiet(self) -> bool:
        """True if there is nothing to read, not even the end: one system call."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def end(self) -> None:
        """Nothing more is sent; the other side may still send.

        Errors: OSError.
        """
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket, and wake whoever waits for it."""
        if not self._closed:
            self._closed = True
            if self._poller is not None:
                self._poller.forget(self.sock.fileno())
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()
            self._wake()


class TlsStream:
    """TLS, verified by the context, over a plain stream. An end without close_notify is an error, not an end.

    Args:
        plain: the connected stream.
        context: of a client.
        server_name: for SNI and verification.
    """

    __slots__ = ("_deadline", "_plain", "_receive_bytes", "_receiving", "_tls")

    def __init__(self, plain: PlainStream, context: ssl.SSLContext, server_name: str, receive_bytes: int) -> None:
        self._plain = plain
        self._receive_bytes = receive_bytes
        self._deadline = inf
        self._receiving: trio.CancelScope | None = None
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

    def send_now(self, data: bytes) -> bytes:
        """See ByteStream: nothing goes without a checkpoint here."""
        return data

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            await self._tls.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionResetError(f"TLS: {error.__cause__ or error}") from error

    async def receive(self) -> bytes:
        """What comes next; b"" at the proper end."""
        with trio.CancelScope(deadline=self._deadline) as self._receiving:
            try:
                return bytes(await self._tls.receive_some(self._receive_bytes))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise ConnectionResetError(f"TLS: {error.__cause__ or error}") from error
        raise Late

    def set_deadline(self, deadline: float) -> None:
        """See ByteStream. A connection that was late is not used again."""
        self._deadline = deadline
        if self._receiving is not None:
            self._receiving.deadline = deadline

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
