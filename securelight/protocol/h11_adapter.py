"""HTTP/1.1 with h11: the reference engine, in pure Python.

Each message gets an h11.Connection of its own, which reads it and nothing else; answers are written by http1_output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11

from securelight.model.errors import Refusal
from securelight.protocol.adapter import COSTLY_READ_BYTES, READ_BYTES
from securelight.protocol.http1_adapter import Http1Adapter

if TYPE_CHECKING:
    from securelight.model.headers import Field
    from securelight.model.limits import Limits
    from securelight.model.request import Peer
    from securelight.protocol.http1_guard import Head


class H11Adapter(Http1Adapter):
    """See Http1Adapter."""

    __slots__ = ("_engine",)

    def __init__(self, peer: Peer, limits: Limits) -> None:
        super().__init__(peer, limits)
        self._engine: h11.Connection | None = None

    @property
    def read_bytes(self) -> int:
        """See protocol.adapter. Bodies of a known length cost next to nothing; chunks may come with their head."""
        guard = self._guard
        if self._tunnel or (guard.in_body and not guard.in_chunks):
            return READ_BYTES
        return min(READ_BYTES, COSTLY_READ_BYTES + guard.chunk_left)

    def _read_head(self, head: Head) -> tuple[bytes, bytes, list[Field]]:
        engine = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head.raw) + 1)
        try:
            engine.receive_data(head.raw)
            request = engine.next_event()
            follows = h11.NEED_DATA if head.has_body else h11.EndOfMessage
            agreed = type(request) is h11.Request and _kind(engine.next_event()) is follows
        except h11.RemoteProtocolError as error:
            raise Refusal(error.error_status_hint, "The request is malformed.", f"h11: {error}") from None
        if not agreed:
            raise Refusal(400, "The request is malformed.", "h11 does not frame it as the guard does")
        assert isinstance(request, h11.Request)
        self._engine = engine if head.has_body else None
        return request.method, request.target, list(request.headers)

    def _read_body(self, data: bytes, *, ended: bool) -> bytes:
        engine = self._engine
        assert engine is not None
        pieces = []
        try:
            engine.receive_data(data)
            event = engine.next_event()
            while type(event) is h11.Data:
                pieces.append(event.data)
                event = engine.next_event()
        except h11.RemoteProtocolError as error:
            raise Refusal(400, "The request body is malformed.", f"h11: {error}") from None
        if _kind(event) is not (h11.EndOfMessage if ended else h11.NEED_DATA):
            raise Refusal(400, "The request body is malformed.", "h11 does not frame it as the guard does")
        if ended:
            self._engine = None
        return b"".join(pieces)


def _kind(event: object) -> object:
    """h11's pseudo-events are classes of their own; the others are told by their type."""
    return event if event is h11.NEED_DATA else type(event)
