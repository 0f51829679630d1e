"""Requests in TLS records that do not come as the server reads them: nothing that has arrived is left lying."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.wire.clients import TIMEOUT_SECONDS
from tests.wire.raw_http2 import PREFACE, raw_frame, settings
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates

RECORD_BYTES = 16_384
UNKNOWN, PING, ACK = 0x77, 6, 1


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"records-{engine}")
    (directory / "site").mkdir()
    write_config(directory, certificates, 'root = "site"', engine=engine)
    with serving(directory) as process:
        yield process


class Records:
    """An HTTP/2 connection whose records leave together, in one call."""

    def __init__(self, port: int, ca: Path) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        context.set_alpn_protocols(["h2"])
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.send()
                self._incoming.write(self.sock.recv(65_536))

    def send(self, *records: bytes) -> None:
        for record in records:
            self._tls.write(record)
        self.sock.sendall(self._outgoing.read())

    def wait_for(self, frame: bytes) -> None:
        received = b""
        while frame not in received:
            try:
                received += self._tls.read(65_536)
            except ssl.SSLWantReadError:
                self._incoming.write(self.sock.recv(65_536))


def test_a_record_behind_one_that_takes_two_reads_is_seen_at_once(
    server: ServerProcess, certificates: TestCertificates
) -> None:
    client = Records(server.port, certificates.ca)
    try:
        client.send(PREFACE + settings() + raw_frame(PING, 0, 0, b"greeting"))
        client.wait_for(raw_frame(PING, ACK, 0, b"greeting"))
        filling = raw_frame(UNKNOWN, 0, 0, b"x" * (RECORD_BYTES - 9))
        client.send(filling, raw_frame(PING, 0, 0, b"question"))
        client.wait_for(raw_frame(PING, ACK, 0, b"question"))
    finally:
        client.sock.close()
