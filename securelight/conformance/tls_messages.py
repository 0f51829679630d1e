"""TLS past the handshake with messages that OpenSSL does not send: tlslite-ng does what it is told (extra
`conformance`). It works on a socket; here that is two buffers, pumped to and from a connection of the judge."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import trio

from securelight.conformance.case import Failed, Skipped
from securelight.conformance.tls_questions import name_of
from securelight.model.extras import install_command

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial
    from securelight.conformance.wire import Wire

MISSING = f"tlslite-ng is not installed ({install_command('conformance')})"


class _Buffers:
    """As much of a socket as tlslite-ng needs; it never waits."""

    def __init__(self) -> None:
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.ended = False

    def send(self, data: bytes) -> int:
        self.outgoing += data
        return len(data)

    def sendall(self, data: bytes) -> None:
        self.outgoing += data

    def recv(self, count: int) -> bytes:
        if not self.incoming and not self.ended:
            raise OSError(errno.EWOULDBLOCK, "nothing has come")
        taken = bytes(self.incoming[:count])
        del self.incoming[:count]
        return taken

    def close(self) -> None:
        self.ended = True


class Messages:
    """One connection of tlslite-ng."""

    def __init__(self, dial: Dial, wire: Wire, library: Any) -> None:
        self.dial = dial
        self.wire = wire
        self.library = library
        self._buffers = _Buffers()
        self.connection: Any = library.TLSConnection(self._buffers)
        self.verify_data = b""
        """Of the client's Finished, which a renegotiation has to repeat (RFC 5746, section 3.5)."""
        send = self.connection._sendMsg

        def watch(message: Any, *arguments: Any, **options: Any) -> Any:
            if type(message).__name__ == "Finished":
                self.verify_data = bytes(message.verify_data)
            return send(message, *arguments, **options)

        self.connection._sendMsg = watch

    async def run(self, steps: Generator[Any, None, None]) -> Any:
        """Let tlslite-ng do something; returns what it gives at the end.

        Errors: whatever it raises; Failed if it takes too long.
        """
        found = None
        with trio.move_on_after(self.dial.patience.answer) as scope:
            for step in steps:
                await self._flush()
                if step == 0 and isinstance(step, int):
                    data = await self.wire.receive("records")
                    self._buffers.incoming += data
                    self._buffers.ended = not data
                else:
                    found = step
            await self._flush()
        if scope.cancelled_caught:
            raise Failed(f"no answer within {self.dial.patience.answer:g} s")
        return found

    async def _flush(self) -> None:
        if self._buffers.outgoing:
            data, self._buffers.outgoing = bytes(self._buffers.outgoing), bytearray()
            await self.wire.send(data, "records")

    async def send(self, message: Any, words: str) -> None:
        """Send one message, encrypted with the keys of the connection."""
        self.wire.note(words)
        await self.run(self.connection._sendMsg(message))

    async def read(self) -> bytes:
        """The next application data; empty at the end.

        Errors: those of tlslite-ng, TLSRemoteAlert among them.
        """
        return bytes(await self.run(self.connection.readAsync(max=65_536, min=1)) or b"")


async def connect(dial: Dial, version: tuple[int, int], *alpn: str) -> Messages:
    """Shake hands.

    Errors: Unreachable; Skipped if tlslite-ng is not there, or they do not agree.
    """
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    if importlib.util.find_spec("tlslite") is None:
        raise Skipped(MISSING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it still imports asyncore
        library = importlib.import_module("tlslite.api")
    found = Messages(dial, await dial.tcp(), library)
    settings = library.HandshakeSettings()
    settings.minVersion = settings.maxVersion = version
    offered = [bytearray(one.encode()) for one in alpn]
    try:
        await found.run(
            found.connection.handshakeClientCert(
                settings=settings, serverName=name_of(dial), alpn=offered or None, async_=True
            )
        )
    except (library.TLSError, OSError) as error:
        raise Skipped(f"no handshake with tlslite-ng: {error}") from None
    return found
