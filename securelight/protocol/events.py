"""What an adapter's `receive` reports, in the order in which the peer sent it.

A `model.request.Request` in the list is itself the event "a request head arrived", and RequestRepeated its short form.
`stream_id` is on every other event that concerns one request. Faults of the peer are events, never exceptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from securelight.model.request import Request

if TYPE_CHECKING:
    from securelight.model.errors import Http2Code, Refusal
    from securelight.model.headers import Fields
    from securelight.protocol.known_heads import KnownHead


RequestRepeated: TypeAlias = "tuple[int, KnownHead, Fields]"
"""A request head arrived that is the same to the byte as one before but for its credentials: its stream, what is known
of the head, and all its fields if credentials are among them.

A tuple and not a class of its own, because it is made and looked at once a request; nothing else in the list is one.
"""


class BodyReceived:
    """A piece of a request body.

    Attributes:
        stream_id: whose.
        data: the bytes, never empty.
        credit: what to give to `ProtocolAdapter.consumed` once the data was used: its length with HTTP/2's padding.
    """

    __slots__ = ("credit", "data", "stream_id")

    def __init__(self, stream_id: int, data: bytes, credit: int) -> None:
        self.stream_id = stream_id
        self.data = data
        self.credit = credit

    def __repr__(self) -> str:
        return f"BodyReceived({self.stream_id}, {len(self.data)} bytes)"


class BodyEnded:
    """The request is whole. `trailers` were checked like header fields, and are never merged into them."""

    __slots__ = ("stream_id", "trailers")

    def __init__(self, stream_id: int, trailers: Fields = ()) -> None:
        self.stream_id = stream_id
        self.trailers = trailers

    def __repr__(self) -> str:
        return f"BodyEnded({self.stream_id}, {self.trailers!r})"


class RequestRefused:
    """A request head that gets an error answer. The adapter has not answered: the connection calls `respond`.

    On HTTP/1 the adapter has given up on the input: it closes after the answer.

    Attributes:
        stream_id: whose.
        refusal: status and texts.
        method: as far as it could be read, for the log and for HEAD; `-` otherwise.
        target: likewise.
        in_body: True if a Request event for this stream came before (the fault is in its body, e.g. a bad chunk): the
            connection answers only if it has not begun to.
    """

    __slots__ = ("in_body", "method", "refusal", "stream_id", "target")

    def __init__(
        self, stream_id: int, refusal: Refusal, method: str = "-", target: bytes = b"-", *, in_body: bool = False
    ) -> None:
        self.stream_id = stream_id
        self.refusal = refusal
        self.method = method
        self.target = target
        self.in_body = in_body

    def __repr__(self) -> str:
        return f"RequestRefused({self.stream_id}, {self.refusal})"


class StreamAborted:
    """A stream ended before its time; nothing more may be sent on it.

    Attributes:
        stream_id: whose; a Request event for it may or may not have come before.
        code: the HTTP/2 error code.
        by_peer: True for the peer's RST_STREAM; False where the adapter has reset it for a fault of the peer.
        reason: for the log.
    """

    __slots__ = ("by_peer", "code", "reason", "stream_id")

    def __init__(self, stream_id: int, code: int, *, by_peer: bool, reason: str = "") -> None:
        self.stream_id = stream_id
        self.code = code
        self.by_peer = by_peer
        self.reason = reason

    def __repr__(self) -> str:
        return f"StreamAborted({self.stream_id}, {self.code}, by_peer={self.by_peer}, {self.reason!r})"


class ConnectionFailed:
    """The peer broke a rule that costs it the connection.

    The adapter has queued its last words (a GOAWAY) and ignores all further input; the connection cancels its streams,
    sends what `take_output` still gives, and closes.

    Attributes:
        code: the HTTP/2 error code that was sent.
        reason: a short stable phrase for the counters and the log, such as `flood: ping`.
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: Http2Code, reason: str) -> None:
        self.code = code
        self.reason = reason

    def __repr__(self) -> str:
        return f"ConnectionFailed({self.code!r}, {self.reason!r})"


class PeerLeaving:
    """The peer sent GOAWAY: it opens no more streams; those that are open go on."""

    __slots__ = ()


Event: TypeAlias = (
    "Request | RequestRepeated | BodyReceived | BodyEnded | RequestRefused | StreamAborted | ConnectionFailed"
    " | PeerLeaving"
)
