"""Connections as such: how many there may be, and how they end when the server stops."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.server.processes import wait_until
from tests.wire.clients import Http1, Http2
from tests.wire.raw_http2 import DATA, GOAWAY, RawHttp2, raw_frame, window_update
from tests.wire.server_process import serving, write_config

if TYPE_CHECKING:
    from tests.certificates import TestCertificates

LONG_BYTES = 24 << 20
SITE = f"""
root = "site"

[[site.route]]
path = "/app"
[site.route.asgi]
app = "raw_apps:app"
app_directory = "{Path(__file__).parent}"
"""
RESPOND = 'respond = { body = "hello\\n" }'


def test_connection_limit_makes_newcomers_wait(tmp_path: Path, certificates: TestCertificates, engine: str) -> None:
    write_config(tmp_path, certificates, RESPOND, engine=engine, limits="connections = 3")
    with serving(tmp_path) as server:
        clients = [Http1(server.port, certificates.ca) for _ in range(3)]
        assert all(client.request("GET", "/").status == 200 for client in clients)
        waiting = socket.create_connection(("127.0.0.1", server.port))  # the kernel accepts it, the server does not yet
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        server.wait_for_event("connection limit reached")
        waiting.settimeout(0.5)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        assert clients[1].request("GET", "/").status == 200, "those that are in are served"
        clients.pop().close()
        waiting.settimeout(30)
        assert waiting.recv(65_536).startswith(b"HTTP/1.1 308 ")
        waiting.close()
        for client in clients:
            client.close()


def test_running_out_of_descriptors_pauses_accepting(
    tmp_path: Path, certificates: TestCertificates, engine: str
) -> None:
    write_config(tmp_path, certificates, RESPOND, engine=engine)
    with serving(tmp_path) as server:
        (worker,) = server.workers()
        first = Http2(server.port, certificates.ca)
        assert first.request("GET", "/").status == 200
        soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (30, hard))
        socks = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        server.wait_for_event("cannot accept")
        assert first.request("GET", "/").status == 200
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        for sock in socks:
            sock.close()
        later = Http1(server.port, certificates.ca)
        assert later.request("GET", "/").status == 200
        later.close()
        first.close()


def test_stop_lets_open_requests_end(tmp_path: Path, certificates: TestCertificates, engine: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("hello\n")
    with (tmp_path / "site" / "long").open("wb") as file:
        file.truncate(LONG_BYTES)
    write_config(tmp_path, certificates, 'root = "site"', engine=engine)
    with serving(tmp_path) as server:
        idle_h1, h1 = Http1(server.port, certificates.ca), Http1(server.port, certificates.ca)
        idle_h2 = RawHttp2(server.port, certificates.ca)
        h2 = RawHttp2(server.port, certificates.ca, values={4: 1 << 30})
        assert idle_h2.works(1)
        assert idle_h1.request("GET", "/").status == 200
        h2.send(window_update(0, 1 << 30), h2.head(1, "/long"))
        assert h2.until(lambda: bool(h2.statuses))
        h1.send(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        assert h1.read_head().status == 200
        server.send_signal(signal.SIGTERM)
        assert idle_h1.ended()
        assert not idle_h1.cut
        assert idle_h2.goaway() == (1, 0)
        idle_h1.close()
        idle_h2.close()
        assert h2.goaway() == (1, 0)
        h2.close()
        assert len(h2.body(1)) == LONG_BYTES
        assert h2.ended_streams() == {1}
        body, whole = h1.rest(LONG_BYTES)
        assert whole
        assert len(body) == LONG_BYTES
        assert h1.ended()
        h1.close()
        assert server.process.wait(15) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


def test_a_slow_reader_of_the_last_answer_gets_all_of_it_while_the_server_stops(
    tmp_path: Path, certificates: TestCertificates, engine: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "page").write_bytes(bytes(120_000))
    write_config(tmp_path, certificates, 'root = "site"', engine=engine)
    with serving(tmp_path) as server:
        slow_h1 = Http1(server.port, certificates.ca, receive_bytes=4_096)
        slow_h1.send(b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert slow_h1.read_head().status == 200
        slow = RawHttp2(server.port, certificates.ca, values={4: 1 << 30}, receive_bytes=4_096)
        slow.send(window_update(0, 1 << 30), slow.head(1, "/page"), raw_frame(GOAWAY, 0, 0, bytes(8)))
        assert slow.until(lambda: bool(slow.statuses))
        server.send_signal(signal.SIGTERM)
        server.wait_for_event("stopping")
        body, whole = slow_h1.rest(120_000)
        assert whole
        assert len(body) == 120_000
        assert slow_h1.ended()
        assert not slow_h1.cut
        slow_h1.close()
        slow.finish()
        slow.close()
        assert len(slow.body(1)) == 120_000
        assert slow.ended_streams() == {1}
        assert server.process.wait(15) == 0
        assert not [event for event in server.events() if event["event"] == "tls broken"]


def rests(process: int) -> bool:
    """Whether it needs no more than a fifth of a processor for a second and a half."""
    before = processor_seconds(process)
    select.select([], [], [], 1.5)
    return processor_seconds(process) - before < 0.3


def processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_connections_that_wait_cost_no_processor_time(
    tmp_path: Path, certificates: TestCertificates, engine: str
) -> None:
    """Every state in which nothing can go on: a readiness that nobody takes would make the worker spin."""
    (tmp_path / "site").mkdir()
    with (tmp_path / "site" / "long").open("wb") as file:
        file.truncate(1 << 30)
    write_config(tmp_path, certificates, SITE, engine=engine)
    with serving(tmp_path) as server:
        (worker,) = server.workers()
        h1 = [Http1(server.port, certificates.ca) for _ in range(7)]
        get, app = b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /app/deaf HTTP/1.1\r\nHost: x\r\n"
        h1[0].send(get)  # does not read
        h1[1].send(get)
        h1[1].end_output()
        h1[2].send(get + get)  # pipelined, and more than is looked at
        h1[2].send(b"x" * 30_000)
        h1[3].send(app + b"Content-Length: 1000000\r\n\r\n" + b"x" * 400_000)  # a body that nobody reads
        h1[4].send(b"GET /app/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        h1[5].send(b"GET / HTTP/1.1\r\nHost: ")
        h2 = [RawHttp2(server.port, certificates.ca, values={4: 1000}) for _ in range(5)]
        h2[0].send(*(h2[0].head(stream_id, "/long") for stream_id in range(1, 40, 2)))  # no window
        h2[1].send(*(h2[1].head(stream_id, "/long") for stream_id in range(1, 40, 2)))
        socket.socket.shutdown(h2[1].sock, socket.SHUT_WR)
        h2[2].send(*(h2[2].head(stream_id, "/app/stream") for stream_id in range(1, 40, 2)))
        h2[3].send(h2[3].head(1, "/app/deaf", "POST", end=False), *[raw_frame(DATA, 0, 1, b"x" * 16_000)] * 4)
        h2[4].send(h2[4].head(1, "/long", "POST", end=False), raw_frame(DATA, 0, 1, b"x" * 16_000))  # 405, discarding
        half = socket.create_connection(("127.0.0.1", server.port))
        half.sendall(b"\x16\x03\x01")
        check = Http2(server.port, certificates.ca)
        assert check.request("GET", "/app/").status == 200
        wait_until(lambda: rests(worker), 60)  # soon, once what was to be done is done
        assert check.request("GET", "/app/").status == 200
        for sock in [*(client.sock for client in h1), *(client.sock for client in h2), check.sock, half]:
            sock.close()
