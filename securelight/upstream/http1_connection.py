"""One HTTP/1.1 connection to a server behind us: a request out, its response in, perhaps at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.protocol.http1_responses import Http1Responses, chunk, last_chunk, request_head
from securelight.protocol.response_head import ResponseFault
from securelight.upstream.faults import UpstreamBroken, UpstreamLate
from securelight.upstream.stream import Late, PlainStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.protocol.response_head import ResponseHead
    from securelight.upstream.faults import UpstreamFault
    from securelight.upstream.stream import ByteStream


class Http1Connection:
    """A connection that serves one request at a time. Implements upstream.exchange.UpstreamExchange.

    Args:
        stream: connected.
        limits: for what comes back.
    """

    __slots__ = ("_chunked", "_responses", "_sent", "_stream")

    def __init__(self, stream: ByteStream, limits: Limits) -> None:
        self._stream = stream
        self._responses = Http1Responses(limits)
        self._chunked = False
        self._sent = True

    # The request.

    async def send_head(
        self, method: str, target: bytes, fields: Sequence[Field], *, length: int | None, has_body: bool
    ) -> None:
        """See upstream.exchange.UpstreamExchange."""
        self._responses.begin(method)
        self._chunked = has_body and length is None
        self._sent = not has_body
        framing = b""
        if self._chunked:
            framing = b"transfer-encoding: chunked\r\n"
        elif length is not None:
            framing = b"content-length: %d\r\n" % length
        try:
            await self._stream.send(request_head(method, target, fields, framing))
        except OSError as error:  # half a head at most has arrived
            raise UpstreamBroken(f"sending: {error}", unread=True, unprocessed=True) from error

    async def send(self, data: bytes) -> None:
        """See upstream.exchange.UpstreamExchange."""
        await self._send(chunk(data) if self._chunked else data)

    def send_now(self, data: bytes) -> bytes:
        """See upstream.exchange.UpstreamExchange."""
        try:
            return self._stream.send_now(chunk(data) if self._chunked else data)
        except OSError as error:
            raise UpstreamBroken(f"sending: {error}", unread=not self._responses.touched) from error

    async def send_rest(self, rest: bytes) -> None:
        """See upstream.exchange.UpstreamExchange."""
        await self._send(rest)

    async def finish(self, trailers: Fields = ()) -> None:
        """See upstream.exchange.UpstreamExchange."""
        if self._chunked:
            await self._send(last_chunk(trailers))
        self._sent = True

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except OSError as error:
            raise UpstreamBroken(f"sending: {error}", unread=not self._responses.touched) from error

    # Without a task, over a plain stream (handlers.proxy_direct).

    @property
    def plain(self) -> PlainStream:
        """Its stream, which is a plain one."""
        assert type(self._stream) is PlainStream
        return self._stream

    def ask_now(self, method: str, head: bytes) -> bool:
        """Send the whole `head` of a request without a body, without waiting; False if that can't be.

        After False it is not to be used again: a part of the head at most has arrived.
        """
        self._responses.begin(method)
        self._chunked = False
        self._sent = True
        try:
            return not self._stream.send_now(head)
        except OSError:
            return False

    def head_now(self, data: bytes) -> ResponseHead | None:
        """The next head, of which `data` is the next piece, if it is complete.

        Errors: ResponseFault.
        """
        return self._responses.head(data)

    def body_now(self, data: bytes = b"") -> bytes:
        """Of the body what `data`, or what came behind the head, has.

        Errors: ResponseFault.
        """
        return self._responses.body(data)

    # The response.

    async def receive_head(self) -> ResponseHead:
        """See upstream.exchange.UpstreamExchange."""
        responses = self._responses
        try:
            head = responses.head(b"") if responses.touched else None
            while head is None:
                data = await self._stream.receive()
                if not data:
                    raise UpstreamBroken("the connection ended before the answer", unread=not responses.touched)
                head = responses.head(data)
        except ResponseFault as fault:
            raise UpstreamBroken(str(fault)) from fault
        except OSError as error:
            raise self._failed(error) from error
        return head

    def take(self) -> bytes:
        """See upstream.exchange.UpstreamExchange."""
        try:
            return b"" if self._responses.whole else self._responses.body()
        except ResponseFault as fault:
            raise UpstreamBroken(str(fault)) from fault

    async def receive(self) -> bytes:
        """See upstream.exchange.UpstreamExchange."""
        responses = self._responses
        try:
            while not responses.whole:
                data = await self._stream.receive()
                if not data:
                    responses.end_of_input()
                    break
                data = responses.body(data)
                if data:
                    return data
        except ResponseFault as fault:
            raise UpstreamBroken(str(fault)) from fault
        except OSError as error:
            raise self._failed(error) from error
        return b""

    def _failed(self, error: OSError) -> UpstreamFault:
        if isinstance(error, Late):
            return UpstreamLate("no answer in time")
        return UpstreamBroken(f"receiving: {error}", unread=not self._responses.touched)

    def set_deadline(self, deadline: float) -> None:
        """See upstream.exchange.UpstreamExchange."""
        self._stream.set_deadline(deadline)

    @property
    def whole(self) -> bool:
        """See upstream.exchange.UpstreamExchange."""
        return self._responses.whole

    @property
    def trailers(self) -> Fields:
        """See upstream.exchange.UpstreamExchange."""
        return self._responses.trailers

    @property
    def reusable(self) -> bool:
        """See upstream.exchange.UpstreamExchange."""
        return self._sent and self._responses.reusable

    # The pool.

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for."""
        return self._stream.is_quiet()

    def close(self) -> None:
        """Close it at once."""
        self._stream.close()
