"""DATA frames that do not go through an HTTP/2 engine, and what that does to the windows it keeps.

An engine copies each byte of a body twice before it can be encrypted. A large piece on a connection where nothing else
is under way is framed here instead. The engine does not know of it, so its windows for sending are wider than the
peer's by what went past it. DirectData keeps that difference, and keeps as much of the peer's next WINDOW_UPDATEs from
the engine. What is left of an update widens both alike, so an overflow (RFC 9113, section 6.9.1) is told as before.
"""

from __future__ import annotations

DIRECT_BYTES = 16_384
"""From here on a piece is worth it."""


class DirectData:
    """By how much an engine's windows are wider than those of the peer.

    Attributes:
        connection_bytes: the connection's.
        stream_id: the last stream that sent past the engine; only one at a time does.
        stream_bytes: that stream's.
        waiting_bytes: what of it has not been taken out.
    """

    __slots__ = ("connection_bytes", "stream_bytes", "stream_id", "waiting_bytes")

    def __init__(self) -> None:
        self.connection_bytes = self.stream_id = self.stream_bytes = self.waiting_bytes = 0

    @property
    def differs(self) -> bool:
        """Whether any window of the engine is too wide."""
        return self.connection_bytes > 0 or self.stream_bytes > 0

    def sent(self, stream_id: int, size: int) -> None:
        """So many bytes go past the engine."""
        if stream_id != self.stream_id:
            self.stream_id, self.stream_bytes = stream_id, 0
        self.connection_bytes += size
        self.stream_bytes += size

    def widened(self, stream_id: int, increment: int) -> int:
        """The peer widens a window, the connection's if `stream_id` is 0; returns what the engine is to hear of it."""
        if stream_id == 0:
            kept = min(increment, self.connection_bytes)
            self.connection_bytes -= kept
        elif stream_id == self.stream_id:
            kept = min(increment, self.stream_bytes)
            self.stream_bytes -= kept
        else:
            kept = 0
        return increment - kept
