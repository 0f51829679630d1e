"""One connection to an application that speaks FastCGI: one request after the other, and what it says beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.protocol.fastcgi_records import (
    END_OF_BODY,
    FastCgiFault,
    FastCgiResponses,
    Role,
    begin_request,
    request_body,
)
from securelight.upstream.error_output import ErrorOutput
from securelight.upstream.faults import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.upstream.cgi_variables import Variable
    from securelight.upstream.stream import ByteStream


class FastCgiConnection:
    """One connection. Implements handlers.cgi_back_end.CgiConnection.

    Args:
        stream: connected.
        log: is told what the application says on its standard error.
        role: what is asked of the application.
    """

    __slots__ = ("_errors", "_responses", "_role", "_sent", "_stream", "_touched")

    def __init__(self, stream: ByteStream, log: Callable[[str], None], role: Role = Role.RESPONDER) -> None:
        self._stream = stream
        self._errors = ErrorOutput(log)
        self._role = role
        self._responses = FastCgiResponses()
        self._sent = True
        self._touched = False

    async def begin(self, variables: Sequence[Variable]) -> None:
        """Send the variables."""
        self._responses.begin()
        self._sent = self._touched = False
        self._errors.begin()
        await self._send(begin_request(variables, self._role))

    async def send(self, data: bytes) -> None:
        """Send more of the body."""
        await self._send(request_body(data))

    async def finish(self) -> None:
        """Say that the body is whole."""
        await self._send(END_OF_BODY)
        self._sent = True

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except OSError as error:
            raise UpstreamBroken(f"sending: {error}", unread=not self._touched) from error

    async def receive(self) -> bytes:
        """More of the standard output; b"" at the end of the response."""
        while not self._responses.whole:
            try:
                data = await self._stream.receive()
            except OSError as error:
                raise UpstreamBroken(f"receiving: {error}", unread=not self._touched) from error
            if not data:
                raise UpstreamBroken("the connection ended before the answer did", unread=not self._touched)
            self._touched = True
            try:
                output, errors = self._responses.feed(data)
            except FastCgiFault as fault:
                raise UpstreamBroken(str(fault), unprocessed=fault.unprocessed) from fault
            if errors:
                self._errors.add(errors)
            if output:
                return output
        return b""

    @property
    def reusable(self) -> bool:
        """Both sides have said all."""
        return self._sent and self._responses.whole

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for."""
        return self._stream.is_quiet()

    def close(self) -> None:
        """Close it at once."""
        self._stream.close()
