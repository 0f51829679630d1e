"""`[[tcp]]`: connections passed on by the name in their ClientHello, to servers that have the keys themselves."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.proxy_protocol import ProxyHeader, ProxyHeaderReader
from tests.server.processes import wait_until
from tests.wire.clients import Http1
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates

TIMEOUT = 15.0


class Behind:
    """A server that speaks first, then gives everything back, over TLS or as it is; half-close included."""

    def __init__(self, context: ssl.SSLContext | None, *, proxied: bool = False, family: str = "") -> None:
        self._context = context
        self._proxied = proxied
        if family:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(family)
            self._listener.listen(64)
        else:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"unix:{family}" if family else f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.headers: list[ProxyHeader] = []
        self.first: list[bytes] = []
        self.open = 0
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(TIMEOUT)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        self.open += 1
        with contextlib.suppress(OSError), sock:
            if self._proxied:
                reader, header = ProxyHeaderReader(4096), None
                while header is None:  # the ClientHello comes with it, so no more is taken than the header
                    header = reader.feed(sock.recv(1))
                self.headers.append(header)
            if self._context is None:
                while data := sock.recv(65_536):
                    self.first.append(data)
                    sock.sendall(data)
                sock.sendall(b"the end was seen")
            else:
                with self._context.wrap_socket(sock, server_side=True) as tls:
                    tls.sendall(b"220 behind\r\n")
                    while data := tls.recv(65_536):
                        tls.sendall(data)
        self.open -= 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._accepting, *self._threads):
            thread.join(TIMEOUT)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates) -> Iterator[dict[str, Behind]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    folder = tmp_path_factory.mktemp("sockets")
    made = {
        "mail": Behind(context),
        "told": Behind(context, proxied=True),
        "unix": Behind(context, family=str(folder / "behind.sock")),
        "echo": Behind(None),
    }
    yield made
    for one in made.values():
        one.close()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates, behind: dict[str, Behind]
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("fronting")
    (directory / "site").mkdir()
    (directory / "site/index.html").write_text("our own\n")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    tables = "".join(
        f"\n[[tcp]]\nhosts = [{hosts}]\nupstreams = [{upstreams}]\n{more}\n"
        for hosts, upstreams, more in (
            ('"mail.test"', f'"{nobody}", "{behind["mail"].address}"', ""),
            ('"v1.test"', f'"{behind["told"].address}"', 'send_proxy_protocol = "v1"'),
            ('"v2.test"', f'"{behind["told"].address}"', 'send_proxy_protocol = "v2"'),
            ('"*.deep.test"', f'"{behind["unix"].address}"', ""),
            ('"echo.test"', f'"{behind["echo"].address}"', "connections = 40"),
            ('"idle.test"', f'"{behind["echo"].address}"', "idle_seconds = 2"),
            ('"few.test"', f'"{behind["echo"].address}"', "connections = 1"),
            ('"nobody.test"', f'"{nobody}"', ""),
        )
    )
    write_config(directory, certificates, 'root = "site"', hosts='"localhost"', extra=tables)
    with serving(directory) as process:
        yield process


def hello(name: str | None, alpn: list[str] | None = None) -> bytes:
    """A ClientHello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def dial(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), TIMEOUT)


def secured(server: ServerProcess, name: str, alpn: tuple[str, ...] = ()) -> ssl.SSLSocket:
    """A TLS connection; what is behind has a certificate for localhost, which is not looked at here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context.wrap_socket(dial(server), server_hostname=name)


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := sock.recv(min(65_536, count - len(data)))):
        data += piece
    return data


@pytest.mark.parametrize("name", ["mail.test", "MAIL.test", "a.deep.test", "a.b.deep.test"])
def test_the_name_decides_where_a_connection_goes(server: ServerProcess, name: str) -> None:
    with secured(server, name, ("imap", "pop3")) as tls:  # protocols that are none of ours
        assert exactly(tls, 12) == b"220 behind\r\n"
        tls.sendall(b"NOOP\r\n")
        assert exactly(tls, 6) == b"NOOP\r\n"


def test_other_names_are_our_own_sites(server: ServerProcess, certificates: TestCertificates) -> None:
    client = Http1(server.port, certificates.ca)
    assert client.request("GET", "/").body == b"our own\n"
    client.close()


@pytest.mark.parametrize("name", ["v1.test", "v2.test"])
def test_the_server_is_told_who_the_client_is(server: ServerProcess, behind: dict[str, Behind], name: str) -> None:
    with secured(server, name) as tls:
        assert exactly(tls, 12) == b"220 behind\r\n"
        assert behind["told"].headers[-1] == ProxyHeader(tls.getsockname(), tls.getpeername())


@pytest.mark.parametrize("step", [1, 7, 100])
def test_a_hello_in_pieces_arrives_whole(server: ServerProcess, behind: dict[str, Behind], step: int) -> None:
    first = hello("echo.test")
    with dial(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(first), step):
            sock.sendall(first[at : at + step])
        assert exactly(sock, len(first)) == first


def in_records(message: bytes, size: int) -> bytes:
    """A ClientHello in several TLS records."""
    body = message[5:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_a_hello_in_many_records_is_read_and_passed_on_as_it_came(server: ServerProcess) -> None:
    sent = in_records(hello("echo.test"), 20)
    with dial(server) as sock:
        sock.sendall(sent)
        assert exactly(sock, len(sent)) == sent


def test_a_side_that_has_said_its_last_still_hears_the_other(server: ServerProcess) -> None:
    first = hello("echo.test")
    with dial(server) as sock:
        sock.sendall(first + b"more")
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while piece := sock.recv(65_536):
            data += piece
    assert data == first + b"more" + b"the end was seen"


def test_much_goes_both_ways(server: ServerProcess) -> None:
    first, size = hello("echo.test"), 20_000_000
    with dial(server) as sock:
        sock.sendall(first)

        def send() -> None:
            for _ in range(size // 100_000):
                sock.sendall(bytes(100_000))

        thread = threading.Thread(target=send)
        thread.start()
        assert exactly(sock, len(first)) == first
        got = 0
        while got < size:
            got += len(sock.recv(1 << 20))
        thread.join(TIMEOUT)
    assert got == size


def test_what_nobody_reads_is_not_piled_up(server: ServerProcess) -> None:
    first = hello("echo.test")
    with dial(server) as sock:
        sock.sendall(first)
        sock.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 200_000_000:
                sent += sock.send(bytes(65_536))
                if sent > 50_000_000:
                    break
    (worker,) = server.workers()
    with open(f"/proc/{worker}/statm") as file:
        assert int(file.read().split()[1]) * 4096 < 200_000_000


def test_a_connection_without_a_byte_is_cut(server: ServerProcess) -> None:
    first = hello("idle.test")
    with dial(server) as sock:
        sock.sendall(first)
        assert exactly(sock, len(first)) == first
        assert sock.recv(1) == b""
    server.wait_for_count(1, event="tcp connection ended", why="idle", up=len(first), down=len(first))


def test_more_connections_than_allowed_are_refused(server: ServerProcess) -> None:
    first = hello("few.test")
    with dial(server) as sock:
        sock.sendall(first)
        assert exactly(sock, len(first)) == first
        with dial(server) as second:
            second.sendall(first)
            assert ended(second)
        sock.sendall(b"still here")
        assert exactly(sock, 10) == b"still here"
    server.wait_for_count(1, event="tcp upstream failed", hosts="few.test", why="1 connections are in use")


def ended(sock: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(1) == b""
    return True


def test_a_server_that_is_not_there_ends_the_connection(server: ServerProcess) -> None:
    with dial(server) as sock:
        sock.sendall(hello("nobody.test"))
        assert ended(sock)
    assert "refused" in server.wait_for_event("tcp upstream failed")["why"] or server.count_events(
        event="tcp upstream failed", hosts="nobody.test"
    )


def test_no_name_and_unknown_names_get_our_own_site_where_nothing_else_is_said(server: ServerProcess) -> None:
    for name in (None, "unknown.test"):
        with dial(server) as sock:
            sock.sendall(hello(name))
            assert sock.recv(1) == b"\x16"  # our ServerHello


def test_nothing_is_left_of_clients_that_vanish(
    server: ServerProcess, behind: dict[str, Behind], certificates: TestCertificates
) -> None:
    (worker,) = server.workers()
    first = hello("echo.test")
    with dial(server) as sock:
        sock.sendall(first)
        assert exactly(sock, len(first)) == first
    wait_until(lambda: behind["echo"].open == 0)
    before = descriptors(worker)
    socks = []
    for _ in range(30):
        sock = dial(server)
        socks.append(sock)
        sock.sendall(first)
        assert exactly(sock, len(first)) == first
    assert behind["echo"].open == 30
    for number, sock in enumerate(socks):
        if number % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        sock.close()
    wait_until(lambda: descriptors(worker) <= before and behind["echo"].open == 0)


def descriptors(process: int) -> int:

    return len(os.listdir(f"/proc/{process}/fd"))
