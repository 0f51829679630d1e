"""DATA that goes past the engine, judged by a client that keeps its windows itself (the package h2)."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from hypothesis import given, settings, strategies as st

from securelight.model.body import PUSHED_BODY
from securelight.model.response import Response
from securelight.protocol.direct_data import DirectData
from securelight.protocol.events import ConnectionFailed, Event, StreamAborted
from securelight.protocol.nghttp2_adapter import Nghttp2Adapter
from tests.protocol.http2_support import GET, LIMITS, PEER, Client, window_update

BEGINNING = Response(200, (), PUSHED_BODY)
INITIAL_WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE


class Peer:
    """An adapter, and a client that ends the connection when a window is overrun."""

    def __init__(self, window: int) -> None:
        self.adapter = Nghttp2Adapter(PEER, LIMITS)
        self.adapter.start()
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.client.initiate_connection()
        self.client.update_settings({INITIAL_WINDOW: window})
        self.bodies: dict[int, bytearray] = {}
        self.written: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.talk()

    def talk(self) -> list[Event]:
        """What the client has to say goes to the adapter, and its output to the client."""
        events = list(self.adapter.receive(self.client.data_to_send()))
        assert not [event for event in events if isinstance(event, ConnectionFailed)], events
        self.read()
        return events

    def read(self) -> None:
        while output := self.adapter.take_output(20_000):
            self.take(output)

    def take(self, output: bytes) -> None:
        for event in self.client.receive_data(output):  # raises when a window is overrun
            if isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)

    def open(self, *, answered: bool = True) -> None:
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, GET, end_stream=True)
        self.bodies[stream_id] = bytearray()
        self.written[stream_id] = bytearray()
        assert len(self.talk()) == 1
        if answered:
            self.adapter.respond(stream_id, BEGINNING, b"", end=False)

    def write(self, stream_id: int, size: int, *, end: bool) -> None:
        room = self.adapter.capacity(stream_id, 100_000)
        if room < 0:
            return
        start = len(self.written[stream_id])
        piece = bytes((stream_id + start + number) & 0xFF for number in range(min(size, room)))
        end = end and len(piece) == size
        if piece or end:
            self.adapter.write(stream_id, piece, end=end)
            self.written[stream_id] += piece

    def send_past(self, stream_id: int, size: int) -> int:
        """By the short way past the adapter, as far as there is one; returns how many bytes."""
        self.read()
        piece = bytes(number & 0xFF for number in range(min(size, self.adapter.direct_room(stream_id))))
        if piece:
            self.take(bytes(self.adapter.slices.framed(stream_id, memoryview(piece))))
            self.adapter.direct_sent(stream_id, len(piece))
            self.written[stream_id] += piece
        return len(piece)


def test_what_goes_past_the_adapter_counts_against_the_windows() -> None:
    peer = Peer(1 << 20)
    peer.open()
    assert peer.send_past(1, 60_000) == 60_000
    assert peer.adapter.capacity(1) == 5_535
    assert peer.adapter.direct_room(1) == 0, "less than a frame is not worth it"
    peer.client.increment_flow_control_window(30_000)
    peer.talk()
    assert peer.send_past(1, 100_000) == 35_535
    assert peer.adapter.capacity(1) == 0
    peer.client.increment_flow_control_window(1 << 20)
    peer.talk()
    peer.write(1, 10, end=True)
    peer.read()
    assert peer.bodies[1] == peer.written[1]
    assert peer.ended == {1}


def test_nothing_goes_past_others_or_past_what_waits() -> None:
    peer = Peer(1 << 20)
    peer.open(answered=False)
    assert peer.adapter.direct_room(1) == 0, "the head has not been given"
    peer.adapter.respond(1, BEGINNING, b"", end=False)
    peer.read()
    assert peer.adapter.direct_room(1) == 65_535
    peer.write(1, 20_000, end=False)
    assert peer.adapter.direct_room(1) == 0
    peer.read()
    assert peer.adapter.direct_room(1) == 45_535
    peer.open()
    assert peer.adapter.direct_room(1) == peer.adapter.direct_room(3) == 0
    peer.write(3, 1, end=True)
    peer.read()
    peer.client.ping(b"and then")
    peer.talk()
    peer.adapter.goodbye()
    assert peer.adapter.direct_room(1) == 0, "the GOAWAY waits"
    assert peer.adapter.take_output(20_000)
    assert peer.adapter.direct_room(1) > 0
    peer.write(1, 1, end=True)
    assert peer.adapter.take_output(20_000)
    assert peer.adapter.direct_room(1) == 0


def test_a_body_of_many_windows_arrives_whole() -> None:
    peer = Peer(1 << 20)
    peer.open()
    peer.client.increment_flow_control_window(1 << 20)
    peer.talk()
    left = 5_000_000
    while left:
        room = min(peer.adapter.capacity(1, 98_250), left)
        peer.write(1, room, end=room == left)
        left -= room
        peer.read()
        if not room:
            peer.client.increment_flow_control_window(300_000)
            peer.client.increment_flow_control_window(400_000, stream_id=1)
            peer.talk()
    peer.read()
    assert peer.bodies[1] == peer.written[1]
    assert len(peer.bodies[1]) == 5_000_000
    assert peer.ended == {1}
    assert peer.adapter.open_streams == 0


def test_others_do_not_get_the_room_that_went_past_the_engine() -> None:
    peer = Peer(1 << 20)
    peer.open()
    peer.write(1, 60_000, end=False)
    peer.read()
    assert len(peer.bodies[1]) == 60_000
    peer.open()
    peer.open()
    peer.open(answered=False)
    assert [peer.adapter.capacity(stream_id) for stream_id in (1, 3, 5)] == [5_535] * 3
    for stream_id in (3, 5):
        peer.write(stream_id, 4_000, end=False)
    assert peer.adapter.capacity(5) == 0
    assert not peer.adapter.respond_whole(7, BEGINNING, b"x" * 2_000)
    assert not peer.adapter.respond_again(7, [(b":status", b"200")], b"x" * 2_000)
    peer.read()
    peer.client.increment_flow_control_window(70_000)
    peer.talk()
    assert (len(peer.bodies[3]), len(peer.bodies[5])) == (4_000, 1_535)
    assert peer.adapter.capacity(3, 1 << 20) == 70_000


def test_what_waits_when_the_windows_shrink_goes_out_before() -> None:
    peer = Peer(65_535)
    peer.open()
    peer.write(1, 20_000, end=False)
    peer.write(1, 1_000, end=False)  # this one waits in the engine
    peer.client.update_settings({INITIAL_WINDOW: 15_000})
    peer.talk()
    assert len(peer.bodies[1]) == 21_000
    assert peer.adapter.capacity(1) == 0


def test_an_update_that_overflows_the_connections_window_still_ends_it() -> None:
    client = Client(Nghttp2Adapter)
    client.send(client.head(1), window_update(1, 1 << 20))
    client.adapter.respond(1, BEGINNING, b"", end=False)
    client.adapter.write(1, b"x" * 60_000, end=False)
    client.read()
    most = (1 << 31) - 1
    assert not [event for event in client.send(window_update(0, most - 5_535)) if isinstance(event, ConnectionFailed)]
    assert client.adapter.capacity(1, 1 << 30) > 0
    (failed,) = client.send(window_update(0, 1))
    assert isinstance(failed, ConnectionFailed)
    client.read()
    assert client.goaways()[-1][1] == h2.errors.ErrorCodes.FLOW_CONTROL_ERROR


def test_an_update_that_overflows_the_streams_window_still_resets_it() -> None:
    client = Client(Nghttp2Adapter)
    client.send(client.head(1))
    client.adapter.respond(1, BEGINNING, b"", end=False)
    client.adapter.write(1, b"x" * 60_000, end=False)
    client.read()
    most = (1 << 31) - 1
    assert client.send(window_update(1, most - 5_535)) == []
    (aborted,) = client.send(window_update(1, 1))
    assert isinstance(aborted, StreamAborted)
    client.read()
    assert client.resets() == {1: h2.errors.ErrorCodes.FLOW_CONTROL_ERROR}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.none()),
        st.tuples(
            st.just("write"),
            st.tuples(st.integers(0, 3), st.sampled_from([1, 3_000, 16_384, 40_000, 98_250]), st.integers(0, 5)),
        ),
        st.tuples(st.just("past"), st.tuples(st.integers(0, 3), st.sampled_from([16_384, 40_000, 98_250]))),
        st.tuples(st.just("read"), st.none()),
        st.tuples(st.just("widen"), st.tuples(st.integers(0, 4), st.sampled_from([1, 5_000, 50_000, 1 << 20]))),
        st.tuples(st.just("window"), st.sampled_from([0, 100, 30_000, 65_535, 1 << 20])),
        st.tuples(st.just("reset"), st.integers(0, 3)),
    ),
    max_size=40,
)


@given(st.sampled_from([0, 65_535, 1 << 20]), STEPS)
@settings(max_examples=150, deadline=None)
def test_no_window_is_overrun_and_nothing_is_lost(window: int, steps: list[tuple[str, object]]) -> None:
    peer = Peer(window)
    gone: set[int] = set()
    for kind, what in steps:
        streams = [stream_id for stream_id in peer.bodies if stream_id not in gone | peer.ended]
        match kind, what:
            case "open", _ if len(streams) < 4:
                peer.open()
            case "write", (int(number), int(size), int(end)) if number < len(streams):
                peer.write(streams[number], size, end=end == 0)
            case "past", (int(number), int(size)) if number < len(streams):
                peer.send_past(streams[number], size)
            case "read", _:
                peer.read()
            case "widen", (int(number), int(increment)) if number <= len(streams):
                stream_id = streams[number - 1] if number else None
                manager_window = peer.client.remote_flow_control_window(stream_id) if stream_id else 0
                if manager_window < 1 << 30:
                    peer.client.increment_flow_control_window(increment, stream_id=stream_id)
                    peer.talk()
            case "window", int(size):
                peer.client.update_settings({INITIAL_WINDOW: size})
                peer.talk()
            case "reset", int(number) if number < len(streams):
                peer.client.reset_stream(streams[number])
                gone.add(streams[number])
                peer.talk()
            case _:
                pass
    peer.client.increment_flow_control_window(1 << 24)
    peer.client.update_settings({INITIAL_WINDOW: 1 << 24})
    peer.talk()
    for stream_id in peer.bodies:
        if stream_id not in gone:
            if stream_id not in peer.ended:
                peer.write(stream_id, 20_000, end=True)
            peer.read()
            assert peer.bodies[stream_id] == peer.written[stream_id]
            assert stream_id in peer.ended


def test_only_what_the_engine_knows_of_widens_its_windows() -> None:
    direct = DirectData()
    direct.sent(1, 1_000)
    assert direct.widened(3, 500) == 500
    assert direct.widened(1, 400) == 0
    assert direct.widened(1, 700) == 100
    assert direct.widened(0, 1_000) == 0
    assert not direct.differs
    assert direct.widened(0, 10) == 10
