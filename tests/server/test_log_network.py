"""Logs over sockets: what a receiver gets, and receivers that are away, go away, or do not read."""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from securelight.config.logs import Output
from securelight.server.log_network import (
    LINE_BYTES,
    MOST_RETRY_SECONDS,
    UDP_LINE_BYTES,
    NetworkSink,
    journal_framing,
    network_sink,
    syslog_framing,
)
from securelight.server.log_sinks import BACKLOG_BYTES

SYSLOG = re.compile(
    rb"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [\x21-\x7e]{1,255} securelight \d+ access - (?P<line>.*)"
)


class Time:
    """A clock that is put forward by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def opened() -> Iterator[Callable[..., socket.socket]]:
    sockets: list[socket.socket] = []

    def make(family: socket.AddressFamily, kind: socket.SocketKind, address: Any) -> socket.socket:
        sock = socket.socket(family, kind)
        sockets.append(sock)
        sock.settimeout(15)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    yield make
    for sock in sockets:
        sock.close()


@pytest.fixture
def sinks() -> Iterator[list[NetworkSink]]:
    made: list[NetworkSink] = []
    yield made
    for sink in made:
        sink.close()


Open = Callable[..., socket.socket]


def test_syslog_over_a_local_socket(tmp_path: Path, opened: Open, sinks: list[NetworkSink]) -> None:
    receiver = opened(socket.AF_UNIX, socket.SOCK_DGRAM, str(tmp_path / "log"))
    sinks.append(sink := network_sink(Output("syslog", (str(tmp_path / "log"),), 3)))
    sink.write(b"first\nsecond\n")
    for text in (b"first", b"second"):
        match = SYSLOG.fullmatch(receiver.recv(65_536))
        assert match is not None
        assert match["line"] == text


def test_syslog_over_udp_is_short_enough_for_every_receiver(opened: Open, sinks: list[NetworkSink]) -> None:
    receiver = opened(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
    sinks.append(sink := network_sink(Output("syslog", (f"udp://127.0.0.1:{receiver.getsockname()[1]}",), 3)))
    sink.write(b"x" * 10_000 + b"\n")
    match = SYSLOG.fullmatch(receiver.recv(65_536))
    assert match is not None
    assert match["line"] == b"x" * UDP_LINE_BYTES


def messages(data: bytes) -> list[bytes]:
    """The messages of a TCP stream, each behind its length (RFC 6587)."""
    found = []
    while data:
        length, _, rest = data.partition(b" ")
        found.append(rest[: int(length)])
        data = rest[int(length) :]
    return found


def test_syslog_over_tcp_counts_its_messages_and_comes_back(opened: Open, sinks: list[NetworkSink]) -> None:
    listener = opened(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
    address = listener.getsockname()
    time = Time()
    sink = NetworkSink(socket.AF_INET, socket.SOCK_STREAM, address, syslog_framing(3, counted=True), time)
    sinks.append(sink)
    sink.write(b"first\n")
    connection, _ = listener.accept()
    with connection:
        sink.write(b"second\n" + b"x" * 20_000 + b"\n")
        received = b""
        connection.settimeout(15)
        while len(messages(received)) < 3 or len(messages(received)[-1]) < LINE_BYTES:
            received += connection.recv(65_536)
    lines = [match["line"] for message in messages(received) if (match := SYSLOG.fullmatch(message))]
    assert lines == [b"first", b"second", b"x" * LINE_BYTES]
    while not sink.trouble:
        sink.write(b"")  # until the end of the connection is seen
        sink.write(b"third\n")
        assert select.select([], [], [], 0.01)
    assert sink.dropped == 0
    time.now += MOST_RETRY_SECONDS
    sink.write(b"fourth\n")
    again, _ = listener.accept()
    with again:
        again.settimeout(15)
        sink.write(b"")
        received = b""
        while b"fourth" not in received:
            received += again.recv(65_536)
        match = SYSLOG.fullmatch(messages(received)[-1])
        assert match is not None
        assert match["line"] == b"fourth"


def test_a_daemon_that_is_restarted_gets_what_came_meanwhile(
    tmp_path: Path, opened: Open, sinks: list[NetworkSink]
) -> None:
    path = tmp_path / "log"
    time = Time()
    sink = NetworkSink(socket.AF_UNIX, socket.SOCK_DGRAM, str(path), syslog_framing(3), time)
    sinks.append(sink)
    sink.write(b"before it is there\n")
    assert sink.trouble
    receiver = opened(socket.AF_UNIX, socket.SOCK_DGRAM, str(path))
    sink.write(b"too early\n")
    time.now += 1
    sink.write(b"now\n")
    assert [receiver.recv(9000).rpartition(b" - ")[2] for _ in range(3)] == [
        b"before it is there",
        b"too early",
        b"now",
    ]
    receiver.close()
    path.unlink()
    sink.write(b"it is away\n")
    after = opened(socket.AF_UNIX, socket.SOCK_DGRAM, str(path))
    time.now += MOST_RETRY_SECONDS
    sink.write(b"it is back\n")
    assert [after.recv(9000).rpartition(b" - ")[2] for _ in range(2)] == [b"it is away", b"it is back"]
    assert sink.dropped == 0


def test_a_daemon_that_is_away_for_long_costs_the_oldest_lines(tmp_path: Path, sinks: list[NetworkSink]) -> None:
    sink = NetworkSink(socket.AF_UNIX, socket.SOCK_DGRAM, str(tmp_path / "nobody"), journal_framing(3), Time())
    sinks.append(sink)
    for _ in range(40):
        sink.write((b"x" * 1000 + b"\n") * 100)
    assert sink.dropped > 2000
    assert 4000 - sink.dropped < BACKLOG_BYTES / 1000, "what is kept is bounded"
    assert "No such file" in sink.trouble


def test_a_receiver_that_does_not_read_is_not_waited_for(
    tmp_path: Path, opened: Open, sinks: list[NetworkSink]
) -> None:
    receiver = opened(socket.AF_UNIX, socket.SOCK_DGRAM, str(tmp_path / "log"))
    sinks.append(sink := network_sink(Output("journal", (str(tmp_path / "log"),), 3)))
    for number in range(3000):
        sink.write(b"%d " % number + b"x" * 1000 + b"\n")
    assert sink.dropped > 0
    assert sink.trouble == "it does not keep up"
    first = receiver.recv(65_536)
    assert b"MESSAGE=0 xxx" in first, "what the receiver has stays"


def test_journal_entries(tmp_path: Path, opened: Open, sinks: list[NetworkSink]) -> None:
    receiver = opened(socket.AF_UNIX, socket.SOCK_DGRAM, str(tmp_path / "journal"))
    sinks.append(sink := network_sink(Output("journal", (str(tmp_path / "journal"),), 16)))
    sink.write(b'192.0.2.1 - - "GET / HTTP/2" 200 5\n')
    assert receiver.recv(65_536) == (
        b'PRIORITY=6\nSYSLOG_FACILITY=16\nSYSLOG_IDENTIFIER=securelight\nMESSAGE=192.0.2.1 - - "GET / HTTP/2" 200 5\n'
    )


def test_a_tcp_receiver_that_does_not_answer_is_given_up_for_a_while(sinks: list[NetworkSink]) -> None:
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        time = Time()
        sink = NetworkSink(socket.AF_INET, socket.SOCK_STREAM, unbound.getsockname(), syslog_framing(3), time)
        sinks.append(sink)
        for _ in range(20):
            sink.write(b"x\n")
            time.now += MOST_RETRY_SECONDS
        assert "refused" in sink.trouble
        assert sink.dropped == 0
