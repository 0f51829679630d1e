"""The server's end of one WebSocket: frames in and out, pings, the closing handshake, silence. Not what is said.

Frames are read in a task of their own (the pump), so that pings are answered and a Close is noticed whatever those do
who use the WebSocket. They say by `_behind` when to read no further.
"""

from __future__ import annotations

import abc
import contextlib
import enum
from typing import TYPE_CHECKING

import trio

from securelight.handlers.asgi_call import ApplicationClientGone
from securelight.model.errors import ClientDisconnected, ServerLeaving
from securelight.protocol.websocket import (
    ABNORMAL,
    GOING_AWAY,
    INTERNAL_ERROR,
    Breach,
    Closed,
    Ping,
    WebSocket,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.model.limits import Limits
    from securelight.pipeline.exchange import Exchange

SLICE_BYTES = 4_096
"""How much input is looked at before others get their turn: at most some 700 frames."""
LOOK_SECONDS = 1.0
"""How often the silent ones are looked for."""


class Phase(enum.Enum):
    """How far it has come."""

    CONNECTING = enum.auto()
    """The application has not accepted yet."""
    DENYING = enum.auto()
    """It answers by an HTTP response of its own."""
    OPEN = enum.auto()
    CLOSING = enum.auto()
    """Our Close is out; the client's is waited for."""
    OVER = enum.auto()


class SilenceWatch:
    """Looks after the silent ones of a worker, in one task for all of them (a pipeline.compile.Service).

    Attributes:
        links: those that are open.
    """

    def __init__(self, limits: Limits) -> None:
        self.links: set[WebSocketLink] = set()
        self._seconds = min(LOOK_SECONDS, limits.websocket_ping_seconds / 4)

    async def run(self, ready: Callable[[], None]) -> None:
        """Look, again and again, until cancelled."""
        ready()
        while True:
            await trio.sleep(self._seconds)
            now = trio.current_time()
            for link in tuple(self.links):
                link.look(now)


class WebSocketLink(abc.ABC):
    """One WebSocket, once it is open.

    Args:
        exchange: the request that asks for it.
        limits: the server's bounds.
        watch: looks after those that are silent.
    """

    __slots__ = (
        "_asked", "_ended", "_exchange", "_failure", "_free", "_heard", "_limits", "_nursery", "_phase", "_pump_done",
        "_pump_scope", "_silent_since", "_socket", "_torn", "_watch", "_writing",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, limits: Limits, watch: SilenceWatch) -> None:
        self._exchange = exchange
        self._limits = limits
        self._watch = watch
        self._phase = Phase.CONNECTING
        self._socket: WebSocket | None = None
        self._nursery: trio.Nursery | None = None
        self._failure: BaseException | None = None
        self._writing = False
        self._free: trio.Event | None = None
        self._torn = False
        """A frame was begun and not finished: nothing can follow it."""
        self._ended = False
        self._pump_scope = trio.CancelScope()
        self._pump_done = trio.Event()
        self._heard = True
        """The client has said something since the last look."""
        self._asked = False
        self._silent_since = 0.0

    @property
    @abc.abstractmethod
    def _behind(self) -> bool:
        """No more messages are read for now."""

    @abc.abstractmethod
    async def _message(self, message: str | bytes) -> None:
        """A message of the client; waits while those before it fill what there is room for.

        Errors: ClientDisconnected.
        """

    @abc.abstractmethod
    def _disconnected(self, code: int, reason: str) -> None:
        """It is over, or about to be; may be called again."""

    def _open(self, socket: WebSocket) -> None:
        """The handshake is done."""
        self._phase = Phase.OPEN
        self._socket = socket
        assert self._nursery is not None
        self._nursery.start_soon(self._pump, socket)
        self._watch.links.add(self)

    # What is sent.

    async def _close(self, code: int, reason: str) -> None:
        """Send our Close, once."""
        if self._phase is Phase.OPEN:
            assert self._socket is not None
            data = self._socket.close(code, reason)
            self._phase = Phase.CLOSING
            self._disconnected(code, reason)
            await self._write(data)

    async def _end(self) -> None:
        """All is said."""
        if not self._ended and not self._torn:
            self._ended = True
            with contextlib.suppress(ClientDisconnected):
                await self._exchange.end()

    async def _write(self, data: bytes) -> None:
        """Send frames whole, one writer after the other.

        An application that gives up waiting leaves half a frame behind, after which nothing can be sent any more.

        Errors: ApplicationClientGone.
        """
        while self._writing:
            if self._free is None:
                self._free = trio.Event()
            await self._free.wait()
        if self._torn:
            raise ApplicationClientGone("the WebSocket is broken")
        self._writing = True
        try:
            await self._exchange.send(data)
        except ClientDisconnected as error:
            self._disconnected(ABNORMAL, "")
            raise ApplicationClientGone("the client is gone") from error
        except trio.Cancelled:
            self._torn = True
            self._disconnected(ABNORMAL, "")
            self._pump_scope.cancel()
            raise
        finally:
            self._writing = False
            if self._free is not None:
                self._free.set()
                self._free = None

    # What the client says.

    async def _pump(self, socket: WebSocket) -> None:
        try:
            with self._pump_scope:
                await self._read_all(socket)
        except (ClientDisconnected, ApplicationClientGone):
            pass
        except Exception as error:  # ours: the application's end goes on
            self._failure = self._failure or error
        self._disconnected(ABNORMAL, "")
        if self._phase is Phase.CLOSING:
            self._phase = Phase.OVER
            await self._end()
        self._pump_done.set()

    async def _read_all(self, socket: WebSocket) -> None:
        """Until the client's Close, or its end."""
        while data := await self._next_bytes():
            for start in range(0, len(data), SLICE_BYTES):
                for event in socket.receive(data[start : start + SLICE_BYTES]):
                    if isinstance(event, (str, bytes)):
                        if self._phase is Phase.OPEN:
                            await self._message(event)
                    elif isinstance(event, Ping):
                        if self._phase is Phase.OPEN:
                            await self._write(socket.pong(event.payload))
                    elif isinstance(event, Closed):
                        self._disconnected(event.code, event.reason)
                        await self._close(event.code, event.reason)
                        return
                    elif isinstance(event, Breach):
                        await self._close(event.code, event.why)
                        return
                if len(data) > SLICE_BYTES:
                    await trio.lowlevel.checkpoint()

    async def _next_bytes(self) -> bytes:
        """What the client sends next; b"" at its end.

        Errors: ClientDisconnected, ApplicationClientGone.
        """
        while True:
            try:
                data = await self._exchange.receive()
            except ServerLeaving:
                await self._close(GOING_AWAY, "the server restarts")
            else:
                self._heard = True
                return data

    # Silence.

    def look(self, now: float) -> None:
        """Ask a client that has been silent for long whether it is there; give it up if it does not say."""
        if self._heard or self._behind:  # it is we who do not listen
            self._heard = self._asked = False
            self._silent_since = now
            return
        assert self._nursery is not None
        silent_seconds = now - self._silent_since
        if self._phase is Phase.CLOSING:
            if silent_seconds >= self._limits.websocket_close_seconds:
                self._pump_scope.cancel()
        elif silent_seconds >= self._limits.websocket_ping_seconds and self._phase is Phase.OPEN:
            self._silent_since = now
            if self._asked:
                self._nursery.start_soon(self._give_up)
            else:
                self._asked = True
                self._nursery.start_soon(self._ask)

    async def _ask(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(ApplicationClientGone):
            await self._write(self._socket.ping())

    async def _give_up(self) -> None:
        with contextlib.suppress(ApplicationClientGone):
            await self._close(INTERNAL_ERROR, "no answer to a ping")
        self._pump_scope.cancel()
