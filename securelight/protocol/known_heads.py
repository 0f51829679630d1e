"""Request heads that were accepted a moment ago and come again to the byte: they are not taken apart a second time.

Clients repeat themselves: the same target with the same fields, from the same program. What decides about a head are
its bytes, the limits and the scheme alone, so the verdict on the same bytes is the same; this only saves reaching it
again. Heads with credentials are never kept, nor are long ones, nor those of requests with a body. Bounded by number
and size; when it is full it begins anew, so that a flood of ever new heads costs little and gains nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from securelight.model.limits import Limits
from securelight.model.request import Request

HEADS_KEPT = 512
"""For each protocol of a worker; with HEAD_BYTES at most about a megabyte."""
HEAD_BYTES = 1024
_CREDENTIALS = frozenset({b"authorization", b"cookie", b"proxy-authorization"})


class KnownHead:
    """A head that was accepted before.

    Attributes:
        request: the one that it was.
        stream: what the adapter keeps of a stream with this head until it is answered; unchanged by any of them.
        answer: what the connection keeps beside it; None at first.
    """

    __slots__ = ("answer", "request", "stream")

    def __init__(self, request: Request, stream: Any = None) -> None:
        self.request = request
        self.stream = stream
        self.answer: Any = None


KnownHeads = dict[Hashable, KnownHead]
"""By the head as the protocol has it: bytes on HTTP/1, decoded fields on HTTP/2."""

_known: dict[tuple[Limits, str], KnownHeads] = {}


def known_heads(limits: Limits, protocol: str) -> KnownHeads:
    """The heads that are known to adapters with these `limits`; `protocol` names the adapter's kind and scheme."""
    return _known.setdefault((limits, protocol), {})


def remember(known: KnownHeads, head: Hashable, size: int, request: Request, stream: Any = None) -> None:
    """Keep `request`, of which `head`, with about `size` bytes, is the whole, if it is fit to be kept."""
    if size <= HEAD_BYTES and not request.has_body and request.headers.isdisjoint(_CREDENTIALS):
        if len(known) >= HEADS_KEPT:
            known.clear()
        known[head] = KnownHead(request, stream)
