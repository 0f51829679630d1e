"""What a handler sees of a request to a server behind us, whichever protocol that speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.headers import Field, Fields
    from securelight.protocol.response_head import ResponseHead


class UpstreamExchange(Protocol):
    """One request and its response; both directions may be under way at the same time, one task for each.

    Every method raises UpstreamBroken where the server is gone or breaks its protocol; those that receive raise
    UpstreamLate at the deadline.
    """

    def set_deadline(self, deadline: float) -> None:
        """Until when what receives waits, by trio.current_time(); also counts for a wait under way."""

    async def send_head(
        self, method: str, target: bytes, fields: Sequence[Field], *, length: int | None, has_body: bool
    ) -> None:
        """Begin the request.

        Args:
            method: of the request.
            target: path and query.
            fields: with Host first, without those of the framing.
            length: the announced length of the body, None without one.
            has_body: whether `send` and `finish` follow.
        """

    async def send(self, data: bytes) -> None:
        """More of the body (not empty); returns when the server's side has room for more."""

    def send_now(self, data: bytes) -> bytes:
        """As `send`, without waiting: what did not go is given, for `send_rest`."""
        ...

    async def send_rest(self, rest: bytes) -> None:
        """Send what `send_now` gave."""

    async def finish(self, trailers: Fields = ()) -> None:
        """The body is whole."""

    async def receive_head(self) -> ResponseHead:
        """The next head. After an interim one (1xx) another follows."""
        ...

    def take(self) -> bytes:
        """What has come of the body already, without waiting; b"" if nothing has."""
        ...

    async def receive(self) -> bytes:
        """More of the body; b"" once it is `whole`."""
        ...

    @property
    def whole(self) -> bool:
        """The response is complete, its trailers too."""
        ...

    @property
    def trailers(self) -> Fields:
        """The trailer fields, once it is whole."""
        ...

    @property
    def reusable(self) -> bool:
        """Another request may follow on the same connection."""
        ...
