"""HTTP/2 connections as hypothesis makes them up: a peer and a server that act in any order, well or badly.

Each engine by itself, judged by a client of hyperframe and hpack that keeps account (`http2_witness`); and both in
lockstep, which have to report the same. Where engines may differ, and why, is in test_http2_differential: there the
comparison ends. One difference more: a stream beyond the allowed number whose head is malformed, too, is reset with
REFUSED_STREAM by one and with PROTOCOL_ERROR by the other; RFC 9113, section 5.1.2 leaves the choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings as hypothesis_settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from securelight.model.errors import Http2Code
from securelight.protocol.h2_adapter import H2Adapter
from securelight.protocol.nghttp2_adapter import Nghttp2Adapter
from tests.protocol.http2_support import GET, POST, data, goaway, ping, raw_frame, reset, settings, window_update
from tests.protocol.http2_witness import Witness

if TYPE_CHECKING:
    from securelight.protocol.http2_adapter import Http2Adapter

UPLOAD = [*POST, (b"content-length", b"4")]
GOOD_HEADS = [GET, POST, UPLOAD, [*GET, (b"cookie", b"a=b"), (b"cookie", b"c=d")], [*POST, (b"priority", b"u=1, i")]]
BAD_HEADS = [
    GET[1:],
    [*GET, (b"X-Upper", b"a")],
    [*GET, (b"connection", b"close")],
    [*GET, (b"transfer-encoding", b"chunked")],
    [*GET, (b":path", b"/again")],
    [*GET, (b"host", b"b.test")],
    [*GET, (b"x", b"a\r\nb")],
    [*POST, (b"content-length", b"-1")],
    [*POST, (b"content-length", b"99999")],
    [*POST, (b"expect", b"something")],
    [*GET, *((b"x-%d" % number, b"") for number in range(20))],
    [*GET, (b"x-long", b"a" * 3_000)],
    [(b":method", b"CONNECT"), (b":authority", b"a.test:1")],
]
CUTS = st.one_of(st.just(0), st.integers(1, 40))
STREAMS = st.integers(0, 6).map(lambda number: 2 * number + 1)
CONTENT_BYTES = st.sampled_from([0, 2, 4, 2_000])
BODY_BYTES = st.sampled_from([0, 5, 100, 20_000, 70_000])
RAW = st.tuples(
    st.integers(0, 17),
    st.one_of(st.sampled_from([0, 1, 4, 5, 8, 0x20]), st.integers(0, 255)),
    st.one_of(st.integers(0, 9), st.sampled_from([0x7FFFFFFF, 0x80000001])),
    st.one_of(
        st.binary(max_size=24),
        st.binary(min_size=4, max_size=4),
        st.sampled_from([b"\x82\x84\x87\x41\x01a", b"\x82\x84\x87\x41\x06a.test", b"\x3f\xe1\xff\x03"]),
    ),
)


def _without_refusal(event: tuple[Any, ...]) -> tuple[Any, ...]:
    refused = event[0] == "aborted" and event[2] == Http2Code.REFUSED_STREAM
    return (*event[:2], int(Http2Code.PROTOCOL_ERROR), *event[3:]) if refused else event


class Http2Machine(RuleBasedStateMachine):
    """What may happen on a connection; a subclass says to which engines."""

    engines: tuple[type[Http2Adapter], ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.sides = [Witness(engine) for engine in self.engines]
        self.next_id = 1
        self.comparable = True

    def send(self, frames: list[bytes], cut: int = 0) -> None:
        """The same to every side; `frames[n]` is for side n."""
        said = [side.send(frame, cut) for side, frame in zip(self.sides, frames, strict=True)]
        self.compare(said)

    def compare(self, said: list[list[tuple[Any, ...]]]) -> None:
        if any(("failed", Http2Code.FLOW_CONTROL_ERROR) in one for one in said):
            self.comparable = False
        if self.comparable:
            verdicts = [[_without_refusal(event) for event in one] for one in said]
            assert all(one == verdicts[0] for one in verdicts)

    def send_all(self, frame: bytes, cut: int = 0) -> None:
        self.send([frame] * len(self.sides), cut)

    def is_going_on(self) -> bool:
        return not self.sides[0].failed

    # The peer.

    @rule(fields=st.sampled_from(GOOD_HEADS), end=st.booleans(), cut=CUTS)
    def open(self, fields: list[tuple[bytes, bytes]], end: bool, cut: int) -> None:
        frames = [side.client.head(self.next_id, fields, end=end) for side in self.sides]
        self.next_id += 2
        self.send(frames, cut)

    @rule(fields=st.sampled_from(BAD_HEADS), end=st.booleans(), cut=CUTS)
    def open_badly(self, fields: list[tuple[bytes, bytes]], end: bool, cut: int) -> None:
        self.open(fields, end, cut)

    @precondition(is_going_on)
    @rule(stream_id=STREAMS, size=CONTENT_BYTES, end=st.booleans(), pad=st.sampled_from([None, 0, 9]), cut=CUTS)
    def send_data(self, stream_id: int, size: int, end: bool, pad: int | None, cut: int) -> None:
        if stream_id < self.next_id:
            self.send_all(data(stream_id, b"a" * size, end=end, pad=pad), cut)

    @precondition(is_going_on)
    @rule(stream_id=STREAMS, end=st.sampled_from([True, True, True, False]))
    def send_trailers(self, stream_id: int, end: bool) -> None:
        if stream_id < self.next_id:
            self.send([side.client.head(stream_id, [(b"x-sum", b"1")], end=end) for side in self.sides])

    @rule(stream_id=st.one_of(st.just(0), STREAMS), increment=st.sampled_from([1, 9, 70_000, 2**30, 2**31 - 1, 0]))
    def open_window(self, stream_id: int, increment: int) -> None:
        if stream_id < self.next_id:
            self.send_all(window_update(stream_id, increment))

    @rule(values=st.sampled_from([{}, {4: 0}, {4: 10}, {4: 65_535}, {4: 1 << 20}, {1: 0}, {1: 100, 5: 30_000}, {3: 1}]))
    def send_settings(self, values: dict[int, int]) -> None:
        self.send_all(settings(values))

    @rule(stream_id=STREAMS)
    def break_off(self, stream_id: int) -> None:
        if stream_id < self.next_id:
            for side in self.sides:
                side.look()
            self.send_all(reset(stream_id))

    @rule(frame=st.sampled_from([ping(), raw_frame(2, 0, 1, b"\0\0\0\3\x10"), raw_frame(0x33, 0, 0, b"?"),
                                 raw_frame(16, 0, 0, b"\0\0\0\1u=0")]), cut=CUTS)  # fmt: skip
    def send_lightly(self, frame: bytes, cut: int) -> None:
        self.send_all(frame, cut)

    @rule(frame=st.one_of(RAW, RAW, st.just((7, 0, 0, goaway()[9:]))), cut=CUTS)
    def send_anything(self, frame: tuple[int, int, int, bytes], cut: int) -> None:
        if frame[0] in (1, 5, 9):
            self.comparable = False  # a block that hpack has not encoded
        self.send_all(raw_frame(*frame), cut)

    @rule()
    def end_input(self) -> None:
        self.compare([side.end_input() for side in self.sides])

    # The server.

    @rule(size=BODY_BYTES, end=st.booleans(), which=st.integers(0, 9))
    def respond(self, size: int, end: bool, which: int) -> None:
        for side, stream_id in self.chosen(which):
            side.respond(stream_id, b"b" * size, end=end)
            side.look()

    @rule(which=st.integers(0, 9))
    def respond_whole(self, which: int) -> None:
        for side, stream_id in self.chosen(which):
            side.respond_whole(stream_id)
            side.look()

    @rule(stream_id=STREAMS, size=BODY_BYTES, end=st.booleans())
    def write(self, stream_id: int, size: int, end: bool) -> None:
        for side in self.sides:
            side.write(stream_id, b"c" * size, end=end)
            side.look()

    @rule(stream_id=STREAMS, trailers=st.booleans())
    def end_or_inform(self, stream_id: int, trailers: bool) -> None:
        for side in self.sides:
            if trailers:
                side.end_with_trailers(stream_id)
            else:
                side.inform(stream_id)
            side.look()

    @rule(stream_id=STREAMS)
    def consume(self, stream_id: int) -> None:
        for side in self.sides:
            side.consume(stream_id)

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        for side, stream_id in self.chosen(which):
            side.cancel(stream_id)
            side.look()

    @rule(last=st.booleans())
    def shut_down(self, last: bool) -> None:
        for side in self.sides:
            if last:
                side.adapter.goodbye()
            else:
                side.adapter.announce_shutdown()
            side.look()

    @rule(seconds=st.sampled_from([0.1, 3.0]))
    def pass_time(self, seconds: float) -> None:
        for side in self.sides:
            side.pass_time(seconds)
            side.look()

    def chosen(self, which: int) -> list[tuple[Witness, int]]:
        """A stream that waits for its answer, on every side."""
        waiting = [stream_id for stream_id in self.sides[0].open if stream_id not in self.sides[0].given]
        return [(side, waiting[which % len(waiting)]) for side in self.sides] if waiting else []

    @invariant()
    def nothing_wrong_is_sent(self) -> None:
        for side in self.sides:
            side.look()

    def teardown(self) -> None:
        for side in self.sides:
            side.finish()


class H2Machine(Http2Machine):
    """h2 by itself."""

    engines = (H2Adapter,)


class Nghttp2Machine(Http2Machine):
    """nghttp2 by itself."""

    engines = (Nghttp2Adapter,)


class BothMachine(Http2Machine):
    """Both, in lockstep."""

    engines = (H2Adapter, Nghttp2Adapter)


# The same on every run, however slow the machine; `make fuzz TARGET=http2_dialogue` looks further.
SETTINGS = hypothesis_settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
TestH2 = H2Machine.TestCase
TestH2.settings = SETTINGS
TestNghttp2 = Nghttp2Machine.TestCase
TestNghttp2.settings = SETTINGS
TestBoth = BothMachine.TestCase
TestBoth.settings = SETTINGS
