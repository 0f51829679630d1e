"""Cases whose fault is not in a certificate: what each does on the wire, seen by clients that take anything."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Any

import pytest

from securelight.lab.catalogue import OFFERED
from securelight.lab.old_tls import load
from tests.lab.running import BY_ID, RunningLab, dialogue, permissive, records, s_client

load()

TLS12 = {
    "ecdsa-aes128-gcm": "ECDHE-ECDSA-AES128-GCM-SHA256", "ecdsa-aes256-gcm": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ecdsa-chacha20": "ECDHE-ECDSA-CHACHA20-POLY1305", "rsa-aes128-gcm": "ECDHE-RSA-AES128-GCM-SHA256",
    "rsa-aes256-gcm": "ECDHE-RSA-AES256-GCM-SHA384", "rsa-chacha20": "ECDHE-RSA-CHACHA20-POLY1305",
    "cbc-sha": "ECDHE-RSA-AES128-SHA", "cbc-sha256": "ECDHE-RSA-AES128-SHA256", "static-rsa": "AES128-GCM-SHA256",
    "static-rsa-cbc": "AES128-SHA", "null": "NULL-SHA256", "anonymous": "AECDH-AES128-SHA",
}  # fmt: skip
TLS13 = {
    "aes128-gcm": "TLS_AES_128_GCM_SHA256", "aes256-gcm": "TLS_AES_256_GCM_SHA384",
    "chacha20": "TLS_CHACHA20_POLY1305_SHA256", "aes128-ccm": "TLS_AES_128_CCM_SHA256",
}  # fmt: skip
SUITES13 = "TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
GROUPS = {"prime256v1": "P-256", "secp384r1": "P-384", "x25519": "X25519", "secp521r1": "P-521", "x448": "X448"}
OLD = {"ssl-3": ((3, 0), ""), "tls-1-0": ((3, 1), ""), "tls-1-1": ((3, 2), ""), "tls12-3des": ((3, 3), "3des"),
       "tls12-rc4": ((3, 3), "rc4")}  # fmt: skip


@pytest.mark.parametrize(("name", "suite"), TLS12.items())
def test_tls_1_2_has_the_one_suite(running: RunningLab, name: str, suite: str) -> None:
    with dialogue(running, BY_ID[f"versions/tls12-{name}"], permissive()) as talk:
        assert talk.error is None
        assert (talk.tls.version(), (talk.tls.cipher() or ("",))[0]) == ("TLSv1.2", suite)


@pytest.mark.parametrize(("name", "suite"), TLS13.items())
def test_tls_1_3_has_the_one_suite(running: RunningLab, name: str, suite: str) -> None:
    told = s_client(running, BY_ID[f"versions/tls13-{name}"], "-ciphersuites", SUITES13)
    assert f"Cipher is {suite}" in told


@pytest.mark.parametrize(("name", "group"), GROUPS.items())
def test_key_exchange_has_the_one_group(running: RunningLab, name: str, group: str) -> None:
    label = {"x25519": "X25519", "x448": "X448"}.get(name, name)
    told = s_client(running, BY_ID[f"versions/group-{name}"], "-groups", ":".join(GROUPS.values()))
    [line] = re.findall("Server Temp Key: (.*)", told)
    assert {label, group} & set(re.split("[, ]+", line)), line
    others = ":".join(other for other in GROUPS.values() if other != group)
    assert "Cipher is (NONE)" in s_client(running, BY_ID[f"versions/group-{name}"], "-groups", others)


@pytest.mark.parametrize(("name", "bits"), [("dh-1024", 1024), ("tls12-dhe", 2048)])
def test_diffie_hellman_is_as_large_as_the_case_says(running: RunningLab, name: str, bits: int) -> None:
    assert f"Server Temp Key: DH, {bits} bits" in s_client(running, BY_ID[f"versions/{name}"])


@pytest.mark.parametrize("version", ["tls-1-2", "tls-1-3"])
def test_one_version_alone(running: RunningLab, version: str) -> None:
    own, other = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)[:: 1 if version == "tls-1-2" else -1]
    with dialogue(running, BY_ID[f"versions/{version}"], permissive(own, own)) as talk:
        assert talk.error is None
    with dialogue(running, BY_ID[f"versions/{version}"], permissive(other, other)) as talk:
        assert talk.error is not None


@pytest.mark.parametrize(("name", "expected"), OLD.items())
def test_old_versions_and_ciphers_are_spoken_to_who_speaks_them(
    running: RunningLab, name: str, expected: tuple[tuple[int, int], str]
) -> None:
    from tlslite.handshakesettings import HandshakeSettings
    from tlslite.tlsconnection import TLSConnection

    version, cipher = expected
    settings: Any = HandshakeSettings()
    settings.minVersion, settings.maxVersion = (3, 0), (3, 3)
    settings.versions = [(3, 3), (3, 2), (3, 1), (3, 0)]
    settings.cipherNames = [*settings.cipherNames, "rc4"]
    settings.macNames = [*settings.macNames, "md5"]
    settings.useExtendedMasterSecret = settings.useEncryptThenMAC = False  # which SSL 3 does not know
    with running.connect(BY_ID[f"versions/{name}"]) as sock:
        connection = TLSConnection(sock)
        connection.handshakeClientCert(settings=settings, serverName=f"{name}.localhost")
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert bytes(connection.read(max=4096, min=12)).startswith(b"HTTP/1.1 200")
        assert tuple(connection.version) == version
        assert connection.getCipherName() == cipher or not cipher
        connection.close()


def test_the_second_client_hello_is_large(running: RunningLab) -> None:
    with dialogue(running, BY_ID["versions/large-client-hello"]) as talk:
        assert talk.error is None
        assert max(len(content) for kind, content in records(talk.sent) if kind == 22) > 12_000


def alpn(*protocols: str) -> ssl.SSLContext:
    context = permissive()
    context.set_alpn_protocols(list(protocols))
    return context


@pytest.mark.parametrize(
    ("name", "offered", "chosen"),
    [
        ("no-alpn", ("h2", "http/1.1"), None),
        ("http2-only", ("h2", "http/1.1"), "h2"),
        ("http2-only", ("http/1.1",), None),
        ("http1-only", ("h2", "http/1.1"), "http/1.1"),
        ("alpn-mismatch", ("http/1.1",), "gopher"),
    ],
)
def test_alpn(running: RunningLab, name: str, offered: tuple[str, ...], chosen: str | None) -> None:
    with dialogue(running, BY_ID[f"handshakes/{name}"], alpn(*offered)) as talk:
        if chosen == "gopher" and talk.error is not None:
            assert "extension" in str(talk.error).lower()  # newer OpenSSL looks by itself
        else:
            assert talk.tls.selected_alpn_protocol() == chosen


ALERTS = {"alpn-refused": 120, "alert-handshake-failure": 40, "alert-internal-error": 80,
          "alert-unrecognized-name": 112}  # fmt: skip


@pytest.mark.parametrize(("name", "description"), ALERTS.items())
def test_alerts(running: RunningLab, name: str, description: int) -> None:
    with dialogue(running, BY_ID[f"handshakes/{name}"]) as talk:
        assert records(talk.received) == [(21, bytes((2, description)))]
        assert talk.error is not None


STAGES = {
    "inside-server-hello": (0, True), "after-server-hello": (1, False), "after-encrypted-extensions": (3, False),
    "after-certificate": (4, False), "tls12-after-server-hello": (1, False), "tls12-after-certificate": (2, False),
    "tls12-inside-key-exchange": (2, True),
}  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), STAGES.items())
@pytest.mark.parametrize("ending", ["closes", "hangs"])
def test_handshakes_that_stop(running: RunningLab, ending: str, name: str, expected: tuple[int, bool]) -> None:
    count, half = expected
    with running.connect(BY_ID[f"handshakes/{ending}-{name}"]) as sock:
        tls, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = permissive().wrap_bio(tls, outgoing, server_hostname="a.localhost")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        sock.sendall(outgoing.read())
        received, complete, rest = b"", 0, 0
        while complete < count or (half and not rest):
            data = sock.recv(65_536)
            assert data, "closed too early"
            received += data
            complete = len(records(received))
            rest = len(received) - sum(5 + len(content) for _, content in records(received))
        assert (complete, bool(rest)) == (count, half)
        sock.settimeout(0.2 if ending == "hangs" else 15)
        if ending == "closes":
            assert sock.recv(100) == b""
        else:
            with pytest.raises(TimeoutError):
                sock.recv(100)


FIRST_WORDS = {
    "silent": None, "closes-at-once": b"", "closes-after-client-hello": b"", "resets": ConnectionResetError,
    "plain-http": b"HTTP/1.1 400", "other-protocol": b"SSH-2.0", "record-too-long": b"\x16\x03\x03\xff\xff",
    "unknown-record-type": b"\x63\x03\x03", "empty-records": b"\x16\x03\x03\x00\x00" * 20,
}  # fmt: skip


@pytest.mark.parametrize(("name", "words"), FIRST_WORDS.items())
def test_what_is_said_in_place_of_a_handshake(running: RunningLab, name: str, words: Any) -> None:
    with running.connect(BY_ID[f"handshakes/{name}"]) as sock:
        if name not in ("closes-at-once", "other-protocol"):
            sock.sendall(b"\x16\x03\x01\x00\x05hello")
        sock.settimeout(0.2 if words is None else 15)
        if words is None:
            with pytest.raises(TimeoutError):
                sock.recv(100)
        elif words is ConnectionResetError:
            with pytest.raises(ConnectionResetError):
                sock.recv(100)
        else:
            received = b""
            while len(received) < len(words):
                data = sock.recv(100)
                assert data
                received += data
            assert received.startswith(words)
            assert words or sock.recv(100) == b""


def test_answers_in_records_of_one_byte(running: RunningLab) -> None:
    tls12 = permissive(high=ssl.TLSVersion.TLSv1_2)
    with dialogue(running, BY_ID["handshakes/tiny-records"], tls12) as talk:
        answer = talk.get()
        data_records = [content for kind, content in records(talk.received) if kind == 23]
        assert len(data_records) >= len(answer) > 1000


@pytest.mark.parametrize(("name", "size"), [("fragmented", 1), ("fragmented-64", 64)])
def test_handshake_messages_in_pieces(running: RunningLab, name: str, size: int) -> None:
    with dialogue(running, BY_ID[f"handshakes/{name}"]) as talk:
        pieces = [content for kind, content in records(talk.received) if kind == 22]
        assert len(pieces) > 10
        assert max(len(piece) for piece in pieces[:10]) == size


def test_a_handshake_in_small_segments_and_a_slow_one_succeed(running: RunningLab) -> None:
    for name in ("tiny-segments", "slow"):
        with dialogue(running, BY_ID[f"handshakes/{name}"]) as talk:
            assert talk.error is None


def test_a_warning_comes_before_the_server_hello(running: RunningLab) -> None:
    with dialogue(running, BY_ID["handshakes/warning-unrecognized-name"]) as talk:
        assert records(talk.received)[0] == (21, bytes((1, 112)))
        assert talk.error is None


@pytest.mark.parametrize(
    ("name", "notified", "whole"),
    [("no-close-notify", False, True), ("truncated", False, False), ("body-too-short", True, False),
     ("http1-only", True, True)],
)  # fmt: skip
def test_how_answers_end(running: RunningLab, name: str, notified: bool, whole: bool) -> None:
    with dialogue(running, BY_ID[f"handshakes/{name}"]) as talk:
        head, _, body = talk.get().partition(b"\r\n\r\n")
        assert (talk.error is None) is notified
        length = re.search(rb"Content-Length: (\d+)", head)
        if name == "truncated":
            assert length is None
            assert not body.rstrip().endswith(b"</html>")
        else:
            assert length is not None
            assert (len(body) == int(length[1])) is whole


@pytest.mark.parametrize(("name", "tickets", "reused"), [
    ("no-tickets", False, False), ("tickets-refused", True, False), ("http1-only", True, True),
])  # fmt: skip
def test_tickets(running: RunningLab, name: str, tickets: bool, reused: bool) -> None:
    case, context = BY_ID[f"handshakes/{name}"], permissive()
    with running.connect(case) as raw, context.wrap_socket(raw, server_hostname=case.host_name) as first:
        first.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while first.recv(65_536):
            pass
        session = first.session
    assert (session is not None and session.has_ticket) is tickets
    with running.connect(case) as raw, context.wrap_socket(
        raw, server_hostname=case.host_name, session=session if tickets else None
    ) as again:  # fmt: skip
        assert again.session_reused is reused


def test_the_server_asks_for_renegotiation(running: RunningLab) -> None:
    with dialogue(running, BY_ID["handshakes/renegotiation-asked"]) as talk:
        talk.get()
        kinds = [kind for kind, _ in records(talk.received)]
    assert kinds[kinds.index(20) :].count(22) >= 2  # Finished, and a HelloRequest


def test_the_server_knows_no_secure_renegotiation(running: RunningLab) -> None:
    told = s_client(running, BY_ID["handshakes/no-secure-renegotiation"], "-legacy_server_connect")
    assert "Secure Renegotiation IS NOT supported" in told


def test_the_server_updates_its_keys(running: RunningLab) -> None:
    case = BY_ID["handshakes/key-update"]
    from tlslite.tlsconnection import TLSConnection

    with running.connect(case) as sock:
        connection = TLSConnection(sock)
        connection.handshakeClientCert(serverName=case.host_name)
        before = bytes(connection.session.sr_app_secret)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert bytes(connection.read(max=4096, min=12)).startswith(b"HTTP/1.1 200")
        assert bytes(connection.session.sr_app_secret) != before
        connection.close()


CLIENTS = {
    "optional": ("", True), "required": ("", False), "required-tls12": ("", False), "many-authorities": ("", True),
    "good": ("good", True), "good-tls12": ("good", True), "unknown-authority": ("unknown-authority", False),
    "expired": ("expired", False), "revoked": ("revoked", False), "wrong-purpose": ("wrong-purpose", False),
}  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), CLIENTS.items())
def test_client_certificates(running: RunningLab, name: str, expected: tuple[str, bool]) -> None:
    certificate, accepted = expected
    context = permissive()
    if certificate:
        stem = running.directory / f"client-{certificate}"
        context.load_cert_chain(f"{stem}.pem", f"{stem}.key")
    with dialogue(running, BY_ID[f"clients/{name}"], context) as talk:
        answer = talk.get() if talk.error is None else b""
        assert (b" 200 " in answer[:20]) is accepted
        if certificate and accepted:
            assert f"{certificate} client".encode() in answer
        if not accepted:
            assert "alert" in str(talk.error).lower()
    if certificate and not accepted:  # so it is this certificate that is refused
        good = permissive()
        good.load_cert_chain(str(running.directory / "client-good.pem"), str(running.directory / "client-good.key"))
        with dialogue(running, BY_ID[f"clients/{name}"], good) as talk:
            assert b" 200 " in talk.get()[:20]


def test_many_authorities_are_named(running: RunningLab) -> None:
    assert s_client(running, BY_ID["clients/many-authorities"]).count("securelight lab crowd") >= 200


def test_no_case_is_left_out() -> None:
    versions = {f"tls12-{name}" for name in TLS12} | {f"tls13-{name}" for name in TLS13} | set(OLD)
    versions |= {f"group-{name}" for name in GROUPS}
    versions |= {"tls-1-2", "tls-1-3", "dh-1024", "tls12-dhe", "large-client-hello"}
    handshakes = {f"{ending}-{name}" for name in STAGES for ending in ("closes", "hangs")}
    handshakes |= {*FIRST_WORDS, *ALERTS}
    handshakes |= {"no-alpn", "http2-only", "http1-only", "alpn-mismatch", "tiny-records", "fragmented",
                   "fragmented-64", "tiny-segments", "slow", "warning-unrecognized-name", "no-close-notify",
                   "truncated", "body-too-short", "no-tickets", "tickets-refused", "renegotiation-asked",
                   "no-secure-renegotiation", "key-update"}  # fmt: skip
    for family, names in (("versions", versions), ("handshakes", handshakes), ("clients", set(CLIENTS))):
        assert {case.name for case in OFFERED if case.family == family} == names


def test_a_port_scan_does_not_end_the_lab(running: RunningLab) -> None:
    for data in (b"", b"\0" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\1" * 70_000):
        with socket.create_connection(("127.0.0.1", running.lab.places.tls_port), 15) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65_536):
                    pass
            except OSError:
                pass
    with dialogue(running, BY_ID["good/rsa"]) as talk:
        assert talk.error is None
