"""Logs that go to another program over a socket: syslog (RFC 5424) and journald.

Each line is a message. Over datagram sockets a message is a datagram; over TCP its length stands before it (RFC 6587,
section 3.4.1). Sockets are non-blocking. While the other side is away, messages are kept in a bounded backlog and the
connection is tried again, ever more rarely.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable

from securelight.config.logs import Output, syslog_address
from securelight.server.log_sinks import BACKLOG_BYTES

LINE_BYTES = 8_192
"""Longer lines are cut: most syslog servers cut there themselves."""
UDP_LINE_BYTES = 1_900
"""Every receiver should take 2,048 bytes of a message (RFC 5425 and 5426, section 3.2)."""
RETRY_SECONDS = 0.5
MOST_RETRY_SECONDS = 30.0
CONNECT_SECONDS = 10.0
"""How long a TCP connection may take to be there."""
_INFORMATIONAL = 6

Framing = Callable[[bytes], bytes]
"""From a line without its end to a message."""


def syslog_framing(facility: int, *, counted: bool = False, most_bytes: int = LINE_BYTES) -> Framing:
    """Messages of RFC 5424; `counted` with their length before them."""
    priority = facility * 8 + _INFORMATIONAL
    host = socket.gethostname().encode("ascii", "replace")[:255].replace(b" ", b"_") or b"-"
    tail = b" %s securelight %d access - " % (host, os.getpid())

    def frame(line: bytes) -> bytes:
        now = time.time()
        date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)).encode()
        message = b"<%d>1 %s.%06dZ" % (priority, date, int(now % 1 * 1_000_000)) + tail + line[:most_bytes]
        return b"%d %s" % (len(message), message) if counted else message

    return frame


def journal_framing(facility: int) -> Framing:
    """Messages of systemd's native journal protocol; lines have no line breaks, so that no value needs a length."""
    head = b"PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=securelight\nMESSAGE=" % (_INFORMATIONAL, facility)

    def frame(line: bytes) -> bytes:
        return head + line[:LINE_BYTES] + b"\n"

    return frame


class NetworkSink:
    """Messages to one socket; see log_sinks.Sink.

    Args:
        family, kind: of the socket.
        address: where to.
        frame: makes messages of lines.
        clock: monotonic seconds.
    """

    __slots__ = (
        "_address", "_bytes", "_clock", "_connecting_until", "_family", "_frame", "_kind", "_messages", "_pause",
        "_rest", "_retry_at", "_socket", "dropped", "trouble",
    )  # fmt: skip

    def __init__(
        self,
        family: socket.AddressFamily,
        kind: socket.SocketKind,
        address: str | tuple[str, int],
        frame: Framing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._family = family
        self._kind = kind
        self._address = address
        self._frame = frame
        self._clock = clock
        self._socket: socket.socket | None = None
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._rest = b""
        """What is still to be sent of the first message; TCP takes messages in parts."""
        self._connecting_until = 0.0
        self._retry_at = 0.0
        self._pause = RETRY_SECONDS
        self.dropped = 0
        self.trouble = ""

    def reopen(self, descriptor: int) -> int:
        """See Sink: there is no file."""
        return -1

    def write(self, lines: bytes) -> None:
        """See Sink."""
        for line in lines.splitlines():
            message = self._frame(line)
            self._messages.append(message)
            self._bytes += len(message)
        while self._bytes > BACKLOG_BYTES:
            self._drop(self.trouble or "it does not keep up")
        if self._messages:
            try:
                self._send()
            except OSError as error:
                self._disconnected(error.strerror or "it cannot be reached")

    def close(self) -> None:
        """Close the socket; the next write opens another."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _drop(self, why: str) -> None:
        """The oldest is lost."""
        torn, self._rest = bool(self._rest), b""
        self._bytes -= len(self._messages.popleft())
        self.dropped += 1
        self.trouble = why
        if torn:
            self.close()  # what follows would be read as its end

    def _disconnected(self, why: str) -> None:
        self.close()
        self._rest = b""
        self.trouble = why
        self._retry_at = self._clock() + self._pause
        self._pause = min(self._pause * 2, MOST_RETRY_SECONDS)

    def _send(self) -> None:
        if not self._connected():
            return
        sock = self._socket
        assert sock is not None
        if self._kind == socket.SOCK_STREAM:
            with contextlib.suppress(BlockingIOError):
                if not sock.recv(4096, socket.MSG_DONTWAIT):
                    raise ConnectionResetError(0, "it has closed the connection")
        while self._messages:
            data = self._rest or self._messages[0]
            try:
                count = sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    self._drop("a line is too long for it")
                    continue
                raise
            self._pause = RETRY_SECONDS
            self._rest = data[count:]
            if not self._rest or self._kind == socket.SOCK_DGRAM:
                self._rest = b""
                self._bytes -= len(self._messages.popleft())

    def _connected(self) -> bool:
        """Whether the socket can be written to.

        Errors: OSError.
        """
        now = self._clock()
        sock = self._socket
        if sock is None:
            if now < self._retry_at:
                return False
            self._socket = sock = socket.socket(self._family, self._kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            self._connecting_until = now + CONNECT_SECONDS
            with contextlib.suppress(BlockingIOError):
                sock.connect(self._address)
                self._connecting_until = 0.0
        if not self._connecting_until:
            return True
        failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
        try:
            sock.getpeername()
        except OSError:
            if now >= self._connecting_until:
                raise OSError(0, "it does not answer") from None
            return False
        self._connecting_until = 0.0
        return True


def network_sink(output: Output) -> NetworkSink:
    """The sink for `output`, of the kind `syslog` or `journal`."""
    (target,) = output.target
    if output.kind == "journal":
        return NetworkSink(socket.AF_UNIX, socket.SOCK_DGRAM, target, journal_framing(output.facility))
    if target.startswith("/"):
        return NetworkSink(socket.AF_UNIX, socket.SOCK_DGRAM, target, syslog_framing(output.facility))
    transport, address, port = syslog_address(target)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if transport == "udp":
        framing = syslog_framing(output.facility, most_bytes=UDP_LINE_BYTES)
        return NetworkSink(family, socket.SOCK_DGRAM, (address, port), framing)
    return NetworkSink(family, socket.SOCK_STREAM, (address, port), syslog_framing(output.facility, counted=True))
