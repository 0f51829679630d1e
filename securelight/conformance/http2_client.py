"""An HTTP/2 client without a state machine: sends what a case wants, reads what comes, and judges it.

It acknowledges SETTINGS and PING, and gives credit for DATA, unless a case says otherwise, so that a case is about one
thing alone. How it tells that a server has done with something: it sends two PINGs after it, one after the other's
answer, and takes the reaction to be complete with the second one's. A server that answers PINGs out of turn has had
one whole round trip then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import hpack
import trio

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Skipped
from securelight.conformance.http2_accept import REFUSALS
from securelight.conformance.http2_frames import PREFACE, code_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from securelight.conformance.http2_accept import Accept
    from securelight.conformance.target import Target
    from securelight.conformance.wire import Wire

Field = tuple[bytes, bytes]
MAXIMUM_FRAME_BYTES: Final = 1 << 20
"""No larger frame of a server is taken; none may be larger than 16,384 unless we say so."""
MAXIMUM_RECEIVED_FRAMES: Final = 100_000
MAXIMUM_KEPT_BYTES: Final = 16 << 20
"""Of all frames of a connection that are kept; see http1_client.MAXIMUM_BODY_BYTES."""
_REFUSALS: Final = frozenset({400, 411, 413, 414, 417, 421, 431})
"""Statuses by which a server shows that it has seen what is wrong; 404 and 405 have other reasons."""


def _too_much(frame: frames.Frame) -> Failed | Skipped:
    """Content may be long; nothing else may."""
    if isinstance(frame, frames.DataFrame):
        return Skipped(f"the page is larger than {MAXIMUM_KEPT_BYTES} bytes: choose a smaller one")
    return Failed(f"the server sent more than {MAXIMUM_KEPT_BYTES} bytes, and does not stop")


class TooLate(Failed):
    """The request was answered in spite of a fault after its head: no failure if the server did not wait for it."""


@dataclass(slots=True)
class Answer:
    """What came on one stream.

    Attributes:
        status: of the final response; 0 if there was none.
        interim: the statuses of interim responses.
        fields: of the final response.
        trailers: None if there were none.
        body: its DATA, without padding.
        ended: END_STREAM was seen.
    """

    status: int = 0
    interim: list[int] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    trailers: list[Field] | None = None
    body: bytes = b""
    ended: bool = False


class Http2Client:
    """One connection.

    Args:
        wire: where it goes.
        target: the server.
        usual_status: that of a plain GET; 0 if it is not known.
        answer_seconds: how long to wait for what has to come.
        silence_seconds: how long to wait for what should not come.

    Attributes:
        frames: all that was received, in order.
        answers: by stream.
        resets: stream -> code.
        goaways: (last stream, code).
        pongs: the payloads of PING acknowledgements.
        server_settings: the server's settings so far.
        settings_acks: how often ours were acknowledged.
        granted: stream (0: connection) -> bytes of WINDOW_UPDATE received.
        highest: the highest stream id that we have used.
        initial_window: the window that we grant new streams.
        acknowledges: whether SETTINGS and PING are acknowledged.
        credits: whether DATA is credited.
    """

    def __init__(
        self, wire: Wire, target: Target, usual_status: int, answer_seconds: float, silence_seconds: float
    ) -> None:
        wire.logs = False
        self.wire = wire
        self.target = target
        self.usual_status = usual_status
        self.answer_seconds = answer_seconds
        self.silence_seconds = silence_seconds
        self.frames: list[frames.Frame] = []
        self.answers: dict[int, Answer] = {}
        self.resets: dict[int, int] = {}
        self.goaways: list[tuple[int, int]] = []
        self.pongs: set[bytes] = set()
        self.server_settings: dict[int, int] = {}
        self.settings_acks = 0
        self.granted: dict[int, int] = {}
        self.highest = 0
        self.initial_window = frames.DEFAULT_WINDOW
        self.acknowledges = True
        self.credits = True
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder(max_header_list_size=1 << 20)
        self._kept_bytes = 0
        self._settings_seen = False
        self._unread = b""
        self._pings = 0
        self._block: tuple[int, bytes, bool] | None = None

    # Sending

    async def send(self, *pieces: bytes) -> bool:
        """Send frames in one write; False if the server has broken off."""
        stream = b"".join(pieces)
        rest = stream
        if stream.startswith(PREFACE):
            self.wire.transcript.add(self.wire.number, ">", "the connection preface", PREFACE)
            rest = stream[len(PREFACE) :]
        shown = 0
        for raw, whole in frames.split(rest):
            self.wire.transcript.add(self.wire.number, ">", frames.words_for(raw), whole)
            shown += len(whole)
            if raw.kind == frames.HEADERS and raw.stream_id & 1:
                self.highest = max(self.highest, raw.stream_id)
        if shown < len(rest):
            self.wire.transcript.add(self.wire.number, ">", "bytes that are no whole frame", rest[shown:])
        return await self.wire.send(stream)

    async def handshake(self, settings: Mapping[int, int] | None = None) -> None:
        """Send the preface and SETTINGS, wait for the server's.

        Errors: Failed.
        """
        self.initial_window = (settings or {}).get(frames.INITIAL_WINDOW_SIZE, self.initial_window)
        await self.send(PREFACE, frames.settings(settings))
        if not await self.until(lambda: self._settings_seen):
            raise Failed(f"the server did not send its SETTINGS after the preface: {self.situation()}")

    def next_stream(self) -> int:
        """The id for a new stream."""
        return self.highest + 2 if self.highest & 1 else 1

    def request(
        self, method: bytes = b"GET", path: bytes | None = None, *extra: Field, authority: bytes | None = None
    ) -> list[Field]:
        """The fields of a good request."""
        return [
            (b":method", method),
            (b":scheme", self.target.scheme.encode()),
            (b":authority", self.target.authority.encode() if authority is None else authority),
            (b":path", self.target.path.encode() if path is None else path),
            *extra,
        ]

    def encode(self, fields: Sequence[Field]) -> bytes:
        """A header block, as a well-behaved client encodes it."""
        return bytes(self.encoder.encode(list(fields), huffman=False))

    def head(self, stream_id: int, fields: Sequence[Field] | None = None, *, end: bool = True) -> bytes:
        """A HEADERS frame; a plain GET if there are no fields."""
        return frames.headers(stream_id, self.encode(self.request() if fields is None else fields), end=end)

    # Receiving

    async def read(self) -> bool:
        """Take in what comes next; False once the server has ended the connection.

        Errors: Failed for what no server may send.
        """
        incoming = await self.wire.receive()
        if not incoming:
            return False
        self._unread += incoming
        replies: list[bytes] = []
        while len(self._unread) >= frames.HEADER_BYTES:
            length = int.from_bytes(self._unread[:3], "big")
            if length > MAXIMUM_FRAME_BYTES:
                raise Failed(f"the server sent a frame of {length} bytes, although no more than 16384 are allowed")
            whole = self._unread[: frames.HEADER_BYTES + length]
            if len(whole) < frames.HEADER_BYTES + length:
                break
            self._unread = self._unread[len(whole) :]
            raw = next(frames.split(whole))[0]
            self.wire.transcript.add(self.wire.number, "<", frames.words_for(raw), whole)
            frame = frames.parse(whole)
            self.frames.append(frame)
            if len(self.frames) > MAXIMUM_RECEIVED_FRAMES:
                raise Failed(f"the server sent more than {MAXIMUM_RECEIVED_FRAMES} frames")
            self._kept_bytes += len(whole)
            if self._kept_bytes > MAXIMUM_KEPT_BYTES:
                raise _too_much(frame)
            self._take(frame, length, replies)
        if replies:
            await self.send(*replies)
        return True

    def _take(self, frame: frames.Frame, length: int, replies: list[bytes]) -> None:
        stream_id = frame.stream_id
        if isinstance(frame, frames.SettingsFrame):
            if "ACK" in frame.flags:
                self.settings_acks += 1
                return
            self._settings_seen = True
            self.server_settings.update(frame.settings)
            self.encoder.header_table_size = min(self.server_settings.get(frames.HEADER_TABLE_SIZE, 4096), 4096)
            if self.acknowledges:
                replies.append(frames.settings_ack())
        elif isinstance(frame, frames.PingFrame):
            if "ACK" in frame.flags:
                self.pongs.add(bytes(frame.opaque_data))
            elif self.acknowledges:
                replies.append(frames.ping(bytes(frame.opaque_data), ack=True))
        elif isinstance(frame, frames.GoAwayFrame):
            self.goaways.append((frame.last_stream_id, frame.error_code))
        elif isinstance(frame, frames.RstStreamFrame):
            self.resets[stream_id] = frame.error_code
        elif isinstance(frame, frames.WindowUpdateFrame):
            self.granted[stream_id] = self.granted.get(stream_id, 0) + frame.window_increment
        elif isinstance(frame, frames.DataFrame):
            answer = self.answers.setdefault(stream_id, Answer())
            answer.body += bytes(frame.data)
            answer.ended = "END_STREAM" in frame.flags
            if self.credits and length:
                replies.append(frames.window_update(0, length))
                if not answer.ended:
                    replies.append(frames.window_update(stream_id, length))
        elif isinstance(frame, frames.HeadersFrame):
            self._block = (stream_id, bytes(frame.data), "END_STREAM" in frame.flags)
            self._end_block(frame)
        elif isinstance(frame, frames.ContinuationFrame):
            if self._block is None or self._block[0] != stream_id:
                raise Failed("the server sent CONTINUATION without an open header block")
            self._block = (stream_id, self._block[1] + bytes(frame.data), self._block[2])
            self._end_block(frame)

    def _end_block(self, frame: frames.Frame) -> None:
        if "END_HEADERS" not in frame.flags or self._block is None:
            return
        stream_id, block, ended = self._block
        self._block = None
        try:
            fields = [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)]
        except hpack.HPACKError as error:
            raise Failed(f"the server sent a header block that cannot be decoded: {error}") from None
        answer = self.answers.setdefault(stream_id, Answer())
        answer.ended = ended
        status = dict(fields).get(b":status", b"")
        if answer.status:
            answer.trailers = fields
        elif len(status) != 3 or not status.isdigit():
            raise Failed(f"the server sent a response without a status: {fields!r:.200}")
        elif status.startswith(b"1"):
            answer.interim.append(int(status))
        else:
            answer.status, answer.fields = int(status), fields

    async def until(self, enough: Callable[[], bool], seconds: float | None = None) -> bool:
        """Read until `enough` is true; False if the server ended before, or if it took too long."""
        with trio.move_on_after(self.answer_seconds if seconds is None else seconds):
            while not enough():
                if not await self.read():
                    break
        return enough()

    def forget(self, stream_id: int) -> None:
        """What came on the stream so far is no part of the judgment that follows."""
        self.answers.pop(stream_id, None)
        self.resets.pop(stream_id, None)

    def forget_all(self) -> None:
        """The same for the whole connection, whose answers have been looked at: room for others."""
        self.frames.clear()
        self.answers.clear()
        self._kept_bytes = 0

    # Judging

    @property
    def over(self) -> bool:
        """The server has given the connection up."""
        return bool(self.wire.ended) or any(code for _, code in self.goaways)

    def ended(self, stream_id: int) -> bool:
        """The answer is whole, or the stream was reset."""
        return stream_id in self.resets or (stream_id in self.answers and self.answers[stream_id].ended)

    async def barrier(self, stream_id: int = 0) -> bool:
        """Wait until the server has done with all that was sent; False if it gave the connection or stream up.

        Errors: Failed if PING is not answered.
        """
        for _ in range(2):
            self._pings += 1
            payload = b"judge" + self._pings.to_bytes(3, "big")
            await self.send(frames.ping(payload))
            await self._until_pong(payload, stream_id)
            if self.over or self._broken(stream_id):
                return False
            if payload not in self.pongs:
                raise Failed(f"PING was not answered within {self.answer_seconds:g} s: {self.situation()}")
        return True

    async def _until_pong(self, payload: bytes, stream_id: int) -> None:
        await self.until(lambda: payload in self.pongs or self.over or self._broken(stream_id))

    def _broken(self, stream_id: int) -> bool:
        return bool(stream_id and self.resets.get(stream_id))

    async def judge(self, accept: Accept, stream_id: int = 0, *, barrier: bool = True, too_late: bool = False) -> str:
        """Wait for the reaction to what was sent, and compare it with what is right.

        Args:
            accept: the right answers.
            stream_id: the stream that they are about.
            barrier: False where a PING would be a fault itself (in an open header block), or would change the result.
            too_late: the server may have answered the request and be done with it before it sees the fault.

        Returns what happened, in words. Errors: Failed; TooLate.
        """
        if not (accept.answered or accept.ignored):
            self.credits = False  # credit for a stream that should not be there is a fault of its own
        if barrier:
            await self.barrier(stream_id)
        elif accept.goaway or accept.reset:
            seconds = self.silence_seconds if accept.ignored else None
            await self.until(lambda: self.over or self._broken(stream_id) or self.ended(stream_id), seconds)
        wants_answer = (accept.answered or accept.refused) and not accept.ignored
        if wants_answer and not self.over and not self._broken(stream_id):
            await self.until(lambda: self.over or self.ended(stream_id) or self._shown(stream_id, accept))
        if self._broken(stream_id) and self.resets[stream_id] not in accept.reset:
            # A GOAWAY may be a moment behind.
            await self.until(lambda: self.over, self.silence_seconds)
        happened = self.situation(stream_id)
        if self.over:
            code = next((code for _, code in reversed(self.goaways)), None)
            if accept.goaway and (code is None or code in accept.goaway):
                return happened
            if stream_id in self.resets and self.resets[stream_id] in accept.reset:
                return happened
            raise Failed(f"expected {accept}, but {happened}")
        if self._broken(stream_id):
            if self.resets[stream_id] in accept.reset:
                return happened
            raise Failed(f"expected {accept}, but {happened}")
        answer = self.answers.get(stream_id)
        if too_late and accept.refused and answer is not None and answer.status in _REFUSALS:
            return happened
        if too_late and accept.reset and not accept.answered and self.ended(stream_id):
            raise TooLate(f"expected {accept}, but {happened}")
        if answer is not None and answer.status:
            if accept.refused and answer.status in REFUSALS:
                return happened
            if accept.answered:
                return await self._judge_answer(stream_id, answer, accept)
        if accept.ignored:
            return await self.works()
        raise Failed(f"expected {accept}, but {happened}")

    def _shown(self, stream_id: int, accept: Accept) -> bool:
        """The status of the answer is there, and is all that matters."""
        return not accept.answered and stream_id in self.answers and self.answers[stream_id].status > 0

    async def _judge_answer(self, stream_id: int, answer: Answer, accept: Accept) -> str:
        if not await self.until(lambda: self.ended(stream_id) or self.over) or not answer.ended:
            raise Failed(f"expected {accept}, but the answer did not end: {self.situation(stream_id)}")
        if answer.status == 400:
            raise Failed(f"expected {accept}, but the server took it for a bad request: {self.situation(stream_id)}")
        return self.situation(stream_id)

    async def works(self) -> str:
        """Ask for something on a new stream; the words for its answer.

        Errors: Failed if it is not answered as it usually is.
        """
        stream_id = self.next_stream()
        missing = frames.DEFAULT_WINDOW - self.initial_window
        await self.send(self.head(stream_id), frames.window_update(stream_id, missing) if missing > 0 else b"")
        await self.until(lambda: self.ended(stream_id) or self.over)
        answer = self.answers.get(stream_id)
        if answer is None or not answer.ended or (self.usual_status and answer.status != self.usual_status):
            raise Failed(f"a new request on the connection was not answered as usual: {self.situation(stream_id)}")
        return f"the connection works: a new request got {answer.status}"

    def situation(self, stream_id: int = 0) -> str:
        """What has happened so far, in words."""
        parts = []
        answer = self.answers.get(stream_id)
        if answer is not None and (answer.status or answer.interim):
            whole = "" if answer.ended else ", not ended"
            parts.append(f"an answer with status {answer.status or answer.interim[-1]} on stream {stream_id}{whole}")
        if stream_id in self.resets:
            parts.append(f"RST_STREAM {code_name(self.resets[stream_id])} on stream {stream_id}")
        parts += [f"GOAWAY {code_name(code)} (last stream {last})" for last, code in self.goaways]
        if self.wire.ended:
            parts.append(self.wire.end_words)
        return "; then ".join(parts) if parts else "nothing happened"
