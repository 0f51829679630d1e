"""Clients that vanish: in every phase, many of them; nothing of theirs stays behind, and nobody else notices."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.server.processes import wait_until
from tests.wire.clients import Http1
from tests.wire.raw_http2 import DATA, HEADERS, raw_frame
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.certificates import TestCertificates
    from tests.wire.conftest import Dial

HERE = Path(__file__).parent
SITE = f"""
root = "site"

[[site.route]]
path = "/app"
[site.route.asgi]
app = "raw_apps:app"
app_directory = "{HERE}"

[[site.route]]
path = "/status"
status_page = {{}}
"""
MANY = 200
STREAMS = 50
"""On each connection of HTTP/2 in the wave of a thousand."""
MEMORY_BYTES = 8 << 20
"""What a worker may have grown by after 200 clients: allocators keep some, a leak of a session each would be more."""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server with a long file and an application."""
    directory = tmp_path_factory.mktemp(f"vanishing-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "index.html").write_text("hello\n")
    with (directory / "site" / "long").open("wb") as file:
        file.truncate(1 << 30)
    patient = "body_grace_seconds = 300\nwrite_stall_seconds = 300"  # it is not time that ends what clients left
    write_config(directory, certificates, SITE, engine=engine, limits=patient)
    with serving(directory) as process:
        yield process


def descriptors(server: ServerProcess) -> int:
    (worker,) = server.workers()
    return len(list(Path(f"/proc/{worker}/fd").iterdir()))


@pytest.fixture(scope="module")
def at_rest(server: ServerProcess, certificates: TestCertificates) -> int:
    """How many descriptors the worker has open without clients, once it knows the long file."""
    client = Http1(server.port, certificates.ca)
    assert client.request("HEAD", "/long").status == 200
    assert client.request("GET", "/").status == 200
    busy = descriptors(server)
    client.close()
    until_free(server, busy - 1)
    return busy - 1


def resident_bytes(server: ServerProcess) -> int:
    (worker,) = server.workers()
    pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
    return pages * 4096


def vanish(sock: socket.socket, *, reset: bool) -> None:
    """Close without a word of TLS: with RST, or with FIN."""
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def before_a_word(dial: Dial) -> socket.socket:
    return socket.create_connection(("127.0.0.1", dial.server.port))


def in_the_client_hello(dial: Dial) -> socket.socket:
    sock = before_a_word(dial)
    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    return sock


def in_the_handshake(dial: Dial) -> socket.socket:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sock = before_a_word(dial)
    sock.sendall(outgoing.read())
    assert sock.recv(1)
    return sock


def after_the_handshake(dial: Dial) -> socket.socket:
    return dial.h1().sock


def in_a_head(dial: Dial) -> socket.socket:
    client = dial.h1()
    client.send(b"GET / HTTP/1.1\r\nHost: ")
    return client.sock


def in_a_download(dial: Dial) -> socket.socket:
    client = dial.h1()
    client.send(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.read_head().status == 200
    return client.sock


def in_an_upload(dial: Dial) -> socket.socket:
    client = dial.h1()
    client.send(b"POST /app/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 30_000)
    return client.sock


def in_an_application(dial: Dial) -> socket.socket:
    client = dial.h1()
    client.send(b"GET /app/stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.read_head().status == 200
    return client.sock


def in_http2_downloads(dial: Dial) -> socket.socket:
    client = dial.raw({4: 1 << 20})
    client.send(*(client.head(stream_id, "/long") for stream_id in range(1, 20, 2)))
    assert client.until(lambda: bool(client.statuses))
    return client.sock


def in_http2_uploads(dial: Dial) -> socket.socket:
    client = dial.raw()
    for stream_id in range(1, 10, 2):
        client.send(
            client.head(stream_id, "/app/upload", "POST", end=False), raw_frame(DATA, 0, stream_id, b"x" * 9000)
        )
    return client.sock


def in_http2_applications(dial: Dial) -> socket.socket:
    client = dial.raw()
    client.send(*(client.head(stream_id, "/app/stream") for stream_id in range(1, 10, 2)))
    assert client.until(lambda: bool(client.statuses))
    return client.sock


def in_an_http2_head(dial: Dial) -> socket.socket:
    client = dial.raw()
    client.send(raw_frame(HEADERS, 0, 1, b"\x82"))
    return client.sock


PHASES: list[Callable[[Dial], socket.socket]] = [
    before_a_word, in_the_client_hello, in_the_handshake, after_the_handshake, in_a_head, in_a_download, in_an_upload,
    in_an_application, in_http2_downloads, in_http2_uploads, in_http2_applications, in_an_http2_head,
]  # fmt: skip


def until_free(server: ServerProcess, count: int) -> None:
    """Wait until the worker has given back what it had opened for clients."""
    deadline = time.monotonic() + 10
    while descriptors(server) > count:
        assert time.monotonic() < deadline, f"{descriptors(server)} descriptors, {count} before"
        time.sleep(0.02)


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "end"])
@pytest.mark.parametrize("phase", PHASES)
def test_nothing_stays_behind(
    dial: Dial, server: ServerProcess, at_rest: int, phase: Callable[[Dial], socket.socket], reset: bool
) -> None:
    socks = [phase(dial) for _ in range(5)]
    other = dial.h2()
    assert other.request("GET", "/").status == 200
    for sock in socks:
        vanish(sock, reset=reset)
    until_free(server, at_rest + 1)
    assert other.request("GET", "/").status == 200, "another connection does not notice"
    assert server.count_events(level="error") == 0


def test_two_hundred_clients_leave_no_descriptor_and_no_memory(dial: Dial, server: ServerProcess, at_rest: int) -> None:
    phases = [in_a_download, in_an_upload, in_http2_downloads, in_http2_uploads, in_http2_applications]

    def wave() -> None:
        for number in range(MANY):
            vanish(phases[number % len(phases)](dial), reset=bool(number % 2))

    first = dial.h2()
    assert first.request("GET", "/").status == 200
    warned = server.count_events(level="warning")  # that it runs as root, if the tests do
    wave()
    until_free(server, at_rest + 1)
    resident = resident_bytes(server)
    wave()
    until_free(server, at_rest + 1)
    assert resident_bytes(server) - resident < MEMORY_BYTES
    assert first.request("GET", "/").status == 200
    assert server.count_events(level="error") == 0
    assert server.count_events(level="warning") == warned


def test_a_thousand_at_once_leave_no_stream_task_or_process(dial: Dial, server: ServerProcess, at_rest: int) -> None:
    witness = dial.h2()
    assert witness.request("GET", "/").status == 200

    def under_way() -> tuple[int, int]:
        """Connections and requests of the worker, by its own count, and the one that asks is among them."""
        values = json.loads(witness.request("GET", "/status", {"accept": "application/json"}).body)
        return sum(values["connections"].values()), values["streams"]

    (worker,) = server.workers()
    idle = wait_until(lambda: now if (now := under_way())[0] == 1 else None)
    socks = [phase(dial) for phase in (in_a_download, in_an_upload, in_an_application) for _ in range(34)]
    for number in range(18):
        client = dial.raw()
        paths = ("/long", "/app/stream", "/app/upload")
        for stream_id in range(1, 2 * STREAMS, 2):
            path = paths[(number + stream_id) % 3]
            client.send(client.head(stream_id, path, "POST" if path == "/app/upload" else "GET", end=path != paths[2]))
        socks.append(client.sock)
    wait_until(lambda: under_way()[1] >= 1000)
    for number, sock in enumerate(socks):
        vanish(sock, reset=bool(number % 2))
    until_free(server, at_rest + 1)
    wait_until(lambda: under_way() == idle)
    assert not Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    assert server.workers() == [worker]
    assert server.count_events(level="error") == 0
