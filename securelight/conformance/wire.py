"""One connection to the server that is judged: bytes both ways over TCP or TLS, whatever the other side does.

TLS is done in memory, so that what the server sent before it broke off can still be read after a failed send, and so
that a case may look at, or write, raw records. Nothing here raises for what a server does, but a failed handshake.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import trio

from securelight.conformance.case import Failed

if TYPE_CHECKING:
    from securelight.conformance.transcript import Transcript

READ_BYTES = 65_536
CLOSING_SECONDS = 2.0


class Unreachable(Exception):
    """No TCP connection could be made."""


class HandshakeFailed(Failed):
    """The TLS handshake failed; `reason` is OpenSSL's word for it, such as TLSV1_ALERT_PROTOCOL_VERSION."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class Wire:
    """One connection.

    Args:
        stream: TCP, or anything that behaves like it.
        transcript: gets what is sent and received, as plain text.
        number: of this connection in the case.

    Attributes:
        ended: how the server ended the connection: empty while it has not; `closed` with close_notify or, without
            TLS, with FIN; `cut` for FIN without close_notify; `reset` for a TCP reset; `alert` for a fatal alert.
        end_words: the same for people.
        tls: the session; None before `start_tls`.
        logs: whether plain text goes to the transcript; the HTTP/2 client writes its frames there instead.
    """

    def __init__(self, stream: trio.abc.Stream, transcript: Transcript, number: int) -> None:
        self.stream = stream
        self.transcript = transcript
        self.number = number
        self.ended = ""
        self.end_words = ""
        self.tls: ssl.SSLObject | None = None
        self.logs = True
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._send_lock = trio.Lock()

    # TLS

    async def start_tls(
        self, context: ssl.SSLContext, server_name: str | None, session: ssl.SSLSession | None = None
    ) -> None:
        """Do the handshake; `session` is offered to be resumed.

        Errors: HandshakeFailed.
        """
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name, session=session)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._feed():
                    raise self._handshake_failed("the server closed the connection", "CLOSED") from None
            except ssl.SSLError as error:
                await self._flush()  # the alert, if we have one
                raise self._handshake_failed(str(error), error.reason or "") from None
        await self._flush()
        name, _, bits = self.tls.cipher() or ("?", "?", 0)
        protocol = self.tls.selected_alpn_protocol() or "none"
        self.note(f"TLS handshake: {self.tls.version()}, {name} ({bits} bits), ALPN {protocol}")

    def _handshake_failed(self, words: str, reason: str) -> HandshakeFailed:
        self.note(f"TLS handshake failed: {words}")
        return HandshakeFailed(f"the TLS handshake failed: {words}", reason)

    @property
    def alpn(self) -> str:
        """What ALPN chose; empty for nothing, or without TLS."""
        return (self.tls.selected_alpn_protocol() or "") if self.tls is not None else ""

    # Bytes

    async def send(self, data: bytes, words: str = "") -> bool:
        """Send plain text; False if the server has broken off (what it sent before can still be received)."""
        if self.logs:
            self.transcript.add(self.number, ">", words or f"{len(data)} bytes", data)
        if self.tls is None:
            return await self._send_raw(data)
        try:
            self.tls.write(data)
        except ssl.SSLError as error:
            # Only after an alert or a close_notify of either side: OpenSSL refuses to write then.
            self.note(f"could not be sent: {error.reason or error}")
            return False
        return await self._flush()

    async def receive(self, words: str = "") -> bytes:
        """What comes next; empty once the server has ended, and `ended` says how."""
        data = await self._receive()
        if data and self.logs:
            self.transcript.add(self.number, "<", words or f"{len(data)} bytes", data)
        return data

    async def _receive(self) -> bytes:
        if self.tls is None:
            return await self._receive_raw()
        while not (self.ended and not self._incoming.pending):
            try:
                data = self.tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()  # answers to KeyUpdate
                if not await self._feed():
                    break
            except ssl.SSLZeroReturnError:
                self._end("closed", "the server closed the connection (close_notify)")
                break
            except ssl.SSLError as error:
                words = (error.reason or str(error)).replace("_", " ").lower()
                self._end("alert", f"the server ended TLS: {words}")
                break
            else:
                if data:
                    return data
                self._end("closed", "the server closed the connection (close_notify)")
                break
        return b""

    async def _feed(self) -> bool:
        data = await self._receive_raw()
        if data:
            self._incoming.write(data)
        return bool(data)

    async def _receive_raw(self) -> bytes:
        if self.ended:
            return b""
        try:
            data = bytes(await self.stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end("reset", "the server reset the TCP connection")
            return b""
        if not data:
            if self.tls is None:
                self._end("closed", "the server closed the connection")
            else:
                self._end("cut", "the server closed the TCP connection without close_notify")
        return data

    async def _flush(self) -> bool:
        async with self._send_lock:
            data = self._outgoing.read()
            return await self._send_raw(data) if data else True

    async def _send_raw(self, data: bytes) -> bool:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    def _end(self, how: str, words: str) -> None:
        if not self.ended:
            self.ended, self.end_words = how, words
            self.note(words)

    def note(self, words: str) -> None:
        """Write what happened to the transcript."""
        self.transcript.add(self.number, "-", words)

    # The end

    async def end_input(self) -> None:
        """Say that nothing more will be sent: close_notify and, where the stream can, FIN."""
        if self.tls is not None:
            with contextlib.suppress(ssl.SSLError):  # the answer to our close_notify may never come
                self.tls.unwrap()
            await self._flush()
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self.stream.send_eof()

    async def until_end(self, seconds: float) -> bool:
        """Read and drop until the server ends the connection; False if it does not within `seconds`."""
        with trio.move_on_after(seconds):
            while await self.receive():
                pass
            return True
        return False

    async def close(self) -> None:
        """Close politely, without waiting for the server; safe to call in any state, and twice."""
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSING_SECONDS):
            if self.tls is not None and not self.ended:
                with contextlib.suppress(ssl.SSLError, ValueError):  # as above; or the handshake was not done
                    self.tls.unwrap()
                await self._flush()
        await trio.aclose_forcefully(self.stream)
