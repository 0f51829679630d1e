"""What a server may answer to one thing that a client did: the set of right answers, where the RFC leaves room."""

from __future__ import annotations

from dataclasses import dataclass

from securelight.model.errors import Http2Code

PROTOCOL_ERROR = Http2Code.PROTOCOL_ERROR
STREAM_CLOSED = Http2Code.STREAM_CLOSED
FRAME_SIZE_ERROR = Http2Code.FRAME_SIZE_ERROR
FLOW_CONTROL_ERROR = Http2Code.FLOW_CONTROL_ERROR
COMPRESSION_ERROR = Http2Code.COMPRESSION_ERROR
REFUSED_STREAM = Http2Code.REFUSED_STREAM
ENHANCE_YOUR_CALM = Http2Code.ENHANCE_YOUR_CALM
NO_ERROR = Http2Code.NO_ERROR


REFUSALS = frozenset({400, 403, 405, 411, 413, 414, 417, 421, 431, 501, 505})
"""Statuses by which a server refuses a request as such; 404 is none, as it comes of looking for the resource."""


@dataclass(frozen=True, slots=True)
class Accept:
    """A set of right answers; `|` joins two.

    Attributes:
        goaway: the error codes with which the connection may end. If there are any, it may also end without GOAWAY,
            which RFC 9113, section 5.4.1 only says SHOULD be sent (one case asks for it).
        reset: the error codes with which the stream may be reset.
        refused: the request may be answered with one of REFUSALS.
        answered: the request may be answered as a good one.
        ignored: nothing need happen, and a new request on the connection must be answered.
    """

    goaway: frozenset[int] = frozenset()
    reset: frozenset[int] = frozenset()
    refused: bool = False
    answered: bool = False
    ignored: bool = False

    def __or__(self, other: Accept) -> Accept:
        return Accept(
            self.goaway | other.goaway,
            self.reset | other.reset,
            self.refused or other.refused,
            self.answered or other.answered,
            self.ignored or other.ignored,
        )

    def __str__(self) -> str:
        parts = []
        if self.goaway:
            parts.append(f"a connection error ({_names(self.goaway)})")
        if self.reset:
            parts.append(f"RST_STREAM ({_names(self.reset)})")
        if self.refused:
            parts.append("a refusal (status 400 or its like)")
        if self.answered:
            parts.append("an answer to the request")
        if self.ignored:
            parts.append("no reaction, with the connection still usable")
        return " or ".join(parts)


def _names(codes: frozenset[int]) -> str:
    if len(codes) == len(Http2Code):
        return "any code"
    return ", ".join(Http2Code(code).name for code in sorted(codes))


def connection_error(*codes: int) -> Accept:
    """RFC 9113, section 5.4.1."""
    return Accept(goaway=frozenset(codes))


def stream_error(*codes: int) -> Accept:
    """RFC 9113, section 5.4.2; section 5.4.1 lets a server treat any stream error as one of the connection."""
    return Accept(goaway=frozenset(codes), reset=frozenset(codes))


MALFORMED = stream_error(PROTOCOL_ERROR) | Accept(refused=True)
"""RFC 9113, section 8.1.1: a stream error, before which the server may answer; an answer that serves it is none."""
IGNORED = Accept(ignored=True)
ANSWERED = Accept(answered=True)
