"""A lab that runs in a thread, and clients of it that take anything."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import trio
from cryptography import x509

from securelight.lab.case import Case
from securelight.lab.catalogue import CASES
from securelight.lab.check.runner import write_client_files
from securelight.lab.lab import Lab
from securelight.lab.world import World

SECONDS = 60.0
BY_ID = {case.id: case for case in CASES}


@dataclass
class RunningLab:
    lab: Lab
    directory: Path

    def connect(self, case: Case) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.lab.places.port(case)), SECONDS)


@contextlib.contextmanager
def running_lab(directory: Path, world: World | None = None) -> Iterator[RunningLab]:
    started: queue.Queue[tuple[Lab, trio.lowlevel.TrioToken, trio.CancelScope] | BaseException] = queue.Queue()

    async def run() -> None:
        lab = Lab(world)
        lab.report = faults.append
        write_client_files(lab, directory)
        await lab.open(port=0)
        with trio.CancelScope() as scope:
            started.put((lab, trio.lowlevel.current_trio_token(), scope))
            await lab.run()

    def target() -> None:
        try:
            trio.run(run)
        except BaseException as error:
            started.put(error)

    faults: list[str] = []
    thread = threading.Thread(target=target)
    thread.start()
    first = started.get(timeout=SECONDS)
    assert not isinstance(first, BaseException), first
    lab, token, scope = first
    try:
        yield RunningLab(lab, directory)
    finally:
        trio.from_thread.run_sync(scope.cancel, trio_token=token)
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert faults == [], "\n".join(faults)


def permissive(low: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, high: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that verifies nothing and takes every cipher."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    context.minimum_version = low
    context.maximum_version = high or ssl.TLSVersion.TLSv1_3
    return context


@dataclass
class Dialogue:
    """A handshake in memory: what was received and sent, byte by byte.

    Attributes:
        received: all bytes of the server.
        sent: all bytes of the client.
        error: what the handshake ended with; None if it succeeded.
    """

    sock: socket.socket
    tls: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    received: bytes = b""
    sent: bytes = b""
    error: Exception | None = None
    at_end: bool = False
    writes: list[int] = field(default_factory=list)

    def step(self) -> bool:
        """Exchange bytes once; False at the end of the server's."""
        data = self.outgoing.read()
        self.sent += data
        with contextlib.suppress(OSError):
            self.sock.sendall(data)
        return self.receive()

    def receive(self) -> bool:
        """Take bytes of the server; False at their end."""
        try:
            data = self.sock.recv(65_536)
        except ConnectionError:
            data = b""
        self.received += data
        if not data:
            self.at_end = True
            self.incoming.write_eof()
            return False
        self.writes.append(len(data))
        self.incoming.write(data)
        return True

    def shake_hands(self) -> None:
        try:
            while True:
                try:
                    self.tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self.step()
        except (ssl.SSLError, TimeoutError) as error:
            self.error = error

    def get(self) -> bytes:
        """GET, and everything until the end; `error` is set if that is no proper one."""
        self.tls.write(b"GET / HTTP/1.1\r\nHost: lab.localhost\r\n\r\n")
        answer = b""
        while True:
            try:
                data = self.tls.read(65_536)
                if not data:
                    return answer
                answer += data
            except ssl.SSLWantReadError:
                self.step()
            except ssl.SSLError as error:
                self.error = error
                return answer

    def close(self) -> None:
        self.sock.close()


@contextlib.contextmanager
def dialogue(running: RunningLab, case: Case, context: ssl.SSLContext | None = None) -> Iterator[Dialogue]:
    """A handshake with a case; nothing is asked yet."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = (context or permissive()).wrap_bio(incoming, outgoing, server_hostname=case.host_name)
    with contextlib.closing(Dialogue(running.connect(case), tls, incoming, outgoing)) as talk:
        talk.shake_hands()
        yield talk


def records(data: bytes) -> list[tuple[int, bytes]]:
    """(type, content) of each complete TLS record."""
    found = []
    while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5]):
        length = int.from_bytes(data[3:5])
        found.append((data[0], data[5 : 5 + length]))
        data = data[5 + length :]
    return found


def handshake_messages(data: bytes) -> list[tuple[int, bytes]]:
    """(type, body) of the plaintext handshake messages in `data`, up to the change to ciphertext."""
    content = b""
    for kind, part in records(data):
        if kind == 20:
            break
        if kind == 22:
            content += part
    found = []
    while len(content) >= 4 and len(content) >= 4 + int.from_bytes(content[1:4]):
        length = int.from_bytes(content[1:4])
        found.append((content[0], content[4 : 4 + length]))
        content = content[4 + length :]
    return found


@dataclass
class Served:
    """The certificates that a case shows, as they came over the wire."""

    case: Case
    certificates: list[bytes]

    @property
    def leaf_der(self) -> bytes:
        return self.certificates[0]

    @cached_property
    def leaf(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.certificates[0])

    @cached_property
    def issuer(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.certificates[1])

    @cached_property
    def chain(self) -> list[x509.Certificate]:
        return [x509.load_der_x509_certificate(one) for one in self.certificates]

    @property
    def names(self) -> list[str]:
        values = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(entry.value) for entry in values]

    @property
    def common_name(self) -> str:
        [attribute] = self.leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(attribute.value)


def served_chain(running: RunningLab, case: Case) -> Served:
    """What a TLS 1.2 server sends in the clear; where it has TLS 1.3 alone, what OpenSSL has read."""
    with dialogue(running, case, permissive(high=ssl.TLSVersion.TLSv1_2)) as talk:
        while not (bodies := [body for kind, body in handshake_messages(talk.received) if kind == 11]):
            if not talk.receive():  # OpenSSL stops at 100 kB
                break
    if not bodies:
        with dialogue(running, case) as talk:
            chain = talk.tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined] # public only since 3.13
            return Served(case, [one.public_bytes(2) for one in chain])  # 2: DER
    [body] = bodies
    entries, body = [], body[3:]
    while body:
        length = int.from_bytes(body[:3])
        entries.append(body[3 : 3 + length])
        body = body[3 + length :]
    return Served(case, entries)


def s_client(running: RunningLab, case: Case, *options: str) -> str:
    """What `openssl s_client` prints."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{running.lab.places.port(case)}", "-servername", case.host_name,
         "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0", "-showcerts", *options],
        input="", capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr
