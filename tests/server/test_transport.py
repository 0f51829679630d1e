"""The bytes of one connection, with a real client at the other end of a socket pair."""

from __future__ import annotations

import random
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from securelight.model.limits import Limits
from securelight.server.transport import BULK_BYTES, RECEIVE_BYTES, Transport
from securelight.tls.session import TlsFault, TlsSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates


class Wire:
    """A transport that has shaken hands, and its client."""

    def __init__(self, certificates: TestCertificates) -> None:
        server_socket, self.socket = socket.socketpair()
        server_socket.setblocking(False)
        self.socket.setblocking(False)
        for end in (server_socket, self.socket):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.chain, certificates.key)
        self.transport = Transport(server_socket)
        session = self.transport.session = TlsSession(context, Limits())
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        trusting = ssl.create_default_context(cafile=str(certificates.ca))
        self.client = trusting.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        done = False
        while not (done and session.established):
            try:
                self.client.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            session.feed(self._outgoing.read())
            session.handshake(Limits())
            self._incoming.write(session.take_output())
        while self.transport.receive():  # what came with the handshake
            pass

    def write(self, plaintext: bytes) -> None:
        """One record, into the socket at once."""
        self.client.write(plaintext)
        output = self._outgoing.read()
        assert self.socket.send(output) == len(output)

    def close(self) -> None:
        self.transport.close()
        self.socket.close()


@pytest.fixture
def wire(certificates: TestCertificates) -> Iterator[Wire]:
    wire = Wire(certificates)
    yield wire
    wire.close()


def turn(transport: Transport, most: int, most_bytes: int = RECEIVE_BYTES) -> bytes:
    """What a connection reads in a turn, `most` times at most `most_bytes`."""
    transport.emptied = False
    received = b""
    for _ in range(most):
        data = transport.receive(most_bytes)
        assert data is not None
        assert len(data) <= most_bytes
        received += data
        if not data:
            break
    return received


@pytest.mark.parametrize("seed", range(20))
def test_an_upload_comes_in_order_whatever_its_records_and_turns(wire: Wire, seed: int) -> None:
    choice = random.Random(seed)
    sent, received = b"", b""
    for _ in range(60):
        for _ in range(choice.randrange(8)):
            piece = choice.randbytes(choice.choice([1, 100, 5_000, 16_384]))
            wire.write(piece)
            sent += piece
        received += turn(wire.transport, choice.randrange(1, 10), choice.choice([RECEIVE_BYTES, 2_048, 100, 99]))
    while wire.transport.holds_input or len(received) < len(sent):
        received += turn(wire.transport, 4)
    assert received == sent
    assert turn(wire.transport, 1) == b""
    assert not wire.transport.holds_input


def test_what_is_held_is_told(wire: Wire) -> None:
    for _ in range(20):
        wire.write(b"x" * RECEIVE_BYTES)
    assert len(turn(wire.transport, 2)) == 2 * RECEIVE_BYTES
    assert wire.transport.holds_input
    still = wire.transport.sock.recv(1 << 20)
    wire.transport.emptied = True
    held = 0
    while data := wire.transport.receive():
        held += len(data)
    assert 0 < held <= BULK_BYTES
    assert held + len(still) > 17 * RECEIVE_BYTES


def test_what_is_left_of_a_record_is_told_and_comes_next(wire: Wire) -> None:
    def read(times: int) -> tuple[bytes, bool, bool]:
        return turn(wire.transport, times, 2_048), wire.transport.holds_input, wire.transport.emptied

    wire.write(b"a" * 5_000)
    assert read(2) == (b"a" * 4_096, True, False), "nothing in the socket would tell of the rest"
    assert read(1) == (b"a" * 904, False, False)
    wire.write(b"b" * 2_048)
    assert read(1) == (b"b" * 2_048, False, True)


def test_the_end_comes_after_all_that_was_sent_before_it(wire: Wire) -> None:
    for _ in range(9):
        wire.write(b"x" * RECEIVE_BYTES)
    wire.socket.shutdown(socket.SHUT_WR)
    received = turn(wire.transport, 20)
    wire.transport.emptied = False
    assert wire.transport.receive() is None
    assert received == b"x" * 9 * RECEIVE_BYTES


def test_ciphertext_without_content_is_bounded_in_bulk_too(wire: Wire) -> None:
    for _ in range(4):
        wire.write(b"x" * RECEIVE_BYTES)
    assert turn(wire.transport, 2)
    for _ in range(200):
        wire.socket.send(b"\x17\x03\x03\x40\x00" + bytes(0x4000))  # not encrypted with any key
        try:
            while turn(wire.transport, 4):
                pass
        except TlsFault:
            return
    pytest.fail("records that cannot be decrypted were taken")


def test_what_waits_on_a_plain_socket_does_not_change_with_the_buffer_it_came_from() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        transport = Transport(ours)
        buffer = memoryview(bytearray(b"x" * (4 << 20)))
        assert not transport.send(buffer)
        buffer[:] = b"y" * len(buffer)
        received = bytearray()
        while len(received) < len(buffer):
            received += theirs.recv(1 << 20)
            transport.flush()
        transport.close()
    assert received == b"x" * len(buffer)


def test_what_a_slow_client_took_is_not_held_for_it(wire: Wire) -> None:
    while wire.transport.send(b"x" * 100_000):
        pass
    pending = wire.transport.pending
    assert pending is not None
    assert 0 < len(pending) == memoryview(pending.obj).nbytes
