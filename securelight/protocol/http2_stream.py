"""One stream of an HTTP/2 connection: how far its request and its response have come."""

from __future__ import annotations


class Http2Stream:
    """One request and its response.

    Attributes:
        request_ended: END_STREAM was received.
        responded: the head of the response was given to the adapter.
        ended: so was the end of the response.
        discards: nothing more of the request's body is reported, because it was refused or the answer is out.
        succeeded: the status of the response is below 300.
        signals: the client has sent a priority (RFC 9218).
        announced: the Content-Length of the request, or None.
        received: bytes of its body so far.
        uncredited: flow-controlled bytes received and not yet given back.
    """

    __slots__ = (
        "announced", "discards", "ended", "received", "request_ended", "responded", "signals", "succeeded",
        "uncredited",
    )  # fmt: skip

    def __init__(self, request_ended: bool, announced: int | None, signals: bool) -> None:
        self.request_ended = request_ended
        self.announced = announced
        self.signals = signals
        self.responded = False
        self.ended = False
        self.discards = False
        self.succeeded = False
        self.received = 0
        self.uncredited = 0
