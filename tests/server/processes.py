"""What tests of the supervisor and of the commands share: sites, commands as processes, and looks into /proc."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.certificates import TestCertificates
from tests.wire.clients import Answer, Http1, Http2
from tests.wire.server_process import ServerProcess, running, write_config

GOAWAY = 7
HIGHEST_STREAM_ID = (1 << 31) - 1
T = TypeVar("T")
Kind: TypeAlias = "type[Http1] | type[PatientHttp2]"

PAGE = b"<!doctype html><title>Tide</title><p>High water at noon.</p>" * 10


def wait_until(look: Callable[[], T], seconds: float = 30.0) -> T:
    """The first true value of `look`, waited for."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        select.select([], [], [], 0.01)
    return found


def make_site(directory: Path, content: bytes = PAGE) -> Path:
    """A folder with an index page."""
    site = directory / "site"
    site.mkdir(exist_ok=True)
    (site / "index.html").write_bytes(content)
    return site


@contextmanager
def static_server(
    directory: Path,
    certificates: TestCertificates,
    *,
    workers: int = 1,
    limits: str = "",
    log_format: str = "combined",
    engine: str = "auto",
) -> Iterator[ServerProcess]:
    """A server of static files; ended the hard way if the test leaves it running badly."""
    site = make_site(directory)
    write_config(
        directory, certificates, f'root = "{site}"', workers=workers, limits=limits, log_format=log_format,
        engine=engine,
    )  # fmt: skip
    with running(directory) as server:
        yield server


def securelight(
    *arguments: str | Path, cwd: Path | None = None, seconds: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "securelight", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def alive(process_id: int) -> bool:
    """Whether a process runs; one that has ended and is not reaped yet does not."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def descriptors(process_id: int) -> list[str]:
    """What each open descriptor of a process is."""
    found = []
    for name in os.listdir(f"/proc/{process_id}/fd"):
        try:
            found.append(os.readlink(f"/proc/{process_id}/fd/{name}"))
        except FileNotFoundError:
            continue
    return found


def fetch(server: ServerProcess, certificates: TestCertificates, path: str = "/") -> Answer:
    """One GET on a new connection."""
    client = Http1(server.port, certificates.ca)
    try:
        return client.request("GET", path)
    finally:
        client.close()


def shown_serial(port: int) -> int:
    """The serial number of the certificate that a new handshake shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as sock,
    ):
        shown = sock.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def serial_of(path: Path) -> int:
    """The serial number of the first certificate of a file."""
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def der_of(path: Path) -> bytes:
    """The first certificate of a file."""
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


class PatientHttp2(Http2):
    """Goes on reading after GOAWAY, which the h2 package cannot: it is never shown one.

    Attributes:
        told_to_go: a GOAWAY has come.
        last_stream_id: the last stream that is served.
    """

    def __init__(self, port: int, ca: Path, name: str = "localhost") -> None:
        self.told_to_go = False
        self.last_stream_id = HIGHEST_STREAM_ID
        self._frames = b""
        super().__init__(port, ca, name)

    def step(self) -> bool:
        try:
            data = self.sock.recv(65_536)
        except (ssl.SSLEOFError, ConnectionError):
            data = b""
        if not data:
            self.at_end = True
            return False
        self._frames += data
        while len(self._frames) >= 9:
            length = 9 + int.from_bytes(self._frames[:3])
            if len(self._frames) < length:
                break
            frame, self._frames = self._frames[:length], self._frames[length:]
            if frame[3] == GOAWAY:
                self.told_to_go = True
                self.last_stream_id = int.from_bytes(frame[9:13])
                continue
            for event in self.h2.receive_data(frame):
                self._note(event)
        self.flush()
        return True


class Load:
    """Clients in threads that ask for `/` until told to stop, as a well-made client does: told that the connection will
    end (GOAWAY, `Connection: close`) they open another one, and a stream above the last one of a GOAWAY, which was not
    served, is asked for again.

    h2load is no such client on HTTP/2: it goes on opening streams on the connection after a GOAWAY, and counts those as
    failed. On HTTP/1.1 it does connect again.

    Attributes:
        answered: requests with the right answer.
        refused: streams that GOAWAY said were not served, and that were asked for again.
        connections: how many were opened.
        broken: connections that ended without a word, if that is to be expected (`breaks`); failures otherwise.
        failures: what a user would have noticed.
    """

    def __init__(self, port: int, ca: Path, kinds: Sequence[Kind], streams: int = 4, *, breaks: bool = False) -> None:
        self._port = port
        self._ca = ca
        self._streams = streams
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._breaks = breaks
        self.answered = self.refused = self.connections = self.broken = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(kind,), daemon=True) for kind in kinds]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def more(self, count: int, seconds: float = 20.0) -> None:
        """Wait for `count` more answers."""
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal or self.failures, seconds)

    def _note(self, answer: Answer, what: str) -> bool:
        """False if the connection broke, which was to be expected."""
        with self._lock:
            if answer.status == 200 and answer.body == PAGE and answer.reset is None:
                self.answered += 1
            elif self._breaks and answer.reset == 0:
                self.broken += 1
                return False
            else:
                self.failures.append(f"{what}: {answer}"[:300])
        return True

    def _run(self, kind: Kind) -> None:
        while not self._stop.is_set() and not self.failures:
            try:
                client = kind(self._port, self._ca)
                self.connections += 1
                with closing(client):
                    if isinstance(client, Http1):
                        self._http1(client)
                    else:
                        self._http2(client)
            except Exception as error:
                with self._lock:
                    if self._breaks and isinstance(error, ssl.SSLEOFError | ConnectionError):
                        self.broken += 1  # it broke while the client was writing or shaking hands
                    else:
                        self.failures.append(f"{kind.__name__}: {error!r}")

    def _http1(self, client: Http1) -> None:
        while not self._stop.is_set():
            answer = client.request("GET", "/")
            if not self._note(answer, "HTTP/1.1"):
                return
            if answer.headers.get("connection") == "close" or answer.reset is not None:
                return

    def _http2(self, client: PatientHttp2) -> None:
        while not self._stop.is_set() and not client.told_to_go:
            for stream_id in [client.open("GET", "/") for _ in range(self._streams)]:
                answer = client.answer(stream_id)
                if stream_id > client.last_stream_id:
                    self.refused += 1
                elif not self._note(answer, f"HTTP/2 stream {stream_id}, the last one is {client.last_stream_id}"):
                    return
