"""One stream of an HTTP/2 connection: how far its request and its response have come."""

from __future__ import annotations

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
        tunnels: the request was an extended CONNECT, and was granted.
        shared: one object stands for all streams in this state, so it must not be changed: take an `own` one first.
    """

    __slots__ = (
        "announced",
        "discards",
        "ended",
        "headers",
        "received",
        "request_ended",
        "responded",
        "shared",
        "succeeded",
        "tunnels",
        "uncredited",
    )  # fmt: skip

    def __init__(self, request_ended: bool, announced: int | None, headers: Headers, *, shared: bool = False) -> None:
        self.request_ended = request_ended
        self.announced = announced
        self.headers = headers
        self.responded = False
        self.ended = False
        self.discards = False
        self.succeeded = False
        self.tunnels = False
        self.received = 0
        self.uncredited = 0
        self.shared = shared

    def own(self) -> Http2Stream:
        """One for a single stream that has not been answered."""
        return Http2Stream(self.request_ended, self.announced, self.headers)

    @property
    def signals(self) -> bool:
        """The client has sent a priority with the request (RFC 9218)."""
        return b"priority" in self.headers


def _answered() -> Http2Stream:
    stream = Http2Stream(True, None, Headers(), shared=True)
    stream.responded = stream.ended = stream.succeeded = True
    return stream


ANSWERED = _answered()
"""A stream whose request has ended, with its whole response given: nothing more will be known about it."""
