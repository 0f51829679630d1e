"""Group 10: what a server holds, at rest, for each idle connection, and for clients that do not read.

Memory is that of all processes of a server, shared pages divided among them (Pss). An idle connection has made a
request and waits; the difference is taken after others have come and gone, so that what is allocated once is not
counted.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack

import h2.config
import h2.connection
import h2.events
import h2.settings

from benchmarks.peers.peer import Ability
from benchmarks.processes import BenchmarkError, Running, client_context
from benchmarks.rounds import Effort, Measure, Metric, Workload
from benchmarks.setting import LARGE, SMALL, connection_limit

WARM_UP_CONNECTIONS = 50
SLOW_READERS = 500
SLOW_RECEIVE_BYTES = 8_192
STREAM_WINDOW_BYTES = 1 << 24
"""What a slow reader of HTTP/2 allows: more than the file, so that only the server's own bounds hold."""
ANSWER_SECONDS = 10
OPEN_SECONDS = 120.0
"""For all connections of a measurement together."""

AT_REST = Metric("rest", "MB", more_is_better=False, decimals=1)
EACH = Metric("each", "kB/connection", more_is_better=False, decimals=1)


def _received(sock: ssl.SSLSocket) -> bytes:
    data = sock.recv(65_536)
    if not data:
        raise BenchmarkError("the server closed the connection")
    return data


def request_over_h1(sock: ssl.SSLSocket) -> None:
    """One request, its answer read to the end; the connection stays open."""
    sock.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % SMALL.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _received(sock)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise BenchmarkError(f"not the answer that was expected: {head[:200]!r}")
    while len(body) < int(length[1]):
        body += _received(sock)


def _ask_over_h2(sock: ssl.SSLSocket, path: str, window: int) -> h2.connection.H2Connection:
    session = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    session.initiate_connection()
    if window:
        session.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        session.increment_flow_control_window(window)
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
    session.send_headers(1, fields, end_stream=True)
    sock.sendall(session.data_to_send())
    return session


def request_over_h2(sock: ssl.SSLSocket) -> None:
    """The same over HTTP/2."""
    session = _ask_over_h2(sock, SMALL, 0)
    while True:
        for event in session.receive_data(_received(sock)):
            if isinstance(event, h2.events.StreamEnded):
                sock.sendall(session.data_to_send())
                return
            if isinstance(event, h2.events.ResponseReceived) and (b":status", b"200") not in event.headers:
                raise BenchmarkError(f"not the answer that was expected: {event.headers!r}")
        sock.sendall(session.data_to_send())


REQUESTS = {"http/1.1": request_over_h1, "h2": request_over_h2}


def _connect(stack: ExitStack, target: Running, context: ssl.SSLContext, receive_bytes: int = 0) -> ssl.SSLSocket:
    plain = socket.socket()
    if receive_bytes:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    plain.settimeout(ANSWER_SECONDS)
    plain.connect(("127.0.0.1", target.port))
    return stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))


def open_connections(stack: ExitStack, target: Running, protocol: str, count: int) -> None:
    """Open `count` connections that have made a request each; `stack` closes them.

    Errors: BenchmarkError, OSError.
    """
    context = client_context(target.setting, protocol)
    deadline = time.monotonic() + OPEN_SECONDS
    for number in range(count):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"has taken {number} connections in {OPEN_SECONDS:g} seconds")
        sock = _connect(stack, target, context)
        if sock.selected_alpn_protocol() != protocol:
            raise BenchmarkError(f"does not speak {protocol}")
        REQUESTS[protocol](sock)


def at_rest(target: Running, _effort: Effort) -> Mapping[str, float]:
    """Everything, before the first request."""
    return {"rest": target.kilobytes() / 1024}


def idle(protocol: str, count: int) -> Measure:
    """An idle connection, from `count` of them or as many as the limit of descriptors allows."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        number = min(count, connection_limit() - WARM_UP_CONNECTIONS) // (10 if effort.quick else 1)
        with ExitStack() as stack:
            open_connections(stack, target, protocol, WARM_UP_CONNECTIONS)
            before = target.kilobytes()
            open_connections(stack, target, protocol, number)
            return {"each": (target.kilobytes() - before) / number}

    return measure


def slow_readers(protocol: str) -> Measure:
    """Clients that ask for 10 MB and read nothing of it: what each makes the server hold."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        number = SLOW_READERS // (5 if effort.quick else 1)
        context = client_context(target.setting, protocol)
        with ExitStack() as stack:
            open_connections(stack, target, protocol, WARM_UP_CONNECTIONS)
            before = target.kilobytes()
            for _ in range(number):
                sock = _connect(stack, target, context, SLOW_RECEIVE_BYTES)
                if protocol == "h2":
                    _ask_over_h2(sock, LARGE, STREAM_WINDOW_BYTES)
                else:
                    sock.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % LARGE.encode())
            # The last one has its answer begun once all before it had their turn.
            _received(sock)
            return {"each": (target.kilobytes() - before) / number}

    return measure


_REST = frozenset({Ability.SMALL_FILES, Ability.HTTP1})
_H1, _H2 = frozenset({Ability.SMALL_FILES, Ability.HTTP1}), frozenset({Ability.SMALL_FILES, Ability.HTTP2})
_SLOW_H1, _SLOW_H2 = frozenset({Ability.FILES, Ability.HTTP1}), frozenset({Ability.FILES, Ability.HTTP2})


def _row(name: str, measure: Measure, needs: frozenset[Ability], *, long: bool = False) -> Workload:
    return Workload(10, name, measure, needs, (EACH,), fresh=True, long=long)


WORKLOADS = (
    Workload(10, "memory at rest", at_rest, _REST, (AT_REST,), fresh=True),
    _row("idle connection, HTTP/1.1, of 2,000", idle("http/1.1", 2_000), _H1),
    _row("idle connection, HTTP/2, of 2,000", idle("h2", 2_000), _H2),
    _row("idle connection, HTTP/1.1, of 10,000", idle("http/1.1", 10_000), _H1, long=True),
    _row("idle connection, HTTP/2, of 10,000", idle("h2", 10_000), _H2, long=True),
    _row("slow reader of 10 MB, HTTP/1.1, of 500", slow_readers("http/1.1"), _SLOW_H1),
    _row("slow reader of 10 MB, HTTP/2, of 500", slow_readers("h2"), _SLOW_H2),
)
