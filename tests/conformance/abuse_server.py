"""A small server for the attacks: the project's own adapters over a stream, right or wrong in one way at a time.

A limit that is lifted, a kind of frame that is not counted, a deadline that is left out: each is a server that somebody
has run. Time is the clock of Trio, so that deadlines pass at once where the clock of a test jumps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from securelight.model.limits import Limits
from securelight.model.request import Peer, Request
from securelight.model.response import Response
from securelight.protocol.events import BodyEnded, BodyReceived, RequestRefused
from securelight.protocol.flood import Flood
from securelight.protocol.h2_adapter import H2Adapter
from securelight.protocol.h11_adapter import H11Adapter
from securelight.protocol.http2_adapter import Http2Adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from securelight.protocol.events import Event

PAGE = b"<p>High water at noon.</p>" * 100
SECRET = b"root:x:0:0:root:/root:/bin/sh\n"
FED_BYTES = 4_096
"""At a time: with more, the bound of new streams in one piece stops floods that another one is to stop."""
HEAD_SECONDS, STALL_SECONDS, IDLE_SECONDS = 20.0, 30.0, 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong; nothing by default.

    Attributes:
        limits: those that differ from the usual ones.
        uncounted: what the flood counters do not count, by their own names.
        forgets: deadlines that there are not: `head`, `body`, `stall` or `idle`.
        restarts: the head's deadline begins anew with each byte.
        follows: makes the path that is opened of a target, and goes where it leads.
        splits: makes a field's value of a target, and writes it as it is.
        inflates: content that is compressed breaks the server.
        stalls: the seconds that each new stream holds everybody up.
        accepts: with so many connections, nobody else gets one for a second.
    """

    limits: dict[str, Any] = dataclasses.field(default_factory=dict)
    uncounted: tuple[str, ...] = ()
    forgets: str = ""
    restarts: bool = False
    follows: Callable[[bytes], bytes] | None = None
    splits: Callable[[bytes], bytes] | None = None
    inflates: bool = False
    stalls: float = 0.0
    accepts: int = 1_000_000


class _Lenient(Flood):
    """Does not count some things."""

    __slots__ = ("_uncounted",)

    def __init__(self, limits: Limits, uncounted: tuple[str, ...]) -> None:
        super().__init__(limits)
        self._uncounted = uncounted

    def reset(self, what: str) -> None:
        if what not in self._uncounted:
            super().reset(what)

    def control(self, what: str) -> None:
        if what not in self._uncounted:
            super().control(what)

    def reply(self, what: str) -> None:
        if what not in self._uncounted:
            super().reply(what)

    def update(self, what: str) -> None:
        if what not in self._uncounted:
            super().update(what)


class AbuseServer:
    """All connections of one server.

    Args:
        defect: what is wrong with it.
    """

    def __init__(self, defect: Defect) -> None:
        self.defect = defect
        self.connections = 0
        self._limits = dataclasses.replace(Limits(), **defect.limits)
        self._held_until = self._refuses_until = 0.0

    async def connect(self, nursery: trio.Nursery) -> trio.abc.Stream:
        """A connection to it. Errors: ConnectionRefusedError."""
        now = trio.current_time()
        if self.connections >= self.defect.accepts:
            self._refuses_until = now + 1.0
        if now < self._refuses_until:
            raise ConnectionRefusedError(111, "Connection refused")
        self.connections += 1
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await _Served(self, stream).run()
        finally:
            self.connections -= 1
            await trio.aclose_forcefully(stream)

    def adapter(self, first: bytes) -> Http2Adapter | H11Adapter:
        """The one that the client's first bytes ask for."""
        if not first.startswith(b"PRI "):
            return H11Adapter(Peer("192.0.2.1", 1), self._limits)
        adapter = H2Adapter(Peer("192.0.2.1", 1), self._limits)
        if self.defect.uncounted:
            adapter._flood = adapter._walk._flood = _Lenient(self._limits, self.defect.uncounted)
        return adapter

    async def hold(self) -> None:
        """One thread for all: who comes while it is busy has to wait."""
        if self.defect.stalls:
            await trio.sleep_until(self._held_until)

    def busy(self) -> None:
        """Something that takes the thread for a while has come."""
        self._held_until = max(self._held_until, trio.current_time()) + self.defect.stalls


class _Served:
    """One connection."""

    def __init__(self, server: AbuseServer, stream: trio.abc.Stream) -> None:
        self.server = server
        self.stream = stream
        self.defect = server.defect
        self.waiting: dict[int, Request] = {}
        self.active_at = trio.current_time()
        self.head_at = self.open_at = math.inf

    async def run(self) -> None:
        adapter: Http2Adapter | H11Adapter | None = None
        while True:
            data = b""
            with trio.move_on_at(self._deadline()):
                data = bytes(await self.stream.receive_some(65_536))
            if not data:
                return
            if adapter is None:
                adapter = self.server.adapter(data)
                adapter.start()
            await self.server.hold()
            step = FED_BYTES if isinstance(adapter, Http2Adapter) else 65_536
            for place in range(0, len(data), step):
                await self._take(adapter, adapter.receive(data[place : place + step]))
                while adapter.input_ready:
                    await self._take(adapter, adapter.receive(b""))
            if adapter.closing:
                return
            self._note(adapter)

    def _note(self, adapter: Http2Adapter | H11Adapter) -> None:
        now = trio.current_time()
        if not adapter.partial_head:
            self.head_at = math.inf
        elif self.head_at == math.inf or self.defect.restarts:
            self.head_at = now
        if not adapter.open_streams:
            self.open_at, self.active_at = math.inf, now
        elif self.open_at == math.inf:
            self.open_at = now

    def _deadline(self) -> float:
        """When the connection ends if nothing more comes, and also if something does."""
        forgets = self.defect.forgets
        if self.head_at < math.inf:
            return math.inf if forgets == "head" else self.head_at + HEAD_SECONDS
        if self.open_at < math.inf:
            late = "body" if self.waiting else "stall"
            return math.inf if forgets == late else self.open_at + STALL_SECONDS
        return math.inf if forgets == "idle" else self.active_at + IDLE_SECONDS

    async def _take(self, adapter: Http2Adapter | H11Adapter, events: Iterable[Event]) -> None:
        raw = b""
        for event in events:
            if isinstance(event, tuple):
                stream_id, known, _credentials = event
                self.server.busy()
                raw += self._answer(adapter, stream_id, known.request.target, known.request)
            elif isinstance(event, Request):
                self.server.busy()
                if event.has_body:
                    self.waiting[event.stream_id] = event
                else:
                    raw += self._answer(adapter, event.stream_id, event.target, event)
            elif isinstance(event, BodyReceived):
                adapter.consumed(event.stream_id, event.credit)
            elif isinstance(event, BodyEnded) and event.stream_id in self.waiting:
                request = self.waiting.pop(event.stream_id)
                raw += self._answer(adapter, event.stream_id, request.target, request)
            elif isinstance(event, RequestRefused) and not event.in_body:
                raw += self._answer(adapter, event.stream_id, event.target, event)
            elif isinstance(event, RequestRefused):
                self.waiting.pop(event.stream_id, None)
                adapter.respond(event.stream_id, Response(event.refusal.status), b"", end=True)
        while out := adapter.take_output(1 << 20):
            await self.stream.send_all(raw or out)
            raw = b""

    def _answer(
        self, adapter: Http2Adapter | H11Adapter, stream_id: int, target: bytes, given: Request | RequestRefused
    ) -> bytes:
        """Queue the answer; what is returned goes out in its place."""
        status, body = (200, PAGE) if isinstance(given, Request) else (given.refusal.status, b"")
        if self.defect.follows is not None and b"etc/passwd" in self.defect.follows(target):
            status, body = 200, SECRET
        if self.defect.inflates and isinstance(given, Request) and given.headers.get(b"content-encoding"):
            status = 500
        raw = b""
        if self.defect.splits is not None and isinstance(adapter, H11Adapter):
            place = self.defect.splits(target)
            if re.search(rb"\r|\n", place):
                raw = b"HTTP/1.1 301 Moved\r\nLocation: " + place + b"\r\nContent-Length: 0\r\n\r\n"
        adapter.respond(stream_id, Response(status, (), body), body, end=True)
        return raw
