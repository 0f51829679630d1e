"""The PROXY protocol on a listener: believed from balancers, refused from others, counted for the client it names."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.proxy_protocol import SIGNATURE, write_v1, write_v2
from tests.wire.server_process import ServerProcess, serving, write_config
from tests.wire.test_proxy_upstreams import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates

BALANCER, STRANGER = "127.0.0.1", "127.0.0.2"
CLIENT, FRONT = ("192.0.2.7", 51234), ("198.51.100.1", 443)
EXTRA = """
[[listen]]
address = "127.0.0.1:@1"
proxy_protocol_from = ["127.0.0.1/32"]

[[listen]]
address = "127.0.0.1:@2"
plain_http = "redirect"
proxy_protocol_from = ["127.0.0.1"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("balanced")
    (directory / "site").mkdir()
    (directory / "site/index.html").write_text("found\n")
    extra = EXTRA.replace("@1", str(free_port())).replace("@2", str(free_port()))
    write_config(
        directory, certificates, 'root = "site"', extra=extra, limits="connections_per_address = 3\nclosing_seconds = 1"
    )
    with serving(directory) as process:
        yield process


class Client:
    """A connection that says something before the handshake."""

    def __init__(self, port: int, source: str = BALANCER) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 15, source_address=(source, 0))

    def ask(self, ca: Path, path: str, *, pieces: tuple[bytes, ...] = ()) -> bytes:
        for piece in pieces:
            self.sock.sendall(piece)
        context = ssl.create_default_context(cafile=str(ca))
        with context.wrap_socket(self.sock, server_hostname="localhost") as tls:
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            with contextlib.suppress(ssl.SSLError):
                while data := tls.recv(65_536):
                    answer += data
            return answer

    def end(self) -> bytes:
        """What comes until the server closes."""
        data = b""
        with contextlib.suppress(ConnectionResetError), self.sock:
            while piece := self.sock.recv(65_536):
                data += piece
        return data


def test_the_client_is_who_the_header_names(server: ServerProcess, certificates: TestCertificates) -> None:
    paths = []
    for write in (write_v1, write_v2):
        header = write(CLIENT, FRONT)
        for cut in (0, 1, 13, 20):
            paths.append(f"/?{write.__name__}-{cut}")
            client = Client(server.ports[1])
            answer = client.ask(certificates.ca, paths[-1], pieces=(header[:cut], header[cut:]))
            assert answer.startswith(b"HTTP/1.1 200")
    for path in paths:
        assert server.wait_for_access(path).startswith("192.0.2.7 ")


def test_a_check_of_the_balancer_itself_is_its_own_client(
    server: ServerProcess, certificates: TestCertificates
) -> None:
    for number, header in enumerate((b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\x00\x00\x00")):
        answer = Client(server.ports[1]).ask(certificates.ca, f"/?itself-{number}", pieces=(header,))
        assert answer.startswith(b"HTTP/1.1 200")
    for number in range(2):
        assert server.wait_for_access(f"/?itself-{number}").startswith("127.0.0.1 ")


def test_a_plain_port_takes_it_too(server: ServerProcess) -> None:
    client = Client(server.ports[2])
    client.sock.sendall(
        write_v1(CLIENT, FRONT) + b"GET /?plain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert client.end().startswith(b"HTTP/1.1 308")
    assert server.wait_for_access("/?plain").startswith("192.0.2.7 ")


def test_who_is_no_balancer_connects_as_always(server: ServerProcess, certificates: TestCertificates) -> None:
    answer = Client(server.ports[1], STRANGER).ask(certificates.ca, "/?direct")
    assert answer.startswith(b"HTTP/1.1 200")
    assert server.wait_for_access("/?direct").startswith("127.0.0.2 ")


@pytest.mark.parametrize("listener", [0, 1], ids=["a listener without balancers", "a listener with them"])
@pytest.mark.parametrize("write", [write_v1, write_v2], ids=["v1", "v2"])
def test_from_a_stranger_it_is_refused_and_the_log_says_why(server: ServerProcess, listener: int, write: type) -> None:
    why = "a PROXY header, and its sender is not in proxy_protocol_from"
    before = server.count_events(event="tls refused", peer=STRANGER, why=why)
    client = Client(server.ports[listener], STRANGER)
    client.sock.sendall(write(CLIENT, FRONT) + b"\x16\x03\x01")
    assert b"HTTP" not in client.end()
    server.wait_for_count(before + 1, event="tls refused", peer=STRANGER, why=why)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header"),
        (b"\x16\x03\x01\x02\x00\x01", "no PROXY header"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 99999\r\n", "a PROXY line with a malformed port"),
        (b"PROXY " + b"x" * 200, "a PROXY line of more than 107 bytes"),
        (SIGNATURE + b"\x21\x11\xff\xff", "a PROXY header of more than 4096 bytes"),
    ],
)
def test_a_balancer_that_does_not_say_who_it_is_for_is_refused(server: ServerProcess, data: bytes, why: str) -> None:
    before = server.count_events(event="tls refused", why=f"proxy protocol: {why}")
    client = Client(server.ports[1])
    client.sock.sendall(data)
    assert client.end() == b""
    server.wait_for_count(before + 1, event="tls refused", why=f"proxy protocol: {why}")


def test_a_balancer_that_goes_away_in_the_middle_of_a_header_harms_nobody(
    server: ServerProcess, certificates: TestCertificates
) -> None:
    for header in (b"", b"PRO", write_v2(CLIENT, FRONT)[:20], write_v1(CLIENT, FRONT)):
        client = Client(server.ports[1])
        client.sock.sendall(header)
        client.sock.close()
    answer = Client(server.ports[1]).ask(certificates.ca, "/?after", pieces=(write_v1(CLIENT, FRONT),))
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_client_behind_the_balancer_has_a_limit_of_its_own_and_the_balancer_none(
    server: ServerProcess, certificates: TestCertificates
) -> None:
    greedy = [Client(server.ports[1]) for _ in range(4)]
    for client in greedy:
        client.sock.sendall(write_v1(("192.0.2.66", 1), FRONT))
    server.wait_for_count(1, event="tls refused", why="too many connections from one address: 192.0.2.66")
    others = [Client(server.ports[1]) for _ in range(4)]
    for number, client in enumerate(others):
        header = write_v1((f"192.0.2.{100 + number}", 1), FRONT)
        assert client.ask(certificates.ca, f"/?other-{number}", pieces=(header,)).startswith(b"HTTP/1.1 200")
    for client in greedy:
        client.sock.close()
