"""What must survive, with FastCGI and SCGI: applications that misbehave, and clients that vanish, over the wire."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from tests.server.processes import descriptors, wait_until
from tests.wire.clients import Http1
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

END = b"\x01\x03\x00\x01\x00\x08\x00\x00" + bytes(8)
HEAD = b"Content-Type: text/plain\r\n\r\n"
PIECE = b"x" * 60_000
VANISHING = 1000
WAVE = 100


def record(data: bytes) -> bytes:
    return struct.pack("!BBHHBx", 1, 6, 1, len(data), 0) + data


class BackEnd:
    """A FastCGI application, a thread for each connection; what it does, the path of the request says.

    Attributes:
        sent_bytes: of endless answers.
        open: connections that have not ended here.
    """

    def __init__(self, path: Path) -> None:
        self.sent_bytes = 0
        self.open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(512)
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(60)
            self.open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError), sock.makefile("rb") as file:
            while self._answer(sock, file):
                pass
        self.open.discard(sock)

    def _answer(self, sock: socket.socket, file: BinaryIO) -> bool:
        variables = b""
        while True:
            kind, data = self._record(file)
            if kind == 4 and not data:
                break
            variables += data
        if b"/early" in variables:
            sock.sendall(record(HEAD + b"early") + END)
        size = 0
        while True:
            kind, data = self._record(file)
            if not data:
                break
            size += len(data)
        if b"/silent" in variables:
            file.read(1)  # until the server has had enough
            return False
        if b"/cut" in variables:
            sock.sendall(record(HEAD + b"half"))
            return False
        if b"/endless" in variables:
            sock.sendall(record(HEAD))
            while True:
                sock.sendall(record(PIECE))
                self.sent_bytes += len(PIECE)
        if b"/early" not in variables:
            sock.sendall(record(HEAD + b"%d" % size) + END)
        return True

    def _record(self, file: BinaryIO) -> tuple[int, bytes]:
        header = file.read(8)
        if len(header) < 8:
            raise ConnectionResetError
        _version, kind, _identity, length, padding, _ = struct.unpack("!BBHHBB", header)
        return kind, file.read(length + padding)[:length]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in (self._accepting, *self._threads):
            thread.join(20)


@pytest.fixture(scope="module")
def back_end(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackEnd]:
    made = BackEnd(tmp_path_factory.getbasetemp() / f"back-end-{engine}.sock")
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(
    back_end: BackEnd, engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server in front of it: /fast with patience, /hurry without."""
    assert back_end is not None
    directory = tmp_path_factory.mktemp(f"back-end-{engine}")
    path = tmp_path_factory.getbasetemp() / f"back-end-{engine}.sock"
    site = "".join(
        f"""
[[site.route]]
path = "/{name}"
[site.route.fastcgi]
upstream = "unix:{path}"
timeouts = {{ first_byte_seconds = {seconds} }}
"""
        for name, seconds in (("fast", 60), ("hurry", 0.5))
    )
    write_config(directory, certificates, site, engine=engine)
    with running(directory) as process:
        yield process


def test_one_that_says_nothing_is_504(client: Client) -> None:
    assert client.request("GET", "/hurry/silent").status == 504
    assert client.request("GET", "/hurry/count").body == b"0"


def test_an_answer_before_the_body_is_sent_gets_through(client: Client) -> None:
    if isinstance(client, Http1):
        client.send(b"POST /fast/early HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 30_000)
        found = client.answer()
    else:
        stream = client.open("POST", "/fast/early", {"content-length": "2000000"}, end=False)
        client.send_body(stream, b"x" * 30_000, end=False)
        found = client.answer(stream)
    assert (found.status, found.body) == (200, b"early")


def test_one_that_closes_in_the_middle_breaks_the_answer(client: Client) -> None:
    found = client.request("GET", "/fast/cut")
    assert found.reset is not None


def test_head_with_a_body_confuses_nobody(client: Client) -> None:
    for path in ("/fast/count", "/fast/endless"):
        found = client.request("HEAD", path)
        assert (found.status, found.body) == (200, b"")
    assert client.request("POST", "/fast/count", {"content-length": "70000"}, b"x" * 70_000).body == b"70000"


def test_what_nobody_reads_is_not_read(dial: Dial, server: ServerProcess, back_end: BackEnd) -> None:
    (worker,) = server.workers()

    def resident() -> int:
        return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096

    assert dial.h2().request("GET", "/fast/count").status == 200
    before, sent = resident(), back_end.sent_bytes
    client = dial.raw()
    client.send(*(client.head(stream, "/fast/endless") for stream in range(1, 40, 2)))
    assert client.until(lambda: len(client.statuses) == 20)
    stands_still = [-1]

    def stopped() -> bool:
        stands_still.append(back_end.sent_bytes)
        return stands_still[-1] == stands_still[-20] if len(stands_still) > 20 else False

    wait_until(stopped, 20)
    assert back_end.sent_bytes - sent < 20 * 1_500_000  # mostly in the sockets between the two
    assert resident() - before < 20 * 2 * 65_536 + 10_000_000
    client.close()
    wait_until(lambda: not back_end.open or len(back_end.open) <= 32, 20)


def test_a_thousand_clients_that_vanish_leave_nothing(dial: Dial, server: ServerProcess, back_end: BackEnd) -> None:
    """Some in an upload, some in a download, some before the answer; many of them at once."""
    (worker,) = server.workers()
    other = dial.h2()
    assert other.request("GET", "/fast/count").status == 200
    for _ in range(VANISHING // WAVE):
        socks = []
        for number in range(WAVE // 10):
            client = dial.raw()
            streams = range(1, 21, 2)
            if number % 3 == 0:
                client.send(*(client.head(stream, "/fast/endless") for stream in streams))
            elif number % 3 == 1:
                client.send(*(client.head(stream, "/fast/silent") for stream in streams))
            else:
                client.send(*(client.head(stream, "/fast/count", "POST", end=False) for stream in streams))
            socks.append(client)
        wait_until(lambda: len(back_end.open) >= WAVE // 2, 20)
        for client in socks:
            client.close()
    wait_until(lambda: len(back_end.open) <= 32, 30)  # those that are kept for the next requests
    assert other.request("GET", "/fast/count").status == 200
    wait_until(lambda: len(descriptors(worker)) < 32 + 40, 20)
    assert not [event for event in server.events() if event["level"] == "error"]
