"""The bytes of one connection: a non-blocking socket, with TLS in memory over it or (plain HTTP ports) without.

Owns reading, writing and the orderly end: close_notify, SHUT_WR, then a bounded drain, so that the client sees our last
answer before the kernel would reset the connection. Holds at most one write's worth of ciphertext, and BULK_BYTES of
what was read.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from securelight.tls.session import TlsSession

RECEIVE_BYTES = 16_384
"""One TLS record at a time: what is fed to OpenSSL in one go (its calls do not check any bound of ours)."""
BULK_BYTES = 4 * RECEIVE_BYTES
"""What is read from the socket in one go once a read came back full: on an upload, a call costs as much as its copy."""
_NO_LINGER = struct.pack("ii", 1, 0)


class PeerGone(Exception):
    """The connection is broken; nothing can be sent or received any more."""


class Transport:
    """Plaintext in and out over one socket.

    Args:
        sock: connected, non-blocking; owned from now on.

    Attributes:
        session: the TLS session; None before the ClientHello is known, and on plain HTTP.
        pending: bytes for the socket that it has not taken yet.
        emptied: there is no more to be had in this turn; whoever begins a turn sets it to False.
    """

    __slots__ = ("_ahead", "_bulk", "_ending", "emptied", "pending", "session", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.session: TlsSession | None = None
        self.pending: memoryview | None = None
        self.emptied = False
        self._ending = False
        self._bulk = False
        """The last read of ciphertext came back full, or not all of it was used."""
        self._ahead: memoryview | None = None
        """Ciphertext that was read and not yet fed to the session."""

    def receive_raw(self) -> bytes | None:
        """What the socket has, at most RECEIVE_BYTES; b"" if nothing; None at its end.

        A short read tells that the socket was empty then, which saves the call that would only say so.

        Errors: PeerGone.
        """
        return b"" if self.emptied else self._read(RECEIVE_BYTES)

    def _read(self, size: int) -> bytes | None:
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PeerGone from error
        if not data:
            return None
        self.emptied = len(data) < size
        return data

    def _receive_ciphertext(self) -> bytes | memoryview | None:
        """As `receive_raw`, with more at a time from the socket."""
        ahead = self._ahead
        if ahead is None:
            if self.emptied:
                return b""
            data = self._read(BULK_BYTES if self._bulk else RECEIVE_BYTES)
            if data is None or len(data) <= RECEIVE_BYTES:
                return data
            ahead = memoryview(data)
        self._ahead = ahead[RECEIVE_BYTES:] if len(ahead) > RECEIVE_BYTES else None
        return ahead[:RECEIVE_BYTES]

    def receive(self, most: int = RECEIVE_BYTES) -> bytes | None:
        """Plaintext, at most `most` bytes; b"" if there is none now; None once the peer has ended its side.

        Errors: PeerGone; TlsFault.
        """
        session = self.session
        if session is None:
            return b"" if self.emptied else self._read(most)
        if not (session.holds_input or self.emptied or self._bulk):
            # What most calls come to, in one go; below, the same for all cases.
            try:
                read = self.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return b""
            except OSError as error:
                raise PeerGone from error
            if not read:
                return None
            data = session.decrypt(read, most)
            self._bulk = len(read) == RECEIVE_BYTES
            self.emptied = not (self._bulk or session.holds_input)
            if data != b"":
                return data
            self.send_handshake()
        ciphertext: bytes | memoryview | None = b""
        while session.holds_input or (ciphertext := self._receive_ciphertext()):
            data = session.decrypt(ciphertext or b"", most)
            self.emptied = self.emptied and not session.holds_input
            if data != b"":
                self._bulk = self._ahead is not None or not self.emptied
                return data
            ciphertext = b""
            self.send_handshake()  # what it may have called for: the alert that refuses renegotiation
        self._bulk = False
        return None if ciphertext is None else b""

    @property
    def holds_input(self) -> bool:
        """True while something was read from the socket and not yet given out."""
        return self._ahead is not None or (self.session is not None and self.session.holds_input)

    def send(self, plaintext: bytes | memoryview, *, last: bool = False) -> bool:
        """Send, or hold what the socket does not take (see `flush`). Only when `pending` is None.

        Args:
            last: `end` will follow; its close_notify goes out with this.

        Returns: True if all of it is out.
        Errors: PeerGone; TlsFault.
        """
        session = self.session
        if session is not None:
            return self._send_raw(session.encrypt(plaintext, last=last))
        return self._send_raw(plaintext)

    def send_handshake(self) -> bool:
        """Send what the TLS session has to say by itself (handshake messages, alerts)."""
        output = self.session.take_output() if self.session is not None else b""
        return not output or self._send_raw(output)

    def _send_raw(self, data: bytes | memoryview) -> bool:
        if self.pending is not None:
            self.pending = memoryview(bytes(self.pending) + data)
            return False
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise PeerGone from error
        if sent == len(data):
            return True
        # A copy: what was given may be somebody's buffer, and what is out is not kept for a client that takes its time.
        self.pending = memoryview(bytes(data[sent:]))
        return False

    def flush(self) -> bool:
        """Try again with `pending`; True once it is out.

        Errors: PeerGone.
        """
        pending = self.pending
        if pending is None:
            return True
        try:
            sent = self.sock.send(pending)
        except BlockingIOError:
            return False
        except OSError as error:
            raise PeerGone from error
        self.pending = None if sent == len(pending) else pending[sent:]
        return self.pending is None

    def end(self, *, notify: bool) -> None:
        """End our side, with close_notify if what was sent is whole; the peer may still send until `close`.

        Errors: PeerGone.
        """
        if notify and self.session is not None and self.session.established:
            self.session.close()
            self.send_handshake()
        self._ending = True
        self.shut()

    def shut(self) -> None:
        """After `end`: end our direction of the connection once all is out.

        Errors: PeerGone.
        """
        if not self._ending or self.pending is not None:
            return
        self._ending = False
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise PeerGone from error

    def abort(self) -> None:
        """Have `close` reset the connection: what the client has not taken is dropped, up to 4 MB in the kernel."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

    def close(self) -> None:
        """Close the socket at once. May be called twice."""
        self.pending = self._ahead = None
        self.session = None
        self.sock.close()
