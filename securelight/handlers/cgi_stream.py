"""A connection for one request, whose end ends the answer: what SCGI and uwsgi have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.upstream.faults import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.upstream.cgi_response import StatusLine
    from securelight.upstream.cgi_variables import Variable
    from securelight.upstream.stream import ByteStream


class OneRequestConnection:
    """One connection. Implements handlers.cgi_back_end.CgiConnection.

    Args:
        stream: connected.
        request_head: makes what begins a request.
        status_line: what answers begin with; None for a CGI head.
    """

    __slots__ = ("_request_head", "_status_line", "_stream", "_touched")
    reusable = False

    def __init__(
        self,
        stream: ByteStream,
        request_head: Callable[[Sequence[Variable]], bytes],
        status_line: StatusLine | None = None,
    ) -> None:
        self._stream = stream
        self._request_head = request_head
        self._status_line = status_line
        self._touched = False

    async def begin(self, variables: Sequence[Variable]) -> None:
        """Send the variables."""
        await self.send(self._request_head(variables))

    async def send(self, data: bytes) -> None:
        """Send more of the body."""
        try:
            await self._stream.send(data)
        except OSError as error:
            raise UpstreamBroken(f"sending: {error}", unread=not self._touched) from error

    async def finish(self) -> None:
        """The length has told already where the body ends."""

    async def receive(self) -> bytes:
        """More of the answer; b"" at the end of the connection."""
        try:
            while data := await self._stream.receive():
                self._touched = True
                if self._status_line is not None:
                    data = self._status_line.feed(data)
                if data:
                    return data
        except OSError as error:
            raise UpstreamBroken(f"receiving: {error}", unread=not self._touched) from error
        except ValueError as error:
            raise UpstreamBroken(str(error)) from error
        if not self._touched:
            raise UpstreamBroken("the connection ended without an answer", unread=True)
        return b""

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for."""
        return self._stream.is_quiet()

    def close(self) -> None:
        """Close it at once."""
        self._stream.close()
