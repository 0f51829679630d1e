"""Counts what a peer may do only so often on one HTTP/2 connection, and says when it is too much.

Two token buckets, as each frame of the two kinds is cheap to send and costs us more than it brings:

- resets: RST_STREAM of the peer (rapid reset, CVE-2023-44487) and streams that we had to reset for a fault of the peer
  (MadeYouReset, CVE-2025-8671), refused streams included;
- control frames: PING, SETTINGS, PRIORITY, unknown frames, empty DATA and the like, and those WINDOW_UPDATE and
  PRIORITY_UPDATE frames that neither a new stream nor what we have sent explains.

Acknowledgements of PING and SETTINGS that the peer makes us queue and does not read have a bound of their own. Every
breach is a ConnectionFault with ENHANCE_YOUR_CALM; the bounds are in model/limits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from securelight.model.errors import ConnectionFault, Http2Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.model.limits import Limits

SENT_BYTES_PER_UPDATE = 2_048
"""One WINDOW_UPDATE is needed for so many bytes sent: some clients send two (stream and connection) for 4 KiB read."""


class Flood:
    """The counters of one connection.

    Args:
        limits: stream_resets, control_frames and their rates.
        clock: monotonic seconds; given by tests.
    """

    __slots__ = ("_checked", "_clock", "_controls", "_earned", "_limits", "_most_earned", "_replies", "_resets")

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._checked = clock()
        self._resets: float = limits.stream_resets
        self._controls: float = limits.control_frames
        self._earned = 0
        self._most_earned = limits.control_frames
        self._replies = 0

    def reset(self, what: str) -> None:
        """One more stream was reset by the peer, or by us for a fault of the peer.

        Errors: ConnectionFault once the bucket is empty, as for all methods here; `what` names it in the log.
        """
        self._refill()
        self._resets -= 1
        if self._resets < 0:
            raise _too_much(what)

    def control(self, what: str) -> None:
        """One more frame that does nothing for a request."""
        self._refill()
        self._controls -= 1
        if self._controls < 0:
            raise _too_much(what)

    def reply(self, what: str) -> None:
        """One more control frame that we have to acknowledge."""
        self.control(what)
        self._replies += 1
        if self._replies > self._limits.control_frames:
            raise _too_much(f"{what} acknowledgements not read")

    def update(self, what: str) -> None:
        """One more WINDOW_UPDATE or PRIORITY_UPDATE: free if it was earned by traffic, a control frame otherwise."""
        if self._earned > 0:
            self._earned -= 1
        else:
            self.control(what)

    def opened(self, stream_count: int) -> None:
        """New streams: each explains one update."""
        self._earned = earned = self._earned + stream_count
        if earned > self._most_earned:
            self._earned = self._most_earned

    def sent(self, byte_count: int) -> None:
        """Output was taken: the peer has read what came before it, and will have to update its windows."""
        self._replies = 0
        self._earned = earned = self._earned + 1 + byte_count // SENT_BYTES_PER_UPDATE
        if earned > self._most_earned:
            self._earned = self._most_earned

    def _refill(self) -> None:
        now = self._clock()
        elapsed = now - self._checked
        if elapsed > 0:
            limits = self._limits
            self._checked = now
            self._resets = min(self._resets + elapsed * limits.stream_resets_per_second, limits.stream_resets)
            self._controls = min(self._controls + elapsed * limits.control_frames_per_second, limits.control_frames)


def _too_much(what: str) -> ConnectionFault:
    return ConnectionFault(f"flood: {what}", Http2Code.ENHANCE_YOUR_CALM)
