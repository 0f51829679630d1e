"""One ASGI WebSocket: the handshake, messages both ways, pings, the end. The same over HTTP/1.1 and HTTP/2.

Source: the ASGI WebSocket specification, version 2.5, with its extension for denial responses; RFC 6455, RFC 8441.

Two tasks: the application, and a pump that reads frames, so that pings are answered and a Close is noticed whatever the
application does. The pump reads ahead of it by a bounded amount, then waits: the client is slowed down by its window.

An application hears of the client's leaving by `websocket.disconnect`, and has websocket_close_seconds from then on to
end by itself before it is cancelled.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from securelight.handlers.asgi_call import ApplicationClientGone, AsgiCall
from securelight.handlers.websocket_link import Phase, SilenceWatch, WebSocketLink
from securelight.model.application_fields import checked_field
from securelight.model.errors import ClientDisconnected, Refusal
from securelight.model.response import FRAMING_FIELDS
from securelight.model.status import error_response
from securelight.protocol.websocket import (
    ABNORMAL,
    INTERNAL_ERROR,
    NO_STATUS,
    NORMAL,
    WebSocket,
    deflate_fields,
    handshake_fields,
)

if TYPE_CHECKING:
    from securelight.handlers.asgi_lifespan import Application, Message, Scope
    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.pipeline.exchange import Exchange

READ_AHEAD_BYTES = 65_536
"""Of messages that the application has not asked for yet; one more message may come on top."""
MESSAGE_COST_BYTES = 64
"""What each of them counts beside its content, so that empty ones are bounded too."""
_OWN_FIELDS = FRAMING_FIELDS | {
    b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol", b"sec-websocket-version",
}  # fmt: skip
_MERE_REACTIONS = frozenset({"ApplicationClientGone", "WebSocketDisconnect", "ClientDisconnected"})
"""What an application raises that does not catch the end of its client: Starlette's class, and ours. No fault of it."""
_SENDABLE = range(1000, 5000)
_NEVER_SENT = frozenset({1004, NO_STATUS, ABNORMAL, 1015})


class WebSocketCall(WebSocketLink):
    """The two callables of one WebSocket, and what becomes of it.

    Args:
        exchange: the request that asks for it.
        offered: the subprotocols that the client offers.
        limits: the server's bounds.
        watch: looks after those that are silent.
        compress: grant compression to clients that offer it.

    Errors: Refusal for a handshake that is none.
    """

    __slots__ = (
        "_app_scope", "_client_left", "_compress", "_denial", "_disconnect", "_fields", "_given", "_news", "_offered",
        "_queue", "_queued_bytes", "_room",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, offered: list[str], limits: Limits, watch: SilenceWatch, *, compress: bool
    ) -> None:
        super().__init__(exchange, limits, watch)
        self._compress = compress
        self._offered = offered
        self._fields = handshake_fields(exchange.request)
        self._given = False
        """`websocket.connect` was received."""
        self._denial: AsgiCall | None = None
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        self._disconnect: Message | None = None
        """What `receive` gives once the queue is empty."""
        self._news: trio.Event | None = None
        self._room: trio.Event | None = None
        self._client_left = False
        self._app_scope = trio.CancelScope()

    async def run(self, application: Application, scope: Scope) -> None:
        """Run the application for this socket, and end it properly.

        Errors: what the application raised, or RuntimeError where it broke the protocol; ClientDisconnected, Refusal.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                with self._app_scope:
                    await self._run_application(application, scope)
                await self._finish()
                nursery.cancel_scope.cancel()
        finally:
            self._watch.links.discard(self)
        self._raise_failure()

    async def _run_application(self, application: Application, scope: Scope) -> None:
        try:
            await application(scope, self.receive, self.send)
        except (Exception, SystemExit) as error:
            self._failure = error
        except BaseExceptionGroup as error:
            if error.split(trio.Cancelled)[0] is not None:
                raise
            self._failure = error

    # What the application hears.

    async def receive(self) -> Message:
        """The next message to the application."""
        if not self._given:
            self._given = True
            return {"type": "websocket.connect"}
        if self._denial is not None:
            message = await self._denial.receive()
            return {"type": "websocket.disconnect", "code": ABNORMAL} if "disconnect" in message["type"] else message
        while not self._queue:
            if self._disconnect is not None:
                await trio.lowlevel.checkpoint()
                return self._disconnect
            self._news = trio.Event()
            await self._news.wait()
        message = self._queue.popleft()
        self._queued_bytes -= MESSAGE_COST_BYTES + len(message.get("text") or message.get("bytes") or "")
        if self._room is not None and self._queued_bytes < READ_AHEAD_BYTES:
            self._room.set()
        return message

    @property
    def _behind(self) -> bool:
        return self._queued_bytes >= READ_AHEAD_BYTES

    async def _message(self, message: str | bytes) -> None:
        while self._behind:
            self._room = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_client, self._room)
                await self._room.wait()
                nursery.cancel_scope.cancel()
            if self._client_left:
                raise ClientDisconnected
        kind = "text" if isinstance(message, str) else "bytes"
        self._queue.append({"type": "websocket.receive", kind: message})
        self._queued_bytes += len(message) + MESSAGE_COST_BYTES
        self._wake()

    async def _watch_client(self, room: trio.Event) -> None:
        await self._exchange.disconnected()
        self._client_left = True
        room.set()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    def _disconnected(self, code: int, reason: str, *, by_application: bool = False) -> None:
        """The application is told after what came before; unless it did that itself, it gets some time to end."""
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
            if not by_application:
                self._app_scope.deadline = trio.current_time() + self._limits.websocket_close_seconds
            self._wake()

    # What the application says.

    async def send(self, message: Message) -> None:
        """Take one message of the application.

        Errors: ApplicationClientGone once nobody listens any more; RuntimeError, TypeError or ValueError for a message
        that is out of order or malformed.
        """
        kind = message["type"]
        phase = self._phase
        if phase is Phase.OPEN and self._disconnect is None:
            if kind == "websocket.send":
                await self._send_message(message)
            elif kind == "websocket.close":
                code = message.get("code")
                code = NORMAL if code is None else _checked_code(code)
                reason = message.get("reason") or ""
                self._disconnected(code, reason, by_application=True)
                await self._close(code, reason)
            else:
                raise RuntimeError(f"{kind!r} was sent to a WebSocket that is open")
        elif phase is Phase.CONNECTING:
            if kind == "websocket.accept":
                await self._accept(message)
            elif kind == "websocket.close":
                await self._deny(Refusal(403, "The application does not take this WebSocket."))
            elif kind == "websocket.http.response.start":
                self._denial = AsgiCall(self._exchange, self._limits)
                self._phase = Phase.DENYING
                await self._deny_by(kind, message)
            else:
                raise RuntimeError(f"{kind!r} was sent before websocket.accept")
        elif phase is Phase.DENYING and kind.startswith("websocket.http.response."):
            await self._deny_by(kind, message)
        elif kind == "websocket.close" and phase is not Phase.DENYING:
            await trio.lowlevel.checkpoint()  # it is closed, as it should be
        elif kind == "websocket.send" and phase is not Phase.DENYING:
            await trio.lowlevel.checkpoint()
            raise ApplicationClientGone("the WebSocket is closed")
        else:
            raise RuntimeError(f"{kind!r} was sent out of order")

    async def _accept(self, message: Message) -> None:
        fields: list[Field] = list(self._fields)
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            if subprotocol not in self._offered:
                raise ValueError(f"the client has not offered the subprotocol {subprotocol!r}")
            fields.append((b"sec-websocket-protocol", subprotocol.encode("ascii")))
        granted: Fields = deflate_fields(self._exchange.request) if self._compress else ()
        fields += granted
        for name, value in message.get("headers") or ():
            field = checked_field(name, value)
            if field[0] not in _OWN_FIELDS:
                fields.append(field)
        try:
            await self._exchange.upgrade(b"websocket", tuple(fields))
        except ClientDisconnected as error:
            raise ApplicationClientGone("the client is gone") from error
        self._open(WebSocket(self._limits, deflate=bool(granted)))

    async def _deny_by(self, kind: str, message: Message) -> None:
        assert self._denial is not None
        await self._denial.send({**message, "type": kind.removeprefix("websocket.")})

    async def _deny(self, refusal: Refusal) -> None:
        self._phase = Phase.OVER
        self._disconnected(ABNORMAL, "", by_application=True)
        self._exchange.facts.refusal = refusal
        try:
            await self._exchange.respond(error_response(refusal))
        except ClientDisconnected as error:
            raise ApplicationClientGone("the client is gone") from error

    async def _send_message(self, message: Message) -> None:
        data: Any = message.get("bytes")
        if data is None:
            data = message.get("text")
            if not isinstance(data, str):
                raise TypeError("websocket.send has neither bytes nor text")
        elif not isinstance(data, bytes):
            data = bytes(data)
        assert self._socket is not None
        await self._write(self._socket.message(data))

    # The end.

    async def _finish(self) -> None:
        """The application has ended: close what is open, and wait a little for the client to close too."""
        if self._socket is None:
            return
        with trio.move_on_after(self._limits.websocket_close_seconds):
            try:
                await self._close(NORMAL if self._failure is None else INTERNAL_ERROR, "")
                await self._pump_done.wait()
            except ApplicationClientGone:
                return
        await self._end()

    def _raise_failure(self) -> None:
        failure = self._failure
        if self._denial is not None:
            if failure is None:
                self._denial.finish()
            else:
                instead = self._denial.failed(failure)
                if instead is failure:
                    raise failure
                raise instead from failure
            return
        if failure is not None:
            if self._disconnect is not None and type(failure).__name__ in _MERE_REACTIONS:
                return
            if isinstance(failure, SystemExit):
                raise RuntimeError(f"the application called exit with status {failure.code!r}") from failure
            raise failure
        if self._phase is Phase.CONNECTING:
            raise RuntimeError("the application returned without having accepted or closed the WebSocket")


def _checked_code(code: Any) -> int:
    if not isinstance(code, int) or code not in _SENDABLE or code in _NEVER_SENT:
        raise ValueError(f"{code!r} is no code to close a WebSocket with (RFC 6455, section 7.4)")
    return code
