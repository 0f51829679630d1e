"""HTTP/1 connections as hypothesis makes them up: a peer and a server that act in any order, well or badly.

Each engine by itself, judged by a client of h11 that keeps account (`http1_witness`); and both in lockstep, which have
to report and to send the same, to the byte.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings as hypothesis_settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from securelight.protocol.h11_adapter import H11Adapter
from securelight.protocol.httptools_adapter import HttptoolsAdapter
from tests.protocol.http1_support import Maker
from tests.protocol.http1_witness import Witness

HOST = b"Host: a.test\r\n"
GOOD = [
    b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"HEAD /a?b HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 900\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n" + HOST + b"\r\n",
]
BAD = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    b"GET /" + b"a" * 300 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 700 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 9 + b"\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9999\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Expect: something\r\nContent-Length: 1\r\n\r\n",
    b"CONNECT a.test:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]
BODIES = [
    b"hello", b"x" * 100, b"x" * 900, b"5\r\nhello\r\n", b"a;b=c\r\n0123456789\r\n", b"0\r\n\r\n",
    b"0\r\nX-Sum: 1\r\n\r\n", b"5\r\nhell", b"o\r\n", b"5\nhello\n", b"FFFFFFFFFFFFFFFFF\r\n", b"-1\r\n",
    b"1\r\na\r\n" * 30, b"0\r\nHost: x\r\n\r\n", b"0\r\nX: " + b"a" * 200 + b"\r\n\r\n", b"5;" + b"a" * 40 + b"\r\n",
    b"\r\n", b"\r", b"\0", b"7d1\r\n" + b"y" * 2_001 + b"\r\n",
]  # fmt: skip
CUTS = st.one_of(st.just(0), st.integers(1, 60))
SIZES = st.sampled_from([0, 2, 500, 70_000])


class Http1Machine(RuleBasedStateMachine):
    """What may happen on a connection; a subclass says to which engines."""

    engines: tuple[Maker, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.sides = [Witness(engine) for engine in self.engines]

    def agree(self, said: list[Any]) -> None:
        assert all(one == said[0] for one in said)

    def send(self, data: bytes, cut: int = 0) -> None:
        self.agree([side.send(data, cut) for side in self.sides])

    # The peer.

    @rule(message=st.sampled_from(range(len(GOOD))), cut=CUTS)
    def ask(self, message: int, cut: int) -> None:
        self.send(GOOD[message], cut)

    @rule(message=st.sampled_from(range(len(BAD))), cut=CUTS)
    def ask_badly(self, message: int, cut: int) -> None:
        self.send(BAD[message], cut)

    @rule(piece=st.sampled_from(range(len(BODIES))), cut=CUTS)
    def send_body(self, piece: int, cut: int) -> None:
        self.send(BODIES[piece], cut)

    @rule(data=st.binary(max_size=8))
    def send_anything(self, data: bytes) -> None:
        self.send(data)

    @rule(most=st.sampled_from([1, 7, 3_000]))
    def read(self, most: int) -> None:
        self.agree([side.read(most) for side in self.sides])

    @rule()
    def go_on(self) -> None:
        self.agree([side.go_on() for side in self.sides])

    @rule()
    def end_input(self) -> None:
        self.agree([side.end_input() for side in self.sides])

    # The server.

    @rule(size=SIZES, end=st.sampled_from([True, True, False]), status=st.sampled_from([200, 200, 204, 304, 404, 500]),
          announced=st.sampled_from([None, None, 2, 502]))  # fmt: skip
    def respond(self, size: int, end: bool, status: int, announced: int | None) -> None:
        for side in self.sides:
            side.respond(b"b" * size, end=end, announced=announced, status=status)

    @rule(size=SIZES, end=st.booleans())
    def write(self, size: int, end: bool) -> None:
        for side in self.sides:
            side.write(b"c" * size, end=end)

    @rule(what=st.sampled_from(["end_with_trailers", "inform", "upgrade", "cancel"]))
    def do(self, what: str) -> None:
        for side in self.sides:
            getattr(side, what)()

    @rule(last=st.booleans())
    def shut_down(self, last: bool) -> None:
        for side in self.sides:
            if last:
                side.adapter.goodbye()
            else:
                side.adapter.announce_shutdown()

    @invariant()
    def both_are_in_the_same_state(self) -> None:
        self.agree([side.look() for side in self.sides])
        self.agree([
            (side.adapter.closing, side.adapter.cut, side.adapter.open_streams, side.adapter.partial_head,
             side.adapter.input_ready, side.adapter.wants_input)
            for side in self.sides
        ])  # fmt: skip

    def teardown(self) -> None:
        for side in self.sides:
            side.finish()


class H11Machine(Http1Machine):
    """h11 by itself."""

    engines = (H11Adapter,)


class HttptoolsMachine(Http1Machine):
    """httptools by itself."""

    engines = (HttptoolsAdapter,)


class BothMachine(Http1Machine):
    """Both, in lockstep."""

    engines = (H11Adapter, HttptoolsAdapter)


# The same on every run, however slow the machine; `make fuzz TARGET=http1_dialogue` looks further.
SETTINGS = hypothesis_settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
TestH11 = H11Machine.TestCase
TestH11.settings = SETTINGS
TestHttptools = HttptoolsMachine.TestCase
TestHttptools.settings = SETTINGS
TestBoth = BothMachine.TestCase
TestBoth.settings = SETTINGS
