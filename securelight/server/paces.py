"""Looks after how fast a client takes its answers and sends its bodies, and breaks off what is too slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.model.errors import Http2Code
from securelight.server.deadlines import Pace

if TYPE_CHECKING:
    from securelight.server.http_session import HttpSession


def check_paces(session: HttpSession, now: float) -> bool:
    """Break off the streams that the client takes, or sends, too slowly; True while there are any to watch."""
    adapter, limits, fence = session.adapter, session.service.limits, session.service.fence
    assert adapter is not None
    rate, grace, stall = limits.body_minimum_bytes_per_second, limits.body_grace_seconds, limits.write_stall_seconds
    for stream_id, sender in tuple(session.senders.items()):
        waiting = not sender.fetching and adapter.capacity(stream_id) == 0
        sender.pace.look(now, sender.sent_bytes, waiting=waiting, bytes_per_second=rate)
        if sender.pace.slow_seconds > grace or sender.pace.still_seconds >= stall:
            fence.count("stream read too slowly", session.peer.address)
            adapter.reset(stream_id, Http2Code.CANCEL)
            del session.senders[stream_id]
            session.sent(sender)
    for stream in tuple(session.streams.values()):
        stream.pace.look(now, stream.sent_bytes, waiting=stream.writer.waiting, bytes_per_second=rate)
        if stream.pace.slow_seconds > grace or stream.pace.still_seconds >= stall:
            fence.count("stream read too slowly", session.peer.address)
            adapter.reset(stream.request.stream_id, Http2Code.CANCEL)
            stream.abandon()
        elif stream.upgraded:
            continue  # a tunnel is quiet for as long as its two ends like
        elif (refusal := stream.too_slow(now)) is not None:
            stream.body_refused(refusal)
        elif now - stream.started >= limits.handler_seconds and not (stream.answered or stream.made):
            fence.count("handler too slow", session.peer.address)
            stream.give_up()
    watched, session.backlog_paces = session.backlog_paces, {}
    for stream_id, held_bytes in adapter.backlog():
        pace = watched.get(stream_id) or Pace()
        pace.look(now, -held_bytes, waiting=True, bytes_per_second=rate)
        if pace.slow_seconds > grace or pace.still_seconds >= stall:
            fence.count("stream read too slowly", session.peer.address)
            adapter.reset(stream_id, Http2Code.CANCEL)
        else:
            session.backlog_paces[stream_id] = pace
    return session.busy or bool(session.backlog_paces)
