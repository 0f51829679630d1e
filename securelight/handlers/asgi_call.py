"""One ASGI call: the `receive` and `send` that an application is given for one request.

Source: the ASGI HTTP specification, version 2.5, and its extensions for trailers, early hints and path send. The
application is trusted to be ours, but not to be right: what it says is checked here, so that no field of it can split a
response and no body is longer or shorter than was announced. A message out of order is the application's error and is
raised where it was sent. Framing belongs to the protocol adapters: fields that concern it are dropped, but for
Content-Length, which is taken at its word and held to it.

A response that is known to be whole when its first bytes come is sent in one step; only then is it begun and pushed.
"""

from __future__ import annotations

import enum
import os
import stat
from typing import TYPE_CHECKING, Any

import trio

from securelight.model.application_fields import ApplicationHead, application_head, checked_field
from securelight.model.body import PUSHED_BODY, FileSlice, OpenFile
from securelight.model.errors import BodyAborted, ClientDisconnected, Refusal
from securelight.model.response import BODYLESS_STATUSES, FRAMING_FIELDS, Response
from securelight.protocol.request_head import FORBIDDEN_TRAILERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securelight.handlers.asgi_lifespan import Message
    from securelight.model.headers import Fields
    from securelight.model.limits import Limits
    from securelight.pipeline.exchange import Exchange

_DROPPED_TRAILERS = FORBIDDEN_TRAILERS | FRAMING_FIELDS


class ApplicationClientGone(OSError):
    """What `send` raises once the client is gone (ASGI HTTP 2.4). Not an error of the application if it comes back."""


class _Phase(enum.Enum):
    """What the application has said so far."""

    NOTHING = enum.auto()
    STARTED = enum.auto()
    """`http.response.start`: held back until the first bytes of the body show which kind of response it is."""
    BEGUN = enum.auto()
    """The head is out, the body follows in pieces."""
    SENT = enum.auto()
    """All that was announced is out, in one step; the application has yet to say that this was all."""
    TRAILERS = enum.auto()
    """The body is whole, trailers were promised."""
    COMPLETE = enum.auto()


_NO_HEAD = ApplicationHead(0, (), None)


class AsgiCall:
    """The two callables of one request, and what came of it.

    Args:
        exchange: the request.
        limits: the server's bounds.
    """

    __slots__ = (
        "_announced", "_body_received", "_bodyless", "_client_left", "_complete", "_exchange", "_failure", "_head",
        "_limits", "_phase", "_received_bytes", "_refusal", "_sent_bytes", "_trailers", "_with_trailers",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, limits: Limits) -> None:
        self._exchange = exchange
        self._limits = limits
        self._phase = _Phase.NOTHING
        self._body_received = False
        self._received_bytes = 0
        self._client_left = False
        self._refusal: Refusal | None = None
        """Why the server refuses the rest of the request; the application is told that the client left."""
        self._failure: Exception | None = None
        """A fault of the application after which the response cannot be finished, even if it goes on."""
        self._complete: trio.Event | None = None
        """Wakes those who wait in `receive`; made only when somebody does."""
        self._head = _NO_HEAD
        self._announced: int | None = None
        self._bodyless = False
        self._with_trailers = False
        self._trailers: Fields = ()
        self._sent_bytes = 0

    # What the application hears

    async def receive(self) -> Message:
        """The next message to the application: the body piece by piece, then, when it happens, the disconnect."""
        if self._over():
            await trio.lowlevel.checkpoint()  # an application that asks in a loop does not stop the worker
            return {"type": "http.disconnect"}
        if self._body_received:
            await self._until_over()
            return {"type": "http.disconnect"}
        request = self._exchange.request
        data = b""
        if request.has_body:
            try:
                data = await self._exchange.receive(ahead=True)
            except ClientDisconnected:
                self._client_left = True
                return {"type": "http.disconnect"}
            except Refusal as refusal:
                self._refusal = refusal
                return {"type": "http.disconnect"}
            self._received_bytes += len(data)
        # With a known length, its last byte is the end: small bodies then come in one message.
        self._body_received = not data or self._received_bytes == request.content_length
        return {"type": "http.request", "body": data, "more_body": not self._body_received}

    def _over(self) -> bool:
        return self._client_left or self._refusal is not None or self._phase is _Phase.COMPLETE

    async def _until_over(self) -> None:
        if self._complete is None:
            self._complete = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_client, nursery.cancel_scope)
            await self._complete.wait()
            nursery.cancel_scope.cancel()

    async def _watch_client(self, waiting: trio.CancelScope) -> None:
        await self._exchange.disconnected()
        self._client_left = True
        waiting.cancel()

    # What the application says

    async def send(self, message: Message) -> None:
        """Take one message of the application.

        Errors: ApplicationClientGone once nobody listens any more. RuntimeError, TypeError or ValueError for a message
        that is out of order or malformed; BodyAborted for a body that ends before its announced length.
        """
        if self._client_left or self._refusal is not None:
            raise ApplicationClientGone("the client is gone")
        kind = message["type"]
        try:
            if kind == "http.response.body":
                data, more = message.get("body", b""), message.get("more_body", False)
                if type(data) is bytes and len(data) == self._announced and self._phase is _Phase.STARTED:
                    await self._first_body(data, more=more)
                else:
                    await self._send_body(data, more=more)
            elif kind == "http.response.start":
                self._start(message)
            elif kind == "http.response.trailers":
                await self._send_trailers(message)
            elif kind == "http.response.early_hint":
                self._hint(message.get("links", ()))
            elif kind == "http.response.pathsend":
                await self._send_path(message["path"])
            else:
                raise RuntimeError(f"ASGI message type {kind!r} is unknown")
        except ClientDisconnected as error:
            self._client_left = True
            raise ApplicationClientGone("the client is gone") from error

    def _start(self, message: Message) -> None:
        if self._phase is not _Phase.NOTHING:
            raise RuntimeError("http.response.start was sent twice")
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise ValueError(f"response status {status!r} is not a final one (200 to 599)")
        self._head = head = application_head(int(status), message.get("headers", ()))
        self._announced = head.announced
        self._bodyless = self._exchange.request.method == "HEAD" or status in BODYLESS_STATUSES
        self._with_trailers = bool(message.get("trailers", False))
        self._phase = _Phase.STARTED

    async def _send_body(self, data: Any, *, more: bool) -> None:
        if not isinstance(data, bytes):
            if not isinstance(data, (bytearray, memoryview)):
                raise TypeError(f"the body of a response is bytes, not {type(data).__name__}")
            data = bytes(data)
        phase = self._phase
        if phase is _Phase.STARTED:
            await self._first_body(data, more=more)
        elif phase is _Phase.BEGUN:
            await self._next_body(data, more=more)
        elif phase is _Phase.SENT:
            if data and not self._bodyless:
                raise self._broken(RuntimeError(f"the response is longer than its content-length {self._announced}"))
            if data:
                # Nobody waits for the content of HEAD. Without this an endless stream would run on, unseen, for ever.
                self._client_left = True
                raise ApplicationClientGone("the response has no content")
            await trio.lowlevel.checkpoint()
            if not more:
                self._completed()
        else:
            raise RuntimeError(f"http.response.body was sent {_MISPLACED[phase]}")

    async def _first_body(self, data: bytes, *, more: bool) -> None:
        head, length = self._head, self._announced
        if self._bodyless:
            if length is None and not more:
                length = len(data)
            body = PUSHED_BODY if length is None else b""
            response = Response(head.status, head.fields, body, content_length=length)
            await self._respond(response, _Phase.SENT if more else _Phase.COMPLETE)
            return
        if length is not None and (len(data) > length or (len(data) < length and not more)):
            # Nothing is sent yet: the client gets a proper error, and the application may still answer otherwise.
            raise RuntimeError(f"content-length is {length}, but the body has {len(data)} bytes{' so far' * more}")
        if (not more or len(data) == length) and not self._with_trailers:
            await self._exchange.respond(Response(head.status, head.fields, data, serialised=head.serialised))
            if more:
                self._phase = _Phase.SENT
            else:
                self._completed()
            return
        response = Response(head.status, head.fields, PUSHED_BODY, content_length=length)
        await self._exchange.begin(response)
        self._phase = _Phase.BEGUN
        await self._next_body(data, more=more)

    async def _respond(self, response: Response, phase: _Phase) -> None:
        await self._exchange.respond(response)
        if phase is _Phase.COMPLETE:
            self._completed()
        else:
            self._phase = phase

    async def _next_body(self, data: bytes, *, more: bool) -> None:
        announced = self._announced
        sent = self._sent_bytes + len(data)
        if announced is not None:
            if sent > announced:
                raise self._broken(RuntimeError(f"the response is longer than its content-length {announced}"))
            if sent < announced and not more:
                raise self._broken(BodyAborted(f"the application announced {announced} bytes and sent {sent}"))
        if data:
            await self._exchange.send(data)
            self._sent_bytes = sent
        else:
            await trio.lowlevel.checkpoint()
        if more:
            return
        if self._with_trailers:
            self._phase = _Phase.TRAILERS
        else:
            await self._exchange.end()
            self._completed()

    async def _send_trailers(self, message: Message) -> None:
        if self._phase is not _Phase.TRAILERS:
            raise RuntimeError(f"http.response.trailers was sent {_MISPLACED[self._phase]}")
        fields = [checked_field(name, value) for name, value in message.get("headers", ())]
        self._trailers += tuple(field for field in fields if field[0] not in _DROPPED_TRAILERS)
        if sum(len(name) + len(value) for name, value in self._trailers) > self._limits.trailer_bytes:
            raise RuntimeError(f"the trailers are longer than {self._limits.trailer_bytes} bytes")
        if message.get("more_trailers", False):
            return
        wanted = b"trailers" in (self._exchange.request.headers.get(b"te") or b"").lower()
        await self._exchange.end(self._trailers if wanted else ())
        self._completed()

    def _hint(self, links: Iterable[bytes]) -> None:
        if self._phase is _Phase.COMPLETE:
            raise RuntimeError("http.response.early_hint was sent after the response")
        fields = tuple(checked_field(b"link", link) for link in links)
        if fields and self._phase in (_Phase.NOTHING, _Phase.STARTED):  # too late after the head, which is not an error
            self._exchange.inform(103, fields)

    async def _send_path(self, path: str) -> None:
        if self._phase is not _Phase.STARTED:
            raise RuntimeError(f"http.response.pathsend was sent {_MISPLACED[self._phase]}")
        if self._with_trailers:
            raise RuntimeError("http.response.pathsend cannot be followed by trailers")
        body = _open_file(path, self._announced)
        await self._respond(Response(self._head.status, self._head.fields, body), _Phase.COMPLETE)

    # The end

    def finish(self) -> None:
        """The application has returned: was all said?

        Errors: what `failed` raises; RuntimeError if the response is not complete.
        """
        if self._phase is _Phase.COMPLETE and self._failure is None:
            return
        self._raise_cause(None)
        raise RuntimeError(f"the application returned {_UNFINISHED[self._phase]}")

    def failed(self, error: BaseException) -> BaseException:
        """The application has raised `error`: what is to be raised instead, or `error` itself.

        Errors: Refusal or ClientDisconnected if the application only reacts to the end of its request; its own
        earlier failure if it has turned that into something else.
        """
        self._raise_cause(error)
        if isinstance(error, SystemExit):
            return RuntimeError(f"the application called exit with status {error.code!r}")
        return error

    def _raise_cause(self, error: BaseException | None) -> None:
        if self._refusal is not None:
            raise self._refusal from error
        if self._client_left and self._phase is not _Phase.COMPLETE:
            raise ClientDisconnected from error
        if self._failure is not None:
            raise self._failure

    def _broken(self, failure: Exception) -> Exception:
        self._failure = failure
        return failure

    def _completed(self) -> None:
        self._phase = _Phase.COMPLETE
        if self._complete is not None:
            self._complete.set()


_MISPLACED = {
    _Phase.NOTHING: "before http.response.start",
    _Phase.STARTED: "before the body ended",
    _Phase.BEGUN: "while a body was being sent",
    _Phase.SENT: "while a body was being sent",
    _Phase.TRAILERS: "after the body",
    _Phase.COMPLETE: "after the response was complete",
}

_UNFINISHED = {
    _Phase.NOTHING: "without a response",
    _Phase.STARTED: "before it sent a body",
    _Phase.BEGUN: "before the body ended",
    _Phase.SENT: "before the body ended",
    _Phase.TRAILERS: "without the trailers it promised",
}


def _open_file(path: str, announced: int | None) -> FileSlice | bytes:
    """The file at `path` as a body of the announced length, or of its own.

    Errors: OSError; ValueError if it is not a regular file, or shorter than announced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe does not hold us up
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("the file for http.response.pathsend is not a regular one")
        length = facts.st_size if announced is None else announced
        if length > facts.st_size:
            raise ValueError(f"the file for http.response.pathsend is shorter than its content-length {length}")
    except BaseException:
        os.close(descriptor)
        raise
    return FileSlice(OpenFile(descriptor, facts.st_dev), 0, length)
