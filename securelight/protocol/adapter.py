"""The one interface between a connection and a protocol engine.

An adapter owns the protocol's state and its framing; it does no input or output, never awaits and never raises for
what a peer did. Bytes go in by `receive`, events come out; answers go in by `respond` and its kin, bytes come out by
`take_output`. Calls that name a stream which has ended in the meantime are ignored, because the two sides race.

There are two engines a protocol: h11 and h2 are the reference and are always there; httptools and ngh2 are the fast
ones. All four must accept and refuse the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.errors import Http2Code
    from securelight.model.headers import Fields
    from securelight.model.request import Peer
    from securelight.model.response import Response
    from securelight.protocol.events import Event
    from securelight.protocol.slices import Slices

SERVER_FIELD = b"securelight"
"""The value of the Server field: the product without its version."""
READ_BYTES = 16_384
"""A TLS record: for input that a fast engine reads, and for what cannot be costly."""
COSTLY_READ_BYTES = 1_024
"""For input of which each byte may cost the reference engines three microseconds: frames and chunks of a byte. What is
left of a frame or chunk that has begun is read with it, as that costs next to nothing."""
SHORT_BODY_BYTES = 32_768
"""A body up to here is sent in a piece: on HTTP/2 it does not take turns with others, and `respond_again` takes it.
Most of what pages are made of is shorter; a longer one is worth its own way."""


class ProtocolAdapter(Protocol):
    """One side of one connection, at the level of HTTP.

    Attributes:
        closing: nothing more will be read or begun; close the connection once `take_output` gives nothing.
        open_streams: requests begun (their head seen) whose response or request has not ended.
        partial_head: a request head has begun to arrive and is not complete: the head deadline runs.
        input_ready: input is held back that `receive(b"")` would turn into events now (HTTP/1.1 pipelining: the next
            request is looked at only after the answer to the one before; HTTP/2: never).
        wants_input: False while HTTP/1.1 holds back bytes of a next request until the one before is answered: the
            connection then reads no more from the socket, so that the held bytes stay bounded. HTTP/2: always True.
        peer: the other end, as requests say it. May be replaced before the first request, by one that differs in the
            details of TLS only.
        read_bytes: how much of what comes to give to `receive` at a time. A turn looks at the clock between two reads,
            so this bounds what the costliest input (frames and chunks of a byte) makes others wait: some milliseconds.
        cut: an HTTP/1 response was broken off: close without close_notify, or a body that ends with the connection
            would look whole. HTTP/2: always False.
        slices: how the body bytes are framed that go out past it (see `direct_room`).
    """

    peer: Peer

    @property
    def closing(self) -> bool: ...  # noqa: D102 - see the class
    @property
    def open_streams(self) -> int: ...  # noqa: D102 - see the class
    @property
    def partial_head(self) -> bool: ...  # noqa: D102 - see the class
    @property
    def input_ready(self) -> bool: ...  # noqa: D102 - see the class
    @property
    def wants_input(self) -> bool: ...  # noqa: D102 - see the class
    @property
    def read_bytes(self) -> int: ...  # noqa: D102 - see the class
    @property
    def slices(self) -> Slices: ...  # noqa: D102 - see the class
    @property
    def cut(self) -> bool: ...  # noqa: D102 - see the class

    def start(self, *, upgrades: bool = False) -> None:
        """Queue what the server says first (HTTP/2 SETTINGS).

        Args:
            upgrades: some route takes WebSockets or the like, so HTTP/2 offers extended CONNECT (RFC 8441, section 3);
                one that was not offered is malformed.
        """

    def receive(self, data: bytes) -> Sequence[Event]:
        """Take plaintext in; returns the events it made. At most 64 KiB a call. Never raises for what `data` holds."""
        ...

    def receive_end(self) -> Sequence[Event]:
        """The peer will send nothing more (end of the stream). Open request bodies are aborted."""
        ...

    def respond(self, stream_id: int, response: Response, data: bytes, *, end: bool) -> None:
        """Queue the head of `response` and the first `data` of its body.

        `data` may be longer than `capacity` here only (the adapter holds what does not fit the window), and not once
        `write` was called: what is written may go past an engine, which then cannot hold back anything. With `end`, the
        response is whole: content_length bytes were given, or none are to follow (HEAD, 204, 304, which take no data).
        Where the request's body has not ended by then, the adapter deals with it: HTTP/2 resets the stream with
        NO_ERROR after the response, HTTP/1 drains it within its limits or closes.
        """

    def respond_whole(self, stream_id: int, response: Response, body: bytes) -> bool:
        """`respond` with all of a body that fits into `capacity`; False, and nothing is queued, if it does not fit.

        Not for HEAD, nor for statuses without content. The hot path: most answers go out by this one call.
        """
        ...

    def prepared(self, response: Response) -> Any:
        """The head of a shared response with a body, for `respond_again`; good for as long as the Date stays the same.

        One is good for all connections whose heads are known together (see known_heads).
        """

    def respond_again(self, stream_id: int, head: Any, body: bytes) -> bool:
        """`respond_whole` with a prepared head, for a request that was reported as RequestRepeated.

        The body is not empty and no longer than SHORT_BODY_BYTES. False, and nothing is queued, if it takes
        `respond_whole`.
        """
        ...

    def upgrade(self, stream_id: int, protocol: bytes, fields: Fields) -> int:
        """Turn a request that asks for it into a tunnel; returns the status that says so.

        HTTP/1.1 answers 101 (RFC 9110, section 7.8), HTTP/2 answers an extended CONNECT with 200 (RFC 8441, section 5).
        From then on what the client sends is reported as BodyReceived, whatever its length, and what `write` is given
        goes out as it is; `write` with `end` ends our side, and on HTTP/1.1 the connection.

        Args:
            protocol: the one that is switched to, as the Upgrade field names it.
            fields: of the answer, beside those of the framing.
        """
        ...

    def inform(self, stream_id: int, status: int, fields: Fields) -> None:
        """Queue an interim response: 100 or 103. Not sent to HTTP/1.0 clients; 103 is not sent on HTTP/1.1."""

    def capacity(self, stream_id: int, most: int = 0) -> int:
        """How many body bytes `write`, or the first `respond`, takes now: HTTP/2's windows less what is queued; 0 to
        wait; -1 if the stream is gone. `most` stands for limits.response_buffer_bytes where output is taken at once."""
        ...

    def widen(self, stream_id: int) -> None:
        """Let the client send limits.upload_window_bytes of this request's body ahead (HTTP/2), if it may be that
        long; once for a stream."""

    def backlog(self) -> Sequence[tuple[int, int]]:
        """(stream, bytes) of the responses that were given whole and wait for the client to open HTTP/2's windows."""
        ...

    def write(self, stream_id: int, data: bytes | memoryview, *, end: bool) -> None:
        """Queue body bytes, at most `capacity`. `end` as in `respond`."""

    def direct_room(self, stream_id: int) -> int:
        """How many body bytes may go out past the adapter now, framed by `slices`: a short way round `write` and
        `take_output`, but not for the end of a body. Asked for when `take_output` has just given all that there was,
        and good until something else is called; 0 unless nothing else is under way on the connection."""
        ...

    def direct_sent(self, stream_id: int, size: int) -> None:
        """So many of them did, before anything else."""

    def end_with_trailers(self, stream_id: int, fields: Fields) -> None:
        """End the response with trailer fields (HTTP/1.1: only if it is chunked, else they are dropped)."""

    def consumed(self, stream_id: int, credit: int) -> None:
        """`credit` bytes of BodyReceived were used: the peer may send as many again."""

    def reset(self, stream_id: int, code: Http2Code) -> None:
        """Break a stream off so that the client sees an error, not a short body (HTTP/1: the connection is cut)."""

    def announce_shutdown(self) -> None:
        """Say that the connection will end; requests that are on their way are still served. `goodbye` follows later.

        HTTP/2 sends the shutdown notice, a GOAWAY that refuses nothing yet (RFC 9113, section 6.8); HTTP/1.1 says
        `Connection: close` in the next response head (RFC 9112, section 9.6).
        """

    def goodbye(self) -> None:
        """Begin no more requests: HTTP/2 sends GOAWAY, HTTP/1 closes after the answer under way (or at once)."""

    def fail(self, code: Http2Code) -> None:
        """End the connection for a reason of ours (HTTP/2: GOAWAY with `code`); no events follow."""

    def take_output(self, limit: int) -> bytes | memoryview:
        """Up to about `limit` bytes to send (a frame is not split); empty if there is nothing to say now."""
        ...
