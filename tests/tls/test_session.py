"""A TLS session in memory: what it does with records that bring nothing, and with what is no TLS."""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from securelight.model.limits import Limits
from securelight.tls.client_trust import ClientTrust
from securelight.tls.context import server_context
from securelight.tls.policy import INTERMEDIATE
from securelight.tls.session import TlsFault, TlsSession
from tests.client_certificates import DAY, ClientAuthority

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import TestCertificates

LIMITS = Limits()
BROKEN_RECORD = "bad record mac|record layer failure"
"""As OpenSSL words it, before 3.2 and since."""


class Pair:
    """A server session, and OpenSSL's client at the other end of two pieces of memory."""

    def __init__(
        self,
        certificates: TestCertificates,
        context: ssl.SSLContext | None = None,
        client_context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.chain, certificates.key)
        self.server = TlsSession(context, LIMITS)
        self.to_client, self.to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        if client_context is None:
            client_context = ssl.create_default_context(cafile=str(certificates.ca))
        self.client = client_context.wrap_bio(
            self.to_client, self.to_server, server_hostname="localhost", session=session
        )

    def shake_hands(self) -> None:
        done = False
        while not done:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            if data := self.to_server.read():
                self.server.feed(data)
            done = self.server.handshake(LIMITS)
            self.to_client.write(self.server.take_output())


@pytest.fixture
def pair(certificates: TestCertificates) -> Pair:
    return Pair(certificates)


def test_both_ways(pair: Pair) -> None:
    pair.shake_hands()
    pair.client.write(b"hello")
    assert pair.server.decrypt(pair.to_server.read()) == b"hello"
    pair.to_client.write(pair.server.encrypt(b"x" * 100_000))
    received = b""
    while len(received) < 100_000:
        received += pair.client.read(65_536)
    assert received == b"x" * 100_000


def test_what_one_session_has_to_say_never_reaches_another(certificates: TestCertificates) -> None:
    """All write through one BIO: handshakes in turns, answers, an alert and a close_notify go to their own clients."""
    pairs = [Pair(certificates) for _ in range(3)]
    waiting = list(pairs)
    while waiting:
        for pair in tuple(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.client.do_handshake()
            if data := pair.to_server.read():
                pair.server.feed(data)
            if pair.server.handshake(LIMITS):
                waiting.remove(pair)
        for pair in pairs:  # only now: what the others did in between is not to be found here
            pair.to_client.write(pair.server.take_output())
    first, broken, ended = pairs
    broken.client.write(b"hello")
    record = bytearray(broken.to_server.read())
    record[-1] ^= 1
    with pytest.raises(TlsFault, match=BROKEN_RECORD):
        broken.server.decrypt(bytes(record))
    ended.server.close()
    first.to_client.write(first.server.encrypt(b"for the first"))
    assert first.client.read(100) == b"for the first"
    assert first.server.take_output() == b""
    broken.to_client.write(broken.server.take_output())
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
        broken.client.read(1)
    ended.to_client.write(ended.server.take_output())
    assert ended.client.read(1) == b""


def test_close_notify_is_the_end(pair: Pair) -> None:
    pair.shake_hands()
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    assert pair.server.decrypt(pair.to_server.read()) is None


def test_the_last_answer_takes_tickets_and_close_notify_along(pair: Pair) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    pair.server.feed(pair.to_server.read())
    assert not pair.server.handshake(LIMITS)
    pair.to_client.write(pair.server.take_output())
    pair.client.do_handshake()
    pair.server.feed(pair.to_server.read())
    assert pair.server.handshake(LIMITS)
    assert pair.server.output  # tickets, which nothing has taken along yet
    pair.to_client.write(pair.server.encrypt(b"x" * 100_000, last=True))
    pair.server.close()
    assert pair.server.take_output() == b""  # all is said
    received = b""
    while data := pair.client.read(65_536):
        received += data
    assert received == b"x" * 100_000  # and the end of it is close_notify, or `read` had raised
    assert pair.client.session is not None
    assert pair.client.session.has_ticket


def test_plaintext_makes_room_for_more_ciphertext(pair: Pair) -> None:
    pair.shake_hands()
    for _ in range(20):
        pair.client.write(b"x" * 16_000)
        assert pair.server.decrypt(pair.to_server.read()) == b"x" * 16_000


def test_ciphertext_without_content_is_bounded(pair: Pair) -> None:
    """A record that never ends, fed byte by byte, stands for KeyUpdates: neither gives any plaintext."""
    pair.shake_hands()
    pair.client.write(b"x" * 16_000)
    record = pair.to_server.read()
    for _ in range(LIMITS.ciphertext_without_plaintext_bytes // len(record)):
        pair.server.feed(record[:-1])
    pair.server.feed(record[:100])
    with pytest.raises(TlsFault, match="flood: ciphertext without content"):
        pair.server.feed(record[:-1])


def test_handshake_bytes_are_bounded(pair: Pair) -> None:
    filler = b"\x16\x03\x01\x40\x00" + bytes(16_384)
    for _ in range(LIMITS.handshake_bytes // len(filler)):
        pair.server.feed(filler)
    with pytest.raises(TlsFault, match="flood: handshake bytes"):
        pair.server.feed(filler)


def test_damaged_record_is_a_fault_with_an_alert(pair: Pair) -> None:
    pair.shake_hands()
    pair.client.write(b"hello")
    record = bytearray(pair.to_server.read())
    record[-1] ^= 1
    with pytest.raises(TlsFault, match=BROKEN_RECORD):
        pair.server.decrypt(bytes(record))
    pair.to_client.write(pair.server.take_output())
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
        pair.client.read(1)


def test_garbage_is_a_fault(pair: Pair) -> None:
    pair.server.feed(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with pytest.raises(TlsFault, match="http request"):
        pair.server.handshake(LIMITS)


def test_a_session_is_not_resumed_past_the_end_of_its_certificate(
    certificates: TestCertificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL looks at no date then; a certificate that ends tomorrow may resume today, not the day after."""
    authority = ClientAuthority(tmp_path)
    trust = ClientTrust(True, authority.path, None, "site[0]")
    context = server_context(INTERMEDIATE, [certificates.pair], clients=trust)
    client_context = ssl.create_default_context(cafile=str(certificates.ca))
    client_context.maximum_version = ssl.TLSVersion.TLSv1_2
    alice = authority.issue("alice", days=1)
    client_context.load_cert_chain(alice.path)
    first = Pair(certificates, context, client_context)
    first.shake_hands()
    first.client.do_handshake()  # takes the ticket
    session = first.client.session
    assert session is not None
    again = Pair(certificates, context, client_context, session)
    again.shake_hands()
    facts = again.server.facts("localhost", "site[0]")
    assert facts.resumed
    assert facts.client_certificate is not None
    assert (facts.client_certificate.der, facts.asked_by) == (alice.der, "site[0]")
    now = time.time()
    monkeypatch.setattr("securelight.tls.session.time", lambda: now + 1.1 * DAY.total_seconds())
    with pytest.raises(TlsFault, match="expired since the session was opened"):
        Pair(certificates, context, client_context, session).shake_hands()
