"""Answers that are given again as they were, while what they rest on is believed to be the same.

An answer may stand if it depends on the bytes of the request's head alone and on a file (Facts.basis), and is small
and in memory. Then nothing is done for a head that comes again but what differs: its place on the wire, the Date, the
line in the access log. That is most of the traffic of most sites.
"""

from __future__ import annotations

from time import monotonic

from securelight.model.request import Basis, Request
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.pipeline.compile import CompiledSites
from securelight.protocol.adapter import ProtocolAdapter
from securelight.server.access_log import AccessLog

STANDING_BYTES = 16_384
"""The longest body: what leaves in one HTTP/2 frame. With known_heads.HEADS_KEPT at most 8 MB of bodies outlive their
entries in the content cache, for as long as nobody sends those heads."""


class StandingAnswer:
    """The answer to one head.

    Attributes:
        sites: which it was made by.
        line: the request's line in the access log, but for who and when.
    """

    __slots__ = ("_basis", "_body", "_response", "line", "sites")

    def __init__(self, response: Response, body: bytes, basis: Basis, sites: CompiledSites, line: str) -> None:
        self._response = response
        self._body = body
        """As it is sent: empty for HEAD and the statuses without content."""
        self._basis = basis
        self.sites = sites
        self.line = line

    def give(self, adapter: ProtocolAdapter, stream_id: int) -> bool:
        """Answer the request on `stream_id`, if this still stands and the client has room for it."""
        basis, body = self._basis, self._body
        if monotonic() >= basis.fresh_until:
            return False
        if not body:
            adapter.respond(stream_id, self._response, b"", end=True)
        elif not adapter.respond_whole(stream_id, self._response, body):
            return False
        basis.used = True
        return True


def standing_answer(
    request: Request, basis: Basis, response: Response, sites: CompiledSites, access_log: AccessLog
) -> StandingAnswer | None:
    """What to answer the next request with the head of `request` with; None if each has to be answered anew."""
    body = response.body
    if response.heads is None or type(body) is not bytes or len(body) > STANDING_BYTES:
        return None
    if request.method == "HEAD" or response.status in BODYLESS_STATUSES:
        body = b""
    elif not body:
        return None
    line = access_log.repeated(request, response.status, len(body))
    return None if line is None else StandingAnswer(response, body, basis, sites, line)
