"""Everything of one connection above its bytes: the adapter, the requests in progress, the answers on their way.

Events become requests, requests go through the pipeline, answers go to the adapter: at once if they are small, by a
BodySender if they are large, by a Stream's task if they have to be waited for. Streams call back here; whatever makes
output asks for a turn of the connection, so that the streams of one round share a send.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

import trio

from securelight.model.body import AsyncBody, OpenFile
from securelight.model.errors import BodyAborted, Http2Code, Refusal
from securelight.model.headers import Fields, Headers
from securelight.model.request import Facts, Peer, Request
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.model.status import error_response
from securelight.pipeline.compile import CompiledSites
from securelight.pipeline.run import Outcome, run
from securelight.pipeline.stage import DirectlyDeferred
from securelight.protocol.adapter import ProtocolAdapter
from securelight.protocol.events import (
    BodyEnded,
    BodyReceived,
    ConnectionFailed,
    Event,
    PeerLeaving,
    RequestRefused,
    StreamAborted,
)
from securelight.protocol.known_heads import KnownHead
from securelight.server.body_sender import BodySender
from securelight.server.deadlines import Pace
from securelight.server.direct_stream import DirectStream
from securelight.server.reactor import Stepped
from securelight.server.service import Service
from securelight.server.standing_answer import answer_repeated, standing_answer
from securelight.server.stream_task import Stream


class HttpSession:
    """The HTTP side of one connection.

    Args:
        service: what the connections of the listener share.
        connection: what is given a turn when there is something to send.
        adapter: the protocol engine.
        peer: the other end, with its TLS facts.
        sites: what requests are answered from.

    Attributes:
        adapter: None once the connection is closed.
        streams: the requests that have a task, by stream.
        senders: the large bodies on their way, by stream, the longest unserved first.
        backlog_paces: how fast the client takes what the adapter holds of whole responses, as of the last look; by
            stream.
        held: events that this turn had no budget for.
        turn_requests: how many more requests this turn may begin.
        paused: a request body has filled its buffer: do not read.
        peer: the other end.
        requests: how many were begun.
        sites: what requests are answered from.
        writers: the streams whose task waits for room.
    """

    __slots__ = (
        "_connection", "_tasks", "adapter", "backlog_paces", "held", "paused", "peer", "requests", "senders",
        "service", "sites", "streams", "turn_requests", "writers",
    )  # fmt: skip

    def __init__(
        self, service: Service, connection: Stepped, adapter: ProtocolAdapter, peer: Peer, sites: CompiledSites
    ) -> None:
        self.service = service
        self.adapter: ProtocolAdapter | None = adapter
        self.streams: dict[int, Stream] = {}
        self.senders: dict[int, BodySender] = {}
        self.held: Sequence[Event] = ()
        self.turn_requests = service.limits.requests_per_turn
        self.paused = False
        self.requests = 0
        self.writers: list[Stream] = []
        self._connection = connection
        self.peer = peer
        self.sites = sites
        self._tasks = 0
        self.backlog_paces: dict[int, Pace] = {}

    @property
    def busy(self) -> bool:
        """True while any answer is on its way."""
        return bool(self.streams or self.senders)

    # Events.

    def handle(self, events: Sequence[Event]) -> None:
        """Act on events, in order; those beyond the turn's requests are kept in `held`."""
        if events and type(events[0]) is tuple:
            answered = answer_repeated(self, events)
            if answered == len(events):
                return
            events = events[answered:]
        for number, event in enumerate(events):
            if isinstance(event, (tuple, Request)):
                if not self.turn_requests:
                    self.held = events[number:]
                    return
                if isinstance(event, Request):
                    self.turn_requests -= 1
                    self.begin(event)
                else:
                    answer_repeated(self, (event,))
            elif isinstance(event, BodyReceived):
                self._body_received(event)
            elif isinstance(event, BodyEnded):
                stream = self.streams.get(event.stream_id)
                if stream is not None:
                    stream.body_ended(event.trailers)
            elif isinstance(event, StreamAborted):
                self._aborted(event)
            elif isinstance(event, RequestRefused):
                self._refused(event)
            elif isinstance(event, ConnectionFailed):
                self.service.fence.count(event.reason, self.peer.address, code=event.code.name)
                self.abandon_all()
            else:
                assert isinstance(event, PeerLeaving)

    def count_requests(self, number: int) -> None:
        """So many more were begun; the last that the limit allows ends the connection."""
        self.requests = requests = self.requests + number
        most = self.service.limits.requests_per_connection
        if requests >= most > requests - number and self.adapter is not None:
            self.adapter.goodbye()

    def begin(self, request: Request, known: KnownHead | None = None, *, personal: bool = False) -> None:
        """Answer `request`, `personal` if it has credentials beside the head that is `known`; keep what may stand."""
        started = monotonic()
        facts = Facts(self.peer.address)
        try:
            result = run(self.sites, request, facts)
            if isinstance(result, Response):
                if known is not None and facts.basis is not None and (facts.basis.impersonal or not personal):
                    known.answer = standing_answer(request, facts, result, self.sites, self.service.access_log)
                self.answer(request, facts, result, started)
            else:
                self._defer(request, facts, result, started)
        except Exception as error:
            facts.error_id = self.service.fence.report(
                error, "answering", method=request.method, target=request.target.decode("ascii", "replace")
            )
            self.answer(request, facts, error_response(Refusal(500), facts.error_id), started)
        self.count_requests(1)

    def answer(self, request: Request, facts: Facts, response: Response, started: float) -> None:
        """Send a complete response: at once if it is small, by a BodySender if not. Owns the response's files."""
        adapter = self.adapter
        if adapter is None:
            response.release()
            return
        body = response.body
        stream_id = request.stream_id
        if request.method == "HEAD" or response.status in BODYLESS_STATUSES:
            response.release()
            adapter.respond(stream_id, response, b"", end=True)
            self.service.access_log.record(request, facts, response.status, 0, started)
        elif type(body) is bytes and adapter.respond_whole(stream_id, response, body):
            self.service.access_log.record(request, facts, response.status, len(body), started)
        elif isinstance(body, AsyncBody):
            self._defer(request, facts, response, started)
        elif adapter.capacity(stream_id) < 0:
            response.release()
            self.service.access_log.record(request, facts, 499, 0, started)
        else:
            sender = BodySender(request, facts, response, started)
            adapter.respond(stream_id, response, b"", end=not sender.remaining)
            if sender.remaining:
                self.senders[stream_id] = sender
            else:
                self.sent(sender)

    def _defer(self, request: Request, facts: Facts, work: Outcome | Response, started: float) -> None:
        if self._tasks >= self.service.limits.concurrent_streams:
            # Streams that the client has reset still count while their work winds up (rapid reset).
            if isinstance(work, Response):
                work.release()
            if self.adapter is not None:
                self.adapter.reset(request.stream_id, Http2Code.REFUSED_STREAM)
            return
        directly = type(work) is Outcome and type(work.deferred) is DirectlyDeferred
        stream = DirectStream(self, request, facts, started) if directly else Stream(self, request, facts, started)
        self.streams[request.stream_id] = stream
        self._tasks += 1
        if not (isinstance(stream, DirectStream) and stream.begin_directly(work)):
            self.service.runners.start_soon(stream, stream.run, work)

    def _refused(self, event: RequestRefused) -> None:
        stream = self.streams.get(event.stream_id)
        if event.in_body:
            if stream is not None:
                stream.body_refused(event.refusal)
            return
        self.service.fence.count("bad request", self.peer.address, why=str(event.refusal))
        self.answer_refusal(event.stream_id, event.refusal, event.method, event.target)

    def answer_refusal(self, stream_id: int, refusal: Refusal, method: str, target: bytes) -> None:
        """Answer a request that never became one."""
        version = "2" if self.peer.tls.alpn == "h2" else "1.1"
        request = Request(
            method, "", Headers(), peer=self.peer, target=target, http_version=version, stream_id=stream_id
        )
        self.answer(request, Facts(self.peer.address), error_response(refusal), monotonic())

    def _body_received(self, event: BodyReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None and not stream.gone:
            stream.body_received(event.data, event.credit)
            if stream.buffered_bytes >= self.service.limits.request_body_buffer_bytes and self.peer.tls.alpn != "h2":
                self.paused = True  # on HTTP/2 the stream's window does it, and other streams go on
        elif self.adapter is not None:
            self.adapter.consumed(event.stream_id, event.credit)

    def _aborted(self, event: StreamAborted) -> None:
        if not event.by_peer:
            self.service.fence.count("bad stream", self.peer.address, why=event.reason)
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.abandon()
        sender = self.senders.pop(event.stream_id, None)
        if sender is not None:
            self.sent(sender)

    def fill(self, budget: int) -> bool:
        """Give each sender with room a slice, the longest unserved first; True if there is something to send now."""
        adapter = self.adapter
        assert adapter is not None
        moved = False
        senders = self.senders
        for stream_id in tuple(senders):
            sender = senders.get(stream_id)
            if sender is None or sender.fetching:
                continue
            room = adapter.capacity(stream_id, budget)
            if room == 0:
                continue
            if room < 0:
                self._sent(stream_id, sender)
                continue
            try:
                data = sender.read(room)
            except BodyAborted as error:
                self.service.fence.events.warning("body broken off", reason=str(error), stream=stream_id)
                adapter.reset(stream_id, Http2Code.INTERNAL_ERROR)
                self._sent(stream_id, sender)
                moved = True
                continue
            if len(senders) > 1:
                del senders[stream_id]
                senders[stream_id] = sender  # to the end
            if data is None:
                sender.fetching = True
                self.service.nursery.start_soon(self._fetch, sender, sender.hold(), room)
                continue
            more = sender.remaining > 0
            adapter.write(stream_id, data, end=not more)
            moved = True
            if not more:
                self._sent(stream_id, sender)
            budget -= len(data)
            if budget <= 0:
                break
        return moved

    def _sent(self, stream_id: int, sender: BodySender) -> None:
        self.senders.pop(stream_id, None)
        self.sent(sender)

    async def _fetch(self, sender: BodySender, file: OpenFile, room: int) -> None:
        """Read what is not in the page cache, in a thread; `file` is held open meanwhile."""
        try:
            await trio.to_thread.run_sync(sender.fetch, room, limiter=self.service.threads)
        finally:
            file.release()
        sender.fetching = False
        if self.adapter is not None:
            self.service.reactor.schedule(self._connection)

    def sent(self, sender: BodySender) -> None:
        """A sender has ended, well or not."""
        sender.close()
        self.service.access_log.record(
            sender.request, sender.facts, sender.response.status, sender.sent_bytes, sender.started
        )

    def wake_writers(self) -> None:
        """Let those streams go on that there is room for."""
        adapter = self.adapter
        still = []
        for stream in self.writers:
            if stream.writer.waiting and not stream.gone:
                if adapter is None or adapter.capacity(stream.request.stream_id):
                    stream.writer.open()
                else:
                    still.append(stream)
        self.writers = still

    # What streams ask for. Each call that makes output asks for a turn, so that the streams of one round share a send.

    def respond(self, stream: Stream, response: Response, data: bytes = b"", *, end: bool) -> None:
        """Begin, and perhaps end, a response from a stream's task."""
        if self.adapter is not None:
            self.adapter.respond(stream.request.stream_id, response, data, end=end)
            self.service.reactor.schedule(self._connection)

    def upgrade(self, stream: Stream, protocol: bytes, fields: Fields) -> int:
        """Turn a request into a tunnel; returns the status for the log."""
        assert self.adapter is not None
        status = self.adapter.upgrade(stream.request.stream_id, protocol, fields)
        self.service.reactor.schedule(self._connection)
        return status

    def leave(self) -> None:
        """The server is about to stop: tell those who have no end of their own."""
        for stream in self.streams.values():
            stream.leave()

    def inform(self, stream: Stream, status: int, fields: Fields) -> None:
        """Send an interim response."""
        if self.adapter is not None:
            self.adapter.inform(stream.request.stream_id, status, fields)
            self.service.reactor.schedule(self._connection)

    def capacity(self, stream: Stream) -> int:
        """As the adapter's; -1 once the connection is closed."""
        return -1 if self.adapter is None else self.adapter.capacity(stream.request.stream_id)

    def wait_for_room(self, stream: Stream) -> None:
        """Open the stream's writer gate when there is room."""
        self.writers.append(stream)

    def write(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """More of a body."""
        if self.adapter is not None:
            self.adapter.write(stream.request.stream_id, data, end=end)
            self.service.reactor.schedule(self._connection)

    def push(self) -> None:
        """Send now what there is, for a stream's task that has more."""
        self.service.reactor.turn_now(self._connection)

    def end_with_trailers(self, stream: Stream, fields: Fields) -> None:
        """The end of a body with trailers."""
        if self.adapter is not None:
            self.adapter.end_with_trailers(stream.request.stream_id, fields)
            self.service.reactor.schedule(self._connection)

    def consumed(self, stream: Stream, credit: int) -> None:
        """A piece of a request body was used."""
        if self.adapter is not None:
            self.adapter.consumed(stream.request.stream_id, credit)
            if self.paused and stream.buffered_bytes < self.service.limits.request_body_buffer_bytes:
                self.paused = False
            self.service.reactor.schedule(self._connection)

    def break_off(self, stream: Stream, reason: str) -> None:
        """End a begun response with an error that the client sees."""
        self.service.fence.events.info("response broken off", reason=reason, stream=stream.request.stream_id)
        if self.adapter is not None and not stream.gone:
            self.adapter.reset(stream.request.stream_id, Http2Code.INTERNAL_ERROR)
            self.service.reactor.schedule(self._connection)

    def stream_answered(self, stream: Stream) -> None:
        """A stream's answer is whole; its task may go on, but nothing of it is waited for any more."""
        request = stream.received
        if self.streams.get(request.stream_id) is stream:
            del self.streams[request.stream_id]
        if stream.status:  # otherwise `answer` has logged it
            self.service.access_log.record(request, stream.facts, stream.status, stream.sent_bytes, stream.started)
        if self.adapter is not None:
            self._drop_body(stream)
            self.service.reactor.schedule(self._connection)

    def _drop_body(self, stream: Stream) -> None:
        if stream.buffered_bytes and self.adapter is not None:
            self.adapter.consumed(stream.request.stream_id, stream.drop_buffer())
            self.paused = False

    def stream_done(self, stream: Stream) -> None:
        """The stream's task has ended."""
        self._tasks -= 1
        if stream.answered:
            return
        request = stream.received
        if self.streams.get(request.stream_id) is stream:
            del self.streams[request.stream_id]
        if stream.status:
            self.service.access_log.record(request, stream.facts, stream.status, stream.sent_bytes, stream.started)
        elif stream.gone:
            self.service.access_log.record(request, stream.facts, 499, 0, stream.started)
        if self.adapter is not None:
            if not stream.gone:
                self.adapter.reset(request.stream_id, Http2Code.INTERNAL_ERROR)
            self._drop_body(stream)
            self.service.reactor.schedule(self._connection)

    def give_up_streams(self) -> None:
        """Nobody waits for the answers that are not there yet: cancel their work. Those on their way go on."""
        for stream in tuple(self.streams.values()):
            if self.adapter is not None:
                self.adapter.reset(stream.request.stream_id, Http2Code.CANCEL)
            stream.abandon()

    def abandon_all(self) -> None:
        """Cancel every stream and give back every sender's files."""
        for stream in self.streams.values():
            stream.abandon()
        senders = list(self.senders.values())
        self.senders.clear()
        for sender in senders:
            self.sent(sender)

    def close(self) -> None:
        """The connection is closed: cancel every stream, give back every file."""
        self.abandon_all()
        self.adapter = None
        self.held = ()
