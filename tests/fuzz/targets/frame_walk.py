"""The walk over HTTP/2 frames by itself: only ConnectionFault is raised, little is held, and what it lets through is
what came, the same however it was cut."""

from __future__ import annotations

from securelight.model.errors import ConnectionFault
from securelight.model.limits import Limits
from securelight.protocol.flood import Flood
from securelight.protocol.frame_walk import FrameWalk
from securelight.protocol.http2_frames import PREFACE
from tests.protocol.http2_support import data as data_frame, goaway, ping, raw_frame, reset, settings, window_update

HEAD = raw_frame(1, 4, 1, b"\x82\x84\x87\x41\x06a.test")
SEEDS = [
    settings() + HEAD + data_frame(1, b"hello", end=True, pad=3) + ping() + window_update(1, 9),
    settings({4: 1, 9: 1}) + raw_frame(1, 1, 1, b"\x82\x84") + raw_frame(9, 4, 1, b"\x87") + reset(1) + goaway(),
    settings() + raw_frame(4, 1, 0) + raw_frame(2, 0, 3, b"\0\0\0\0\1") + raw_frame(16, 0, 0, b"\0\0\0\1u=1"),
]
WORDS = [raw_frame(kind, flags, 1) for kind in range(10) for flags in (0, 1, 4)] + [settings(), HEAD]


def _walked(pieces: list[bytes]) -> tuple[bytes, list[str], str]:
    """(what was let through, the other findings, the fault)."""
    walk = FrameWalk(Limits(), Flood(Limits(), lambda: 0.0), priorities=True)
    passed, others = b"", []
    try:
        for piece in (PREFACE, *pieces):
            for finding in walk.walk(piece):
                if isinstance(finding, bytes):
                    passed += finding
                else:
                    others.append(repr(finding))
            assert len(walk._held) <= 16_384 + 9
    except ConnectionFault as fault:
        return passed, others, repr(fault)
    return passed, others, ""


def fuzz(data: bytes) -> None:
    whole = _walked([data])
    middle = len(data) // 2
    assert _walked([data[:3], data[3:middle], data[middle:]] if middle > 3 else [data[:1], data[1:]]) == whole
