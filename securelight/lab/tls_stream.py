"""The server's half of TLS over a Trio stream, with a hand on every byte that goes out.

OpenSSL works in memory; a `Shape` says what happens to what it wants sent: cut into segments of any size, held back,
or broken off after some records. Owns no socket: who calls closes it.
"""

from __future__ import annotations

import contextlib
import ssl
import struct
from dataclasses import dataclass
from typing import Final, Literal

import trio

from securelight.model.errors import SecurelightError

READ_BYTES: Final = 16_384
MAXIMUM_HANDSHAKE_BYTES: Final = 256 * 1024
"""From a client in one handshake; a client certificate of 10 kB is a large one."""

HOLD_SECONDS: Final = 60.0
"""A connection that is left hanging is left for this long. Clients are expected to give up earlier."""

Ending = Literal["hang", "close", "reset"]


class BrokenOffError(SecurelightError):
    """The handshake ended where its shape says that it ends."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What happens to the handshake's bytes on their way out.

    Args:
        segment_bytes: each goes out as a TCP segment of its own; None for as OpenSSL gives them.
        fragment_bytes: plaintext handshake records are cut into records of this size (RFC 8446, section 5.1).
        delay_seconds: before the first byte, and between segments if there are any.
        records: only this many records are sent of what there is, then half of the next one if `half`.
        half: see `records`.
        ending: what happens after these.
        before: goes out before everything else.
    """

    segment_bytes: int | None = None
    fragment_bytes: int | None = None
    delay_seconds: float = 0.0
    records: int | None = None
    half: bool = False
    ending: Ending = "close"
    before: bytes = b""


AS_IT_COMES: Final = Shape()


def records_of(data: bytes) -> list[bytes]:
    """The TLS records in `data`; the last may be incomplete."""
    found = []
    while len(data) >= 5:
        length = 5 + int.from_bytes(data[3:5])
        found.append(data[:length])
        data = data[length:]
    return found + [data] * bool(data)


def fragmented(data: bytes, size: int) -> bytes:
    """Plaintext handshake records (type 22) cut into records of at most `size` bytes of content."""
    pieces = []
    for record in records_of(data):
        if record[0] != 22:
            pieces.append(record)
            continue
        content = record[5:]
        for start in range(0, len(content), size):
            part = content[start : start + size]
            pieces.append(record[:3] + len(part).to_bytes(2) + part)
    return b"".join(pieces)


async def end(stream: trio.SocketStream, ending: Ending) -> None:
    """End a connection in the given way; the caller closes it afterwards."""
    if ending == "hang":
        with trio.move_on_after(HOLD_SECONDS):
            while await stream.receive_some(READ_BYTES):
                pass
    elif ending == "reset":
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))


class TlsStream:
    """See the module.

    Args:
        stream: the connection.
        context: of the server.
        first: bytes that have been read from `stream` already.
        shape: of the handshake.
    """

    def __init__(
        self, stream: trio.SocketStream, context: ssl.SSLContext, first: bytes = b"", shape: Shape = AS_IT_COMES
    ) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(first)
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shape = shape
        self._sent_anything = False

    async def handshake(self) -> None:
        """Shake hands. Errors: BrokenOffError, ssl.SSLError, trio.BrokenResourceError."""
        received = 0
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError:
                await self._flush()  # the alert
                raise
            else:
                break
            received += await self._feed()
            if received > MAXIMUM_HANDSHAKE_BYTES:
                raise ssl.SSLError("the client sends too much")
        await self._flush()
        self._shape = AS_IT_COMES

    async def receive(self) -> bytes:
        """Some plaintext; b"" at the end. Errors: ssl.SSLError, trio.BrokenResourceError."""
        while True:
            try:
                return self.tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._feed():
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def send(self, data: bytes, record_bytes: int = READ_BYTES) -> None:
        """Send plaintext, in records of at most `record_bytes`. Errors: ssl.SSLError, trio.BrokenResourceError."""
        for start in range(0, len(data), record_bytes):
            self.tls.write(data[start : start + record_bytes])
        await self._flush()

    async def close(self) -> None:
        """Say goodbye (close_notify); the caller closes the stream."""
        with contextlib.suppress(ssl.SSLError):  # the client's own goodbye is not waited for
            self.tls.unwrap()
        await self._flush()

    async def _feed(self) -> int:
        data = await self._stream.receive_some(READ_BYTES)
        if not data:
            self._incoming.write_eof()
            return 0
        return self._incoming.write(data)

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if not data:
            return
        shape = self._shape
        if shape is AS_IT_COMES:
            await self._stream.send_all(data)
            return
        if not self._sent_anything:
            self._sent_anything = True
            await trio.sleep(shape.delay_seconds)
            data = shape.before + data
        if shape.records is not None:
            records = records_of(data)
            kept = b"".join(records[: shape.records])
            following = b"".join(records[shape.records : shape.records + 1])
            await self._stream.send_all(kept + (following[: len(following) // 2] if shape.half else b""))
            await end(self._stream, shape.ending)
            raise BrokenOffError("the handshake ends here")
        if shape.fragment_bytes:
            data = fragmented(data, shape.fragment_bytes)
        size = shape.segment_bytes or len(data)
        for start in range(0, len(data), size):
            if start and shape.delay_seconds and shape.segment_bytes:
                await trio.sleep(shape.delay_seconds)
            await self._stream.send_all(data[start : start + size])
