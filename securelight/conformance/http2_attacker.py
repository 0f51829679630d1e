"""The HTTP/2 client of attacks: sends many frames of one kind, and counts what comes back without looking closer.

It is lean, so that the polite client beside it, in the same process, is held up by the server and not by the judge:
what it sends was made before, in pieces of a few KiB, and of what it receives it reads frame headers. It reads in a
task of its own, or not at all: then a server whose answers pile up has to stop reading, and the attack is held back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import hpack
import trio

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Skipped
from securelight.conformance.http2_frames import code_name
from securelight.conformance.wire import HandshakeFailed, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

WRITE_BYTES = 8_192
FLOOD_SECONDS = 9.0
"""How long one flood goes on, at most."""
CREDIT_BYTES = 1 << 20
KEPT_STATUSES = 64
PROOF = b"all read"
"""The payload of the PING that tells when the server has got through all that was sent."""


class Http2Attacker:
    """One connection.

    Attributes:
        target: the server.
        sent: how many items of the flood went out.
        received: how many frames of each kind came.
        resets: how many RST_STREAM of each code came.
        goaway: the code of the last GOAWAY; None if there was none.
        body_bytes: DATA that came, padding included.
        ended: streams that the server has ended or reset.
        statuses: of the first responses.
        proved: the PING after the flood was answered.
        held_back: the server took no more bytes.
    """

    def __init__(self, wire: Wire, target: Target) -> None:
        wire.logs = False
        self.wire = wire
        self.target = target
        self.sent = 0
        self.received: Counter[int] = Counter()
        self.resets: Counter[int] = Counter()
        self.ended: set[int] = set()
        self.statuses: list[int] = []
        self.goaway: int | None = None
        self.body_bytes = 0
        self.held_back = False
        self.proved = False
        self._unread = b""
        self._decoder = hpack.Decoder()
        self._changed = trio.Event()

    @property
    def over(self) -> bool:
        """The server has given the connection up, or said that it will."""
        return bool(self.wire.ended) or self.goaway is not None

    @property
    def words(self) -> str:
        """What came back."""
        parts = []
        if self.goaway is not None:
            parts.append(f"GOAWAY {code_name(self.goaway)}")
        if self.wire.ended:
            parts.append(self.wire.end_words)
        if self.held_back:
            parts.append("the server read no more")
        if not parts:
            parts.append("the connection stayed")
        counted = ", ".join(f"{count} x {frames.NAMES.get(kind, hex(kind))}" for kind, count in self.received.items())
        return f"{' and '.join(parts)} ({counted or 'no frames'} came back)"

    async def send(self, data: bytes, seconds: float) -> bool:
        """Send; False if the server has broken off, or takes nothing more for so long."""
        with trio.move_on_after(seconds) as scope:
            done = await self.wire.send(data)
            await trio.lowlevel.checkpoint()
            return done
        self.held_back = scope.cancelled_caught
        return False

    async def read(self) -> bool:
        """Count what comes next; False at the end."""
        data = await self.wire.receive()
        self._unread += data
        position, available = 0, len(self._unread)
        unread = self._unread
        while available - position >= frames.HEADER_BYTES:
            end = position + frames.HEADER_BYTES + int.from_bytes(unread[position : position + 3], "big")
            if end > available:
                break
            self._count(unread[position:end])
            position = end
        self._unread = unread[position:]
        self._changed.set()
        self._changed = trio.Event()
        return bool(data)

    def _count(self, frame: bytes) -> None:
        kind, flags = frame[3], frame[4]
        self.received[kind] += 1
        if kind in (frames.HEADERS, frames.DATA):
            if kind == frames.DATA:
                self.body_bytes += len(frame) - frames.HEADER_BYTES
            elif len(self.statuses) < KEPT_STATUSES:
                self._read_status(frame[frames.HEADER_BYTES :], flags)
            if flags & frames.END_STREAM:
                self.ended.add(int.from_bytes(frame[5:9], "big"))
        elif kind == frames.RST_STREAM and len(frame) == 13:
            self.resets[int.from_bytes(frame[9:13], "big")] += 1
            self.ended.add(int.from_bytes(frame[5:9], "big"))
        elif kind == frames.GOAWAY and len(frame) >= 17:
            self.goaway = int.from_bytes(frame[13:17], "big")
        elif kind == frames.PING and flags & frames.ACK and frame[9:] == PROOF:
            self.proved = True

    def _read_status(self, block: bytes, flags: int) -> None:
        try:
            fields = dict(self._decoder.decode(block, raw=True)) if flags & ~frames.END_STREAM == 4 else {}
            status = int(fields.get(b":status", b"0"))
        except (hpack.HPACKError, ValueError):
            status = 0
        self.statuses.append(status)

    async def until(self, enough: Callable[[], bool], seconds: float) -> bool:
        """Wait, while another task reads; False if it takes too long or the connection ends."""
        with trio.move_on_after(seconds):
            while not enough() and not self.wire.ended:
                await self._changed.wait()
        return enough()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read meanwhile."""
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                while await self.read():
                    pass

            nursery.start_soon(read)
            yield
            nursery.cancel_scope.cancel()

    async def flood(self, items: Sequence[bytes], seconds: float) -> None:
        """Send the items, several in a write, until the server gives up or reads no more for `seconds`."""
        with trio.move_on_after(FLOOD_SECONDS):
            pieces: list[bytes] = []
            size = 0
            for number, item in enumerate(items, 1):
                pieces.append(item)
                size += len(item)
                if size < WRITE_BYTES and number < len(items):
                    continue
                if self.over or not await self.send(b"".join(pieces), seconds):
                    return
                self.sent += len(pieces)
                pieces, size = [], 0


async def open_attack(dial: Dial, settings: Mapping[int, int] | None = None) -> Http2Attacker:
    """A connection past its SETTINGS, which are acknowledged.

    Errors: as Dial.http2.
    """
    try:
        wire = await dial.tls(("h2",))
    except HandshakeFailed as failed:
        if "no application protocol" not in str(failed).lower().replace("_", " "):
            raise
        raise Skipped("the server does not speak HTTP/2: it refuses an offer of h2 alone") from None
    if dial.target.tls and wire.alpn != "h2":
        raise Skipped(f"the server does not speak HTTP/2: ALPN chose {wire.alpn or 'nothing'}")
    attacker = Http2Attacker(wire, dial.target)
    opening = frames.PREFACE + frames.settings(settings)
    await attacker.send(opening + frames.window_update(0, CREDIT_BYTES * 1024), dial.patience.answer)
    with trio.move_on_after(dial.patience.answer):
        while frames.SETTINGS not in attacker.received and await attacker.read():
            pass
    if frames.SETTINGS not in attacker.received:
        raise Failed(f"the server did not send its SETTINGS after the preface: {attacker.words}")
    await attacker.send(frames.settings_ack(), dial.patience.answer)
    return attacker


@dataclass(frozen=True, slots=True)
class Flood:
    """Many frames on one connection.

    Attributes:
        name: what is sent, for people.
        items: makes them, from the first to the last one, for a target.
        before: what is sent first; its answers are waited for.
        settings: of the client.
        reads: whether the client reads what comes back.
        proves: whether a PING after the flood tells that the server got through it; it may not stand in a header block.
    """

    name: str
    items: Callable[[Target], Sequence[bytes]]
    before: Callable[[Target], bytes] = lambda target: b""
    settings: Mapping[int, int] | None = None
    reads: bool = True
    proves: bool = True

    async def run(self, dial: Dial) -> Http2Attacker:
        """Send them; returns once the server has given up, or has got through all of them.

        Errors: as open_attack.
        """
        attacker = await open_attack(dial, self.settings)
        answer = dial.patience.answer
        items = self.items(dial.target)
        before = self.before(dial.target)
        if before:
            await attacker.send(before, answer)
        attacker.wire.note(f"{len(items)} x {self.name}")
        if self.reads:
            async with attacker.reading():
                await attacker.flood(items, answer)
                if not attacker.over and not attacker.held_back:
                    if self.proves:
                        await attacker.send(frames.ping(PROOF), answer)
                    await attacker.until(lambda: attacker.proved or attacker.over, answer)
        else:
            await attacker.flood(items, min(answer, 2.0))
            if not attacker.held_back:  # it has all of them, or has broken off: read what it has to say
                with trio.move_on_after(answer):
                    await attacker.send(frames.ping(PROOF), answer)
                    while not (attacker.proved or attacker.over) and await attacker.read():
                        pass
        attacker.wire.note(f"{attacker.sent} of {len(items)} sent: {attacker.words}")
        return attacker


def stopped(attacker: Http2Attacker, count: int, what: str) -> str:
    """The words for a flood that the server has ended, or holds back. Errors: Failed if it has not."""
    if attacker.over or attacker.held_back:
        return f"after at most {attacker.sent} of {count} x {what}: {attacker.words}"
    taken = "taken" if attacker.proved else "sent and not answered"
    raise Failed(f"{attacker.sent} x {what} were {taken}, and nothing has stopped them: {attacker.words}")
