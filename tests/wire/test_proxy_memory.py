"""What a slow side costs: many proxied streams whose other end takes nothing hold two buffers each, and no more.

Bodies without an end are sent to clients that read nothing, and to servers that take nothing. What the kernel has room
for moves; the worker's own memory may grow by two buffers of 64 kB a stream, and by what connections need in any case.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.server.processes import wait_until
from tests.wire.raw_http2 import DATA, raw_frame
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.conftest import Dial

STREAMS = 60
BUFFERS_BYTES = 2 * 65_536
CONNECTIONS_BYTES = 96 << 10
"""A client's TLS and HTTP, the request's task, and the connection to the server behind."""
SLACK_BYTES = 8 << 20
"""What the allocator keeps, in any case."""
ENOUGH_BYTES = 3 * STREAMS * BUFFERS_BYTES
"""More than this has to be on its way in all, so that a worker which kept it would be found out."""
PIECE = b"x" * 65_536
LENGTH = 1 << 31
LIMITS = "request_body_bytes = 4294967296\nwrite_stall_seconds = 300"


def endless(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    """Sends for as long as somebody takes it."""
    conversation.sock.settimeout(60)
    conversation.send(f"HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")
    for _ in range(LENGTH // len(PIECE)):
        conversation.send(PIECE)
        upstream.sent_bytes += len(PIECE)
    return False


def deaf(upstream: RawUpstream, _conversation: Conversation, _seen: Seen) -> bool:
    """Reads the head alone."""
    upstream.proceed.wait(60)
    return False


def plain(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    conversation.read_body(seen)
    conversation.answer(b"plain")
    return True


@pytest.fixture
def behind() -> Iterator[RawUpstream]:
    """Takes nothing, or sends without an end."""
    made = RawUpstream({"/": plain, "/endless": endless, "/deaf": deaf})
    yield made
    made.close()


@pytest.fixture
def server(engine: str, tmp_path: Path, certificates: TestCertificates, behind: RawUpstream) -> Iterator[ServerProcess]:
    """A proxy before it."""
    site = f'[site.proxy]\nupstreams = ["{behind.url}"]\n'
    write_config(tmp_path, certificates, site, engine=engine, limits=LIMITS)
    with serving(tmp_path) as process:
        yield process


def private_bytes(server: ServerProcess) -> int:
    """The memory that the worker shares with nobody."""
    (worker,) = server.workers()
    text = Path(f"/proc/{worker}/smaps_rollup").read_text()
    return sum(int(size) << 10 for size in re.findall(r"^Private_\w+: +(\d+) kB", text, re.MULTILINE))


def pushed(socks: list[socket.socket], data: bytes) -> int:
    """How much of `data`, again and again, goes to all of them: enough, and on until none takes any for a second."""
    count = 0
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_WRITE)
        while ready := selector.select(1 if count > ENOUGH_BYTES else 30):
            for key, _mask in ready:
                assert isinstance(key.fileobj, socket.socket)
                with contextlib.suppress(ssl.SSLWantWriteError):
                    count += key.fileobj.send(data)
    return count


def allowed_bytes(streams: int) -> int:
    return streams * (BUFFERS_BYTES + CONNECTIONS_BYTES) + SLACK_BYTES


def test_downloads_that_nobody_reads(dial: Dial, server: ServerProcess, behind: RawUpstream) -> None:
    assert dial.h1().request("GET", "/").status == 200
    before = private_bytes(server)
    for _ in range(STREAMS // 2):
        client = dial.h1()
        client.send(f"GET /endless HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
    several = dial.raw()
    several.send(*(several.head(2 * number + 1, "/endless") for number in range(STREAMS // 2)))
    wait_until(lambda: sum(seen.path == "/endless" for seen in behind.requests) == STREAMS, 60)
    was = -1

    def at_rest() -> bool:
        nonlocal was
        was, now = behind.sent_bytes, behind.sent_bytes
        for _ in range(5):
            assert dial.h1().request("GET", "/").status == 200, "others do not notice"
        return was == behind.sent_bytes == now > ENOUGH_BYTES

    wait_until(at_rest, 60)
    grown = private_bytes(server) - before

    assert grown < allowed_bytes(STREAMS), f"{grown / STREAMS:.0f} bytes a stream"


def test_uploads_that_nobody_takes(dial: Dial, server: ServerProcess, behind: RawUpstream) -> None:
    assert dial.h1().request("GET", "/").status == 200
    before = private_bytes(server)
    several = dial.raw()
    socks: list[socket.socket] = []
    for number in range(STREAMS // 2):
        client = dial.h1()
        client.send(f"POST /deaf HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: {LENGTH}\r\n\r\n".encode())
        socks.append(client.sock)
        stream_id = 2 * number + 1
        several.send(
            several.head(stream_id, "/deaf", "POST", end=False),
            *[raw_frame(DATA, 0, stream_id, b"x" * 1024)] * 2,
        )
    wait_until(lambda: sum(seen.path == "/deaf" for seen in behind.requests) == STREAMS, 60)
    for sock in socks:
        sock.setblocking(False)
    sent = pushed(socks, PIECE[:16_000])
    grown = private_bytes(server) - before

    assert sent > ENOUGH_BYTES
    assert grown < allowed_bytes(STREAMS), f"{grown / STREAMS:.0f} bytes a stream"
    assert dial.h1().request("GET", "/").status == 200, "others do not notice"
