"""What a server holds: a worker at rest, an idle connection, and a very large download.

Resident memory is read from /proc, of the processes that serve. An idle connection is one that has made a request and
waits; the differences are taken after others have come and gone, so that what is allocated once is not counted.
"""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import h2.config
import h2.connection
import h2.events

from benchmarks.harness import RUN_SECONDS, BenchmarkError, Running, client_context, cores, on_core
from benchmarks.servers import HUGE_FILE, SMALL_FILE, Bench

SAMPLE_SECONDS = 0.02
WARM_UP_CONNECTIONS = 50


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of one server, in kB.

    Attributes:
        rest: resident memory of a worker before the first request.
        rest_shared_out: the same with shared pages divided among those that share them (Pss).
        connection_h1, connection_h2: of an idle connection.
        download_growth: the most that a worker grew during the large download.
        download_megabytes_per_second: how fast that was, on HTTP/2.
    """

    rest: int
    rest_shared_out: int
    connection_h1: float
    connection_h2: float
    download_growth: int
    download_megabytes_per_second: float


def resident_kilobytes(process_ids: list[int], field: str = "Rss") -> int:
    """Memory of these processes together; `field` is one of /proc/PID/smaps_rollup."""
    total = 0
    for process_id in process_ids:
        found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{process_id}/smaps_rollup").read_text(), re.MULTILINE)
        if found is None:
            raise BenchmarkError(f"the kernel does not say {field} of process {process_id}")
        total += int(found[1])
    return total


def request_over_h1(sock: ssl.SSLSocket) -> None:
    """One request, its answer read to the end; the connection stays open."""
    sock.sendall(b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % SMALL_FILE.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _received(sock)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise BenchmarkError(f"not the answer that was expected: {head[:200]!r}")
    while len(body) < int(length[1]):
        body += _received(sock)


def request_over_h2(sock: ssl.SSLSocket) -> None:
    """The same over HTTP/2."""
    session = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    session.initiate_connection()
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", f"/{SMALL_FILE}")]
    session.send_headers(1, fields, end_stream=True)
    while True:
        sock.sendall(session.data_to_send())
        for event in session.receive_data(_received(sock)):
            if isinstance(event, h2.events.StreamEnded):
                sock.sendall(session.data_to_send())
                return
            if isinstance(event, h2.events.ResponseReceived) and (b":status", b"200") not in event.headers:
                raise BenchmarkError(f"not the answer that was expected: {event.headers!r}")


def _received(sock: ssl.SSLSocket) -> bytes:
    data = sock.recv(65_536)
    if not data:
        raise BenchmarkError("the server closed the connection")
    return data


REQUESTS = {"http/1.1": request_over_h1, "h2": request_over_h2}


def open_connections(stack: ExitStack, target: Running, bench: Bench, protocol: str, count: int) -> None:
    """Open `count` connections that have made a request each; `stack` closes them."""
    context = client_context(bench, protocol)
    for _ in range(count):
        plain = socket.create_connection(("127.0.0.1", target.port), timeout=10)
        sock = stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
        if sock.selected_alpn_protocol() != protocol:
            raise BenchmarkError(f"{target.server.name} does not speak {protocol}")
        REQUESTS[protocol](sock)


def connection_kilobytes(target: Running, bench: Bench, protocol: str, count: int) -> float:
    """Resident memory of one idle connection, from `count` of them.

    Errors: BenchmarkError, OSError.
    """
    with ExitStack() as stack:
        open_connections(stack, target, bench, protocol, WARM_UP_CONNECTIONS)
        before = resident_kilobytes(target.worker_ids())
        open_connections(stack, target, bench, protocol, count)
        return (resident_kilobytes(target.worker_ids()) - before) / count


def download(target: Running, bench: Bench, size: int) -> tuple[int, float]:
    """(growth in kB, MB/s) while one client takes a sparse file of `size` bytes over HTTP/2.

    Errors: BenchmarkError if it does not arrive whole.
    """
    with (bench.site / HUGE_FILE).open("wb") as huge:
        huge.truncate(size)
    before = most = resident_kilobytes(target.worker_ids())
    options = ["--http2", "--cacert", str(bench.authority), "-sSf", "-o", "/dev/null", "-w", "%{size_download}"]
    url = f"https://localhost:{target.port}/{HUGE_FILE}"
    started = time.monotonic()
    process = subprocess.Popen(
        on_core(cores()[1], ["curl", *options, url]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while process.poll() is None:
            if time.monotonic() - started > RUN_SECONDS:
                raise BenchmarkError(f"{target.server.name}: no end of the download after {RUN_SECONDS:g} seconds")
            most = max(most, resident_kilobytes(target.worker_ids()))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.monotonic() - started
        output, errors = process.communicate()
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0 or output != str(size):
        raise BenchmarkError(f"{target.server.name}: download of {size} bytes ended with {output}: {errors[-300:]}")
    return most - before, size / seconds / 1e6


def measure(target: Running, bench: Bench, connections: int, download_bytes: int) -> Footprint:
    """Everything, on a server that was just started.

    Errors: BenchmarkError, OSError.
    """
    rest = resident_kilobytes(target.worker_ids())
    rest_shared_out = resident_kilobytes(target.worker_ids(), "Pss")
    connection_h1 = connection_kilobytes(target, bench, "http/1.1", connections)
    connection_h2 = connection_kilobytes(target, bench, "h2", connections)
    growth, speed = download(target, bench, download_bytes)
    return Footprint(rest, rest_shared_out, connection_h1, connection_h2, growth, speed)
