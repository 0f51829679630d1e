"""One stream of an HTTP/2 connection: how far its request and its response have come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securelight.model.headers import Headers


class Http2Stream:
    """One request and its response.

    Attributes:
        request_ended: END_STREAM was received.
        responded: the head of the response was given to the adapter.
        ended: so was the end of the response.
        discards: nothing more of the request's body is reported, because it was refused or the answer is out.
        succeeded: the status of the response is below 300.
        headers: of the request; none if it was refused.
        announced: the Content-Length of the request, or None.
        received: bytes of its body so far.
        uncredited: flow-controlled bytes received and not yet given back.
    """

    __slots__ = (
        "announced", "discards", "ended", "headers", "received", "request_ended", "responded", "succeeded",
        "uncredited",
    )  # fmt: skip

    def __init__(self, request_ended: bool, announced: int | None, headers: Headers) -> None:
        self.request_ended = request_ended
        self.announced = announced
        self.headers = headers
        self.responded = False
        self.ended = False
        self.discards = False
        self.succeeded = False
        self.received = 0
        self.uncredited = 0

    @property
    def signals(self) -> bool:
        """The client has sent a priority with the request (RFC 9218)."""
        return b"priority" in self.headers
