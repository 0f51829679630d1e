"""Adapters that report a head which comes again as what it stands for: the request, in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from securelight.protocol.events import Event
from securelight.protocol.http1_adapter import Http1Adapter
from securelight.protocol.http2_adapter import Http2Adapter

T = TypeVar("T", bound=Http1Adapter | Http2Adapter)


def spelled_out(engine: type[T]) -> type[T]:
    """`engine`, with requests in place of RequestRepeated."""

    def receive(self: Any, data: bytes) -> Sequence[Event]:
        events = engine.receive(self, data)
        if not any(isinstance(event, tuple) for event in events):
            return events
        return [
            event[1].request.again(event[0], self.peer, event[2]) if isinstance(event, tuple) else event
            for event in events
        ]

    return type(engine.__name__, (engine,), {"receive": receive, "__slots__": ()})
