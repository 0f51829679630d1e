"""HTTP/2 connections to a server behind us, shared by the requests of a worker.

A connection has a task that reads and one that writes, so that a request that is given up never leaves half a frame
behind. What comes for a request waits in its stream, no more than a window of it, until its client has room.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

import trio

from securelight.protocol.http2_upstream import Http2Upstream, UpstreamStream
from securelight.protocol.response_head import ResponseFault
from securelight.upstream.faults import ConnectFailed, UpstreamBroken, UpstreamLate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.protocol.response_head import ResponseHead
    from securelight.upstream.stream import ByteStream


class Http2Connection:
    """One connection.

    Args:
        stream: connected.
        scheme: of the requests on it.
        limits: the server's bounds.
    """

    def __init__(self, stream: ByteStream, scheme: str, limits: Limits) -> None:
        self._stream = stream
        self._stall_seconds = limits.write_stall_seconds
        self._read_ahead_bytes = limits.connection_window_bytes
        self._closed = False
        self._writing = False
        self._writer = trio.lowlevel.ParkingLot()
        self._drained = trio.lowlevel.ParkingLot()
        self.scheme = scheme
        self.protocol = Http2Upstream(limits)
        self.protocol.start()
        self.idle_since = trio.current_time()

    async def run(self) -> None:
        """Read and write until the connection ends. Whatever goes wrong ends this connection only."""
        why = "the connection ended"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                try:
                    await self._read()
                except Exception as error:
                    why = str(error) or type(error).__name__
                nursery.cancel_scope.cancel()
        finally:
            self.close(why)

    async def _read(self) -> None:
        unanswered_bytes = 0
        while data := await self._stream.receive():
            unanswered_bytes = unanswered_bytes + len(data) if self._writing else 0
            self.protocol.receive(data)
            self.flush()
            if unanswered_bytes > self._read_ahead_bytes:  # a server that asks and asks, and takes no answer
                await self.drain()

    async def _write(self) -> None:
        try:
            while not self._closed:
                data = self.protocol.take_output()
                if not data:
                    self._writing = False
                    self._drained.unpark_all()
                    await self._writer.park()
                    continue
                with trio.move_on_after(self._stall_seconds) as stalled:
                    await self._stream.send(data)
                if stalled.cancelled_caught:
                    self.close("it takes nothing more")
        except Exception as error:
            self.close(f"sending: {error}")

    def flush(self) -> None:
        """Have sent what there is to send."""
        self._writing = True
        self._writer.unpark_all()

    async def drain(self) -> None:
        """Wait until it is sent, so that little is held here."""
        while self._writing and not self._closed:
            await self._drained.park()

    def close(self, why: str) -> None:
        """End it, and every request on it."""
        if not self._closed:
            self._closed = True
            self.protocol.fail(why)
            self._drained.unpark_all()
            self._stream.close()

    @property
    def available(self) -> bool:
        """Whether one more request may be sent."""
        return not self._closed and self.protocol.available


class Http2Exchange:
    """One request on a shared connection. Implements upstream.exchange.UpstreamExchange, and pool.Pooled.

    Args:
        connection: with room for it.
    """

    __slots__ = ("_changed", "_connection", "_deadline", "_receiving", "_state")

    def __init__(self, connection: Http2Connection) -> None:
        self._connection = connection
        self._changed = trio.lowlevel.ParkingLot()
        self._state: UpstreamStream | None = None
        self._deadline = inf
        self._receiving: trio.CancelScope | None = None

    def set_deadline(self, deadline: float) -> None:
        """See upstream.exchange.UpstreamExchange."""
        self._deadline = deadline
        if self._receiving is not None:
            self._receiving.deadline = deadline

    async def _news(self) -> None:
        with trio.CancelScope(deadline=self._deadline) as self._receiving:
            await self._changed.park()
        late = self._receiving.cancelled_caught
        self._receiving = None
        if late:
            raise UpstreamLate("no answer in time")

    def _wake(self) -> None:
        self._changed.unpark_all()

    # The request.

    async def send_head(
        self, method: str, target: bytes, fields: Sequence[Field], *, length: int | None, has_body: bool
    ) -> None:
        """See upstream.exchange.UpstreamExchange."""
        connection = self._connection
        if length is not None:
            fields = [*fields, (b"content-length", b"%d" % length)]
        if not connection.available:
            raise UpstreamBroken("the connection ended", unread=True, unprocessed=True)
        try:
            self._state = connection.protocol.open(
                method, connection.scheme, target, fields, end=not has_body, on_change=self._wake
            )
        except ResponseFault as fault:
            raise UpstreamBroken(str(fault), unread=True, unprocessed=True) from fault
        connection.flush()

    async def send(self, data: bytes) -> None:
        """See upstream.exchange.UpstreamExchange."""
        state, protocol = self._open_state(), self._connection.protocol
        view = memoryview(data)
        while view:
            if state.broken or state.whole:
                raise UpstreamBroken(state.broken or "it takes no more of the request")
            room = protocol.room(state)
            if room <= 0:
                await self._changed.park()
                continue
            self._ask(partial(protocol.send, state, bytes(view[:room])))
            view = view[room:]
            self._connection.flush()
            await self._connection.drain()

    def send_now(self, data: bytes) -> bytes:
        """See upstream.exchange.UpstreamExchange."""
        return data

    async def send_rest(self, rest: bytes) -> None:
        """See upstream.exchange.UpstreamExchange."""
        await self.send(rest)

    async def finish(self, trailers: Fields = ()) -> None:
        """See upstream.exchange.UpstreamExchange."""
        state = self._open_state()
        self._ask(lambda: self._connection.protocol.finish(state, trailers))
        self._connection.flush()

    def _ask(self, act: Callable[[], None]) -> None:
        try:
            act()
        except ResponseFault as fault:
            raise UpstreamBroken(str(fault)) from fault

    def _open_state(self) -> UpstreamStream:
        assert self._state is not None, "send_head comes first"
        return self._state

    # The response.

    async def receive_head(self) -> ResponseHead:
        """See upstream.exchange.UpstreamExchange."""
        state = self._open_state()
        while not state.heads:
            self._check(state)
            await self._news()
        return state.heads.popleft()

    def _check(self, state: UpstreamStream) -> None:
        if state.broken:
            raise UpstreamBroken(state.broken, unread=not state.touched, unprocessed=state.unprocessed)

    def take(self) -> bytes:
        """See upstream.exchange.UpstreamExchange."""
        state = self._open_state()
        taken = [data for data, _credit in state.pieces]
        credit = sum(credit for _data, credit in state.pieces)
        state.pieces.clear()
        if credit:
            self._connection.protocol.consumed(state, credit)
            self._connection.flush()
        return b"".join(taken)

    async def receive(self) -> bytes:
        """See upstream.exchange.UpstreamExchange."""
        state = self._open_state()
        while True:
            data = self.take()
            if data:
                return data
            if state.whole:
                return b""
            self._check(state)
            await self._news()

    @property
    def whole(self) -> bool:
        """See upstream.exchange.UpstreamExchange."""
        state = self._open_state()
        return state.whole and not state.pieces

    @property
    def trailers(self) -> Fields:
        """See upstream.exchange.UpstreamExchange."""
        return self._open_state().trailers

    @property
    def reusable(self) -> bool:
        """A stream is used once; its connection goes on."""
        return False

    # The pool.

    def is_quiet(self) -> bool:
        """Never asked for: it is never kept."""
        return False

    def close(self) -> None:
        """Give the stream back; what is not whole is reset."""
        connection = self._connection
        if self._state is not None:
            connection.protocol.close(self._state)
            connection.flush()
        connection.idle_since = trio.current_time()
        if connection.protocol.going_away and not connection.protocol.streams:
            connection.close("the server is going away")


class Http2Connections:
    """The connections to one server: as few as will do.

    Args:
        connect: opens a byte stream; raises ConnectFailed.
        scheme: of the requests.
        limits: the server's bounds.
        idle_seconds: after which a connection without requests is closed.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[ByteStream]], scheme: str, limits: Limits, idle_seconds: float
    ) -> None:
        self._connect = connect
        self._scheme = scheme
        self._limits = limits
        self._idle_seconds = idle_seconds
        self._open: list[Http2Connection] = []
        self._dialing = trio.Lock()
        self.nursery: trio.Nursery | None = None
        """Where connections are read; set by the service for as long as it runs."""

    async def exchange(self) -> Http2Exchange:
        """A place for one request.

        Errors: ConnectFailed.
        """
        connection = self._with_room()
        if connection is None:
            async with self._dialing:
                connection = self._with_room() or await self._dial()
        return Http2Exchange(connection)

    def _with_room(self) -> Http2Connection | None:
        self._open = [one for one in self._open if one.available or one.protocol.streams]
        return next((one for one in self._open if one.available), None)

    async def _dial(self) -> Http2Connection:
        if self.nursery is None:
            raise ConnectFailed("the worker is stopping")
        stream = await self._connect()
        connection = Http2Connection(stream, self._scheme, self._limits)
        self._open.append(connection)
        self.nursery.start_soon(connection.run)
        return connection

    def sweep(self) -> None:
        """Close connections without requests that are old."""
        oldest = trio.current_time() - self._idle_seconds
        for connection in tuple(self._open):
            if not connection.protocol.streams and connection.idle_since < oldest:
                connection.close("idle")
        self._with_room()

    def close(self) -> None:
        """Close all of them."""
        for connection in self._open:
            connection.close("the worker is stopping")
        self._open.clear()
