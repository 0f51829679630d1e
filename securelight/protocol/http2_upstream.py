"""HTTP/2 as the client of a server behind us: requests out, responses in, flow control both ways. No waiting.

The h2 package does the frames. Here is what it leaves open: the syntax and size of response heads, how many streams
there may be, what a reset or GOAWAY says of a request (nobody has looked at it, or nobody knows), and windows that open
only as the client takes its response. Pushed responses are refused by our SETTINGS.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from h2.settings import SettingCodes, Settings

from securelight.model.errors import StreamFault
from securelight.protocol.http1_responses import INTERIM_RESPONSES
from securelight.protocol.request_head import CONNECTION_FIELDS, FIELD_OVERHEAD_BYTES, checked_trailers
from securelight.protocol.response_head import FIELD_VALUE, ResponseFault, ResponseHead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_STATUS = re.compile(rb"[1-5][0-9][0-9]")
_LENGTH = re.compile(rb"[0-9]{1,18}")
SMALL_PIECE_BYTES = 1024
LAST_STREAM_ID = (1 << 30) - 1
"""A connection is given up long before its identifiers end."""


class UpstreamStream:
    """One request and what has come of its response.

    Attributes:
        stream_id: on the connection.
        method: of the request.
        heads: that nobody has taken yet.
        pieces: of the body: (data, bytes to give back to the windows).
        whole: the response has ended, well.
        trailers: once it is whole.
        broken: why it will never be whole; "" as long as it may.
        unprocessed: the server has said that it did not look at the request.
        touched: something of the response has come.
        sent: the request has ended.
    """

    __slots__ = ("broken", "heads", "interim", "method", "on_change", "pieces", "sent", "stream_id", "touched",
                 "trailers", "unprocessed", "whole")  # fmt: skip

    def __init__(self, stream_id: int, method: str, on_change: Callable[[], None]) -> None:
        self.stream_id = stream_id
        self.method = method
        self.on_change = on_change
        self.heads: deque[ResponseHead] = deque()
        self.pieces: deque[tuple[bytes, int]] = deque()
        self.interim = 0
        self.whole = False
        self.trailers: Fields = ()
        self.broken = ""
        self.unprocessed = False
        self.touched = False
        self.sent = False


class Http2Upstream:
    """One connection.

    Args:
        limits: for heads and windows.

    Attributes:
        going_away: the server takes no more requests on this connection.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        )
        self._streams: dict[int, UpstreamStream] = {}
        self.going_away = False

    def start(self) -> None:
        """Begin to speak."""
        limits = self._limits
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: limits.upstream_buffer_bytes,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.upstream_head_bytes,
            },
        )
        self._h2.initiate_connection()
        # Room for every stream's window: one that nobody reads does not stop the others.
        self._h2.increment_flow_control_window(limits.concurrent_streams * limits.upstream_buffer_bytes)

    @property
    def streams(self) -> int:
        """Requests under way."""
        return len(self._streams)

    @property
    def available(self) -> bool:
        """Whether one more may be sent."""
        allowed = min(self._limits.concurrent_streams, self._h2.remote_settings.max_concurrent_streams)
        return not self.going_away and len(self._streams) < allowed

    def take_output(self) -> bytes:
        """What is to be sent."""
        return bytes(self._h2.data_to_send())

    # Requests.

    def open(
        self,
        method: str,
        scheme: str,
        target: bytes,
        fields: Sequence[Field],
        *,
        end: bool,
        on_change: Callable[[], None],
    ) -> UpstreamStream:
        """Send a head. `fields` begin with Host.

        Errors: ResponseFault if the connection can't take it.
        """
        (_host, authority), *rest = fields
        pseudo = [
            (b":method", method.encode("ascii")),
            (b":scheme", scheme.encode("ascii")),
            (b":authority", authority),
            (b":path", target),
        ]
        try:
            stream_id = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream_id, [*pseudo, *rest], end_stream=end)
        except h2.exceptions.H2Error as error:
            self.going_away = True
            raise ResponseFault(f"no stream can be opened: {error}") from error
        if stream_id > LAST_STREAM_ID:
            self.going_away = True
        stream = self._streams[stream_id] = UpstreamStream(stream_id, method, on_change)
        stream.sent = end
        return stream

    def room(self, stream: UpstreamStream) -> int:
        """How many bytes of a body may be sent now; 0 for one that is over, too."""
        try:
            return min(self._h2.local_flow_control_window(stream.stream_id), self._h2.max_outbound_frame_size)
        except h2.exceptions.H2Error:
            return 0

    def send(self, stream: UpstreamStream, data: bytes) -> None:
        """Send up to `room` bytes of a body.

        Errors: ResponseFault if the stream is over.
        """
        try:
            self._h2.send_data(stream.stream_id, data)
        except h2.exceptions.H2Error as error:
            raise ResponseFault(f"the stream is over: {error}") from error

    def finish(self, stream: UpstreamStream, trailers: Fields) -> None:
        """The request is whole.

        Errors: ResponseFault if the stream is over.
        """
        try:
            if trailers:
                self._h2.send_headers(stream.stream_id, list(trailers), end_stream=True)
            else:
                self._h2.end_stream(stream.stream_id)
        except h2.exceptions.H2Error as error:
            raise ResponseFault(f"the stream is over: {error}") from error
        stream.sent = True

    def consumed(self, stream: UpstreamStream, credit: int) -> None:
        """The client has taken a piece of the body: the server may send as much again."""
        if credit:
            self._h2.acknowledge_received_data(credit, stream.stream_id)

    def close(self, stream: UpstreamStream) -> None:
        """Nobody is interested any more; what is not whole is reset."""
        if self._streams.pop(stream.stream_id, None) is None:
            return
        try:
            self.consumed(stream, sum(credit for _data, credit in stream.pieces))
            if not (stream.whole and stream.sent) and not stream.broken:
                self._h2.reset_stream(stream.stream_id, h2.errors.ErrorCodes.CANCEL)
        except h2.exceptions.H2Error:
            pass  # it was over already
        stream.pieces.clear()

    # Responses.

    def receive(self, data: bytes) -> None:
        """Take in what the server says; streams that it changes are told by their `on_change`.

        Errors: ResponseFault if the connection can't go on; `fail` then tells the streams.
        """
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            raise ResponseFault(f"HTTP/2: {error}") from error
        for event in events:
            self._note(event)

    def fail(self, why: str) -> None:
        """The connection is over: so are its streams."""
        self.going_away = True
        for stream in tuple(self._streams.values()):
            self._break(stream, why)

    def _break(self, stream: UpstreamStream, why: str, *, unprocessed: bool = False) -> None:
        if not stream.whole and not stream.broken:
            stream.broken = why
            stream.unprocessed = unprocessed
        stream.on_change()

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self._going_away(event)
        elif isinstance(event, h2.events.RemoteSettingsChanged | h2.events.WindowUpdated) and not getattr(
            event, "stream_id", 0
        ):
            self._wake_all()
        else:
            stream = self._streams.get(getattr(event, "stream_id", None) or 0)
            if stream is not None:
                try:
                    self._note_on(stream, event)
                except (ResponseFault, StreamFault) as fault:
                    self._break(stream, str(fault))
                    with contextlib.suppress(h2.exceptions.H2Error):  # it may have ended with this
                        self._h2.reset_stream(stream.stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
            elif isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _note_on(self, stream: UpstreamStream, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self._hold(stream, event.data, event.flow_controlled_length)
        elif isinstance(event, h2.events.ResponseReceived):
            stream.touched = True
            stream.heads.append(self._head(stream, event.headers, ended=event.stream_ended is not None))
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim += 1
            if stream.interim > INTERIM_RESPONSES:
                raise ResponseFault(f"more than {INTERIM_RESPONSES} interim responses")
            stream.heads.append(self._head(stream, event.headers, ended=True))
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = checked_trailers([(bytes(name), bytes(value)) for name, value in event.headers],
                                               self._limits)  # fmt: skip
        elif isinstance(event, h2.events.StreamEnded):
            stream.whole = True
        elif isinstance(event, h2.events.StreamReset):
            code = event.error_code or 0
            unprocessed = code == h2.errors.ErrorCodes.REFUSED_STREAM
            self._break(stream, f"the stream was reset with code {int(code)}", unprocessed=unprocessed)
        stream.on_change()

    def _hold(self, stream: UpstreamStream, data: bytes, credit: int) -> None:
        """Keep a piece of a body, small ones with the one before: frames of a byte don't cost a hundred each."""
        pieces = stream.pieces
        if pieces and len(pieces[-1][0]) < SMALL_PIECE_BYTES:
            held, held_credit = pieces.pop()
            pieces.append((held + data, held_credit + credit))
        elif credit:
            pieces.append((data, credit))

    def _going_away(self, event: h2.events.ConnectionTerminated) -> None:
        self.going_away = True
        last = event.last_stream_id or 0
        for stream in tuple(self._streams.values()):
            if stream.stream_id > last:
                self._break(stream, "the server is going away", unprocessed=True)
            elif event.error_code != h2.errors.ErrorCodes.NO_ERROR:
                self._break(stream, f"the connection ended with code {int(event.error_code or 0)}")

    def _wake_all(self) -> None:
        for stream in tuple(self._streams.values()):
            stream.on_change()

    def _head(self, stream: UpstreamStream, headers: Iterable[tuple[bytes, bytes]], *, ended: bool) -> ResponseHead:
        status = b""
        length: int | None = None
        size = 0
        fields: list[Field] = []
        for raw_name, raw_value in headers:
            name, value = bytes(raw_name), bytes(raw_value)
            size += len(name) + len(value) + FIELD_OVERHEAD_BYTES
            if name == b":status":
                status = value
                continue
            if not _NAME.fullmatch(name) or not FIELD_VALUE.fullmatch(value) or name in CONNECTION_FIELDS:
                raise ResponseFault(f"malformed or forbidden field {name[:40]!r}")
            if name == b"content-length":
                if length is not None or not _LENGTH.fullmatch(value):
                    raise ResponseFault(f"content-length repeated or malformed: {value[:40]!r}")
                length = int(value)
            fields.append((name, value))
        if not _STATUS.fullmatch(status) or status == b"101":
            raise ResponseFault(f"status {status[:20]!r}")
        if size > self._limits.upstream_head_bytes or len(fields) > self._limits.upstream_fields:
            raise ResponseFault(f"head of {size} bytes in {len(fields)} fields")
        number = int(status)
        has_body = number >= 200 and stream.method != "HEAD" and number not in (204, 304)
        if has_body and ended and length:
            raise ResponseFault("the response ended without its body")
        return ResponseHead(number, tuple(fields), length, has_body=has_body)
