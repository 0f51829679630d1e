"""What can go wrong with a server behind us, told apart by what may be done about it."""

from __future__ import annotations

from securelight.model.errors import SecurelightError


class UpstreamFault(SecurelightError):
    """The root of them all; `str()` is for the log, never for the client."""


class ConnectFailed(UpstreamFault):
    """There is no connection, so nothing was sent: another server, or the same one later, may be asked.

    Args:
        detail: what happened.
        late: it was a matter of time.
    """

    def __init__(self, detail: str, *, late: bool = False) -> None:
        super().__init__(detail)
        self.late = late


class PoolFull(UpstreamFault):
    """All connections are in use, and no place, or no time, is left in the queue for one."""


class UpstreamBroken(UpstreamFault):
    """The connection ended, or what came over it breaks the protocol, before the answer was whole.

    Args:
        detail: what happened.
        unread: the connection ended without a byte of an answer, so that it may be that nobody saw the request.
        unprocessed: the server has said that it did not look at the request.
    """

    def __init__(self, detail: str, *, unread: bool = False, unprocessed: bool = False) -> None:
        super().__init__(detail)
        self.unread = unread
        self.unprocessed = unprocessed


class UpstreamLate(UpstreamFault):
    """Nothing came by the deadline."""
