"""What frame_walk finds in the frames of a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from securelight.model.errors import Http2Code


class StreamBreach(NamedTuple):
    """The peer broke a rule on one stream. If that is not open any more, it costs the connection."""

    stream_id: int
    code: Http2Code
    reason: str
    data_bytes: int = 0
    """What the breach took from the connection's receive window."""


class DroppedData(NamedTuple):
    """DATA for a stream that we have reset: so many bytes are owed to the connection's receive window."""

    data_bytes: int


class DoubtfulUpdate(NamedTuple):
    """A WINDOW_UPDATE that could overflow its stream's window, or is not all for the engine; `frame` is if it is."""

    stream_id: int
    increment: int
    frame: bytes


class Leaving(NamedTuple):
    """The peer's first GOAWAY."""


Finding = bytes | StreamBreach | DroppedData | DoubtfulUpdate | Leaving
"""A run of whole frames for the engine, or something that it must not see."""
