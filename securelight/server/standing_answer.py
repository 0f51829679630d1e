"""Answers that are given again as they were, while what they rest on is believed to be the same.

An answer may stand if it depends on the bytes of the request's head alone and on a file (Facts.basis), and is small
and in memory. Then nothing is done for a head that comes again but what differs: its place on the wire, the Date, the
line in the access log. That is most of the traffic of most sites.

With known_heads.HEADS_KEPT at most 16 MB of bodies for each protocol outlive their entries in the content cache, for as
long as nobody sends those heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from securelight.model.dates import current_date
from securelight.model.request import Basis, Facts, Request
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.pipeline.compile import CompiledSites
from securelight.protocol.adapter import SHORT_BODY_BYTES, ProtocolAdapter
from securelight.protocol.events import Event
from securelight.server.access_log import AccessLog

if TYPE_CHECKING:
    from securelight.server.http_session import HttpSession


class StandingAnswer:
    """The answer to one head.

    Attributes:
        response: after all filters.
        body: as it is sent: empty for HEAD and the statuses without content.
        basis: what it rests on.
        sites: which it was made by.
        line: the request's line in the access log, but for who and when.
        head: as the adapter has prepared it for `date`.
        date: an object of model.dates.current_date.
    """

    __slots__ = ("basis", "body", "date", "head", "line", "response", "sites")

    def __init__(self, response: Response, body: bytes, basis: Basis, sites: CompiledSites, line: Any) -> None:
        self.response = response
        self.body = body
        self.basis = basis
        self.sites = sites
        self.line = line
        self.head: Any = None
        self.date = b""

    def give(self, adapter: ProtocolAdapter, stream_id: int, date: bytes) -> bool:
        """Answer the request on `stream_id`; False if it has to be answered anew. `date` is the current one.

        Where `self.date` is that already, `respond_again` does the same.
        """
        if not self.body:
            adapter.respond(stream_id, self.response, b"", end=True)
            return True
        self.head, self.date = adapter.prepared(self.response), date
        return adapter.respond_again(stream_id, self.head, self.body)


def standing_answer(
    request: Request, facts: Facts, response: Response, sites: CompiledSites, access_log: AccessLog
) -> StandingAnswer | None:
    """What to answer the next request with the head of `request` with; None if each has to be answered anew."""
    body, basis = response.body, facts.basis
    if basis is None or response.heads is None or type(body) is not bytes or len(body) > SHORT_BODY_BYTES:
        return None
    if request.method == "HEAD" or response.status in BODYLESS_STATUSES:
        body = b""
    elif not body:
        return None
    line = access_log.repeated(request, facts, response.status, len(body))
    return None if line is None else StandingAnswer(response, body, basis, sites, line)


def answer_repeated(session: HttpSession, events: Sequence[Event]) -> int:
    """Answer the heads that came before, as then where that still stands.

    Returns how many of `events` were such heads and within the turn's requests, counted from the first.
    """
    adapter, sites = session.adapter, session.sites
    assert adapter is not None
    now, date = monotonic(), current_date()
    lines: list[Any] = []
    before = number = session.turn_requests
    for event in events:
        if type(event) is not tuple or not number:
            break
        number -= 1
        stream_id, known, personal = event
        standing = known.answer
        if (
            standing is not None
            and now < standing.basis.fresh_until
            and (not personal or standing.basis.impersonal)
            and standing.sites is sites
            and (
                adapter.respond_again(stream_id, standing.head, standing.body)
                if standing.date is date
                else standing.give(adapter, stream_id, date)
            )
        ):
            standing.basis.used = True
            lines.append(standing.line)
        else:
            if not personal:
                known.answer = None
            session.begin(known.request.again(stream_id, session.peer, personal), known, personal=bool(personal))
    session.turn_requests = number
    if lines:
        session.service.access_log.record_repeated(session.peer.address, lines)
        session.count_requests(len(lines))
    return before - number
