from __future__ import annotations

import contextlib
import os
import plistlib
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from hypothesis import given, settings, strategies as st

from securelight.cli.certs import serve_root, serve_root_page
from securelight.cli.certs.serve_root import (
    MAXIMUM_CONNECTIONS,
    MAXIMUM_HEAD_BYTES,
    addresses,
    announcement,
    contents,
    lan_addresses,
    qr_code,
    respond,
    serve,
)
from securelight.cli.certs.serve_root_page import pairs
from securelight.cli.main import main
from securelight.pki.trust_facts import RootFacts, root_facts
from securelight.pki.trust_root import Root, certificates_in, read_root
from tests.certificates import TestCertificates

WAIT_SECONDS = 20


@pytest.fixture
def root(certificates: TestCertificates) -> Root:
    return read_root(certificates.ca)


class Running:
    """The command as a process, on a free port."""

    def __init__(self, certs: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "securelight", "certs", "serve-root", "--certs", str(certs)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
        self.said = ""
        self.port = int(self.wait_for(r"http://\S+?:(\d+)/")[1])

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read what it prints until that is there."""
        assert self.process.stdout is not None
        while (found := re.search(pattern, self.said)) is None:
            ready, _, _ = select.select([self.process.stdout], [], [], WAIT_SECONDS)
            piece = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            assert piece, f"no {pattern!r} in: {self.said}"
            self.said += piece.decode()
        return found

    def fetch(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer to raw bytes."""
        with socket.create_connection(("127.0.0.1", self.port), WAIT_SECONDS) as client:
            client.sendall(request)
            answer = b""
            while piece := client.recv(65_536):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        return head, body


@contextlib.contextmanager
def running(certs: Path, *arguments: str) -> Iterator[Running]:
    started = Running(certs, *arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.wait(WAIT_SECONDS)
        assert started.process.stdout is not None
        started.process.stdout.close()


@pytest.fixture(scope="module")
def server(certificates: TestCertificates) -> Iterator[Running]:
    with running(certificates.ca.parent, "--listen", "127.0.0.1:0", "--no-qr") as started:
        yield started


def get(path: bytes, method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\nhost: a\r\n\r\n" % (method, path)


def test_the_certificate_is_there_in_every_form(server: Running, root: Root) -> None:
    assert certificates_in(server.fetch(get(b"/ca.pem"))[1]) == [root.der]
    head, body = server.fetch(get(b"/ca.crt"))
    assert body == root.der
    assert b"content-type: application/x-x509-ca-cert\r\n" in head
    head, body = server.fetch(get(b"/ca.mobileconfig?from=qr"))
    assert plistlib.loads(body)["PayloadContent"][0]["PayloadContent"] == root.der
    assert b"content-type: application/x-apple-aspen-config\r\n" in head
    server.wait_for(r"127\.0\.0\.1 fetched /ca\.mobileconfig")
    head, body = server.fetch(get(b"/ca.crt", b"HEAD"))
    assert (head.startswith(b"HTTP/1.1 200 OK\r\n"), body) == (True, b"")


def test_the_terminal_and_the_page_show_the_same_fingerprint(server: Running, root: Root) -> None:
    _head, body = server.fetch(get(b"/"))
    page = body.decode().replace("<wbr>", "")
    for fingerprint in (root.sha256, pairs(root.sha1)):
        assert fingerprint in server.said
        assert fingerprint in page
    assert "must be this fingerprint" in server.said


def test_the_page_links_to_files_that_exist_and_runs_nothing(server: Running) -> None:
    head, body = server.fetch(get(b"/"))

    class Reader(HTMLParser):
        links: list[str] = []  # noqa: RUF012 - of one reader
        tags: set[str] = set()  # noqa: RUF012 - of one reader

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.add(tag)
            self.links.extend(value or "" for name, value in attrs if name in ("href", "src"))

    reader = Reader()
    reader.feed(body.decode())
    assert len(reader.links) == len(serve_root_page.PLATFORMS)
    for link in reader.links:
        assert server.fetch(get(link.encode()))[0].startswith(b"HTTP/1.1 200 ")
    assert "script" not in reader.tags
    assert b"default-src 'none'; style-src 'sha256-" in head
    for platform in ("iPhone", "Android", "Windows", "macOS", "Linux"):
        assert platform in body.decode()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get(b"/ca.key"), b"404"),
        (get(b"/../certs/ca.key"), b"404"),
        (get(b"/..%2fca.key"), b"404"),
        (get(b"//ca.pem"), b"404"),
        (get(b"http://a/ca.pem"), b"405"),
        (get(b"/ca.pem", b"POST"), b"405"),
        (get(b"*", b"OPTIONS"), b"405"),
        (b"GET /\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1 extra\r\n\r\n", b"400"),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 2 * MAXIMUM_HEAD_BYTES, b"431"),
    ],
)
def test_nothing_else_is_answered(request_bytes: bytes, status: bytes, server: Running, root: Root) -> None:
    head, body = server.fetch(request_bytes)
    assert head.split(b" ")[1] == status
    assert root.der not in body
    assert b"PRIVATE" not in body


@given(st.binary(max_size=200), st.sampled_from([b"", b"\r\n\r\n", b" HTTP/1.1\r\n\r\n"]))
@settings(max_examples=200)
def test_whatever_comes_is_answered_with_what_there_is(start: bytes, end: bytes) -> None:
    answers = {b"/": (b"text/html", b"the page"), b"/ca.pem": (b"text/plain", b"the root")}
    for method in (b"", b"GET ", b"HEAD /"):
        response, path = respond(method + start + end, answers)
        head, separator, body = response.partition(b"\r\n\r\n")
        assert separator
        assert re.match(rb"HTTP/1\.1 (200|400|404|405|431) ", head)
        assert (path != "") == head.startswith(b"HTTP/1.1 200 ")
        assert body in (b"", b"the page", b"the root") or re.fullmatch(rb"4\d\d [A-Za-z ]+\n", body)


def test_it_is_bound_where_told_and_nowhere_else(server: Running) -> None:
    """Loopback by default: the machine's own address in its network is refused."""
    others = [address for address in lan_addresses() if ":" not in address]
    if not others:
        pytest.skip("this machine is in no network")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((others[0], server.port), WAIT_SECONDS)
    assert "Only this machine can reach it" in server.said
    assert f"--listen {others[0]}:{server.port}" in server.said


def test_it_ends_by_itself(certificates: TestCertificates) -> None:
    with running(certificates.ca.parent, "--listen", "127.0.0.1:0", "--minutes", "0.01") as started:
        assert started.process.wait(WAIT_SECONDS) == 0
        started.wait_for("The time is up")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_told(number: signal.Signals, certificates: TestCertificates) -> None:
    with running(certificates.ca.parent, "--listen", "127.0.0.1:0") as started:
        started.fetch(get(b"/"))  # so that it is past its start
        started.process.send_signal(number)
        assert started.process.wait(WAIT_SECONDS) == 0
        started.wait_for("Stopped")


async def test_a_slow_client_is_let_go(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_root, "EXCHANGE_SECONDS", 0.5)
    async with listening(root) as port:
        slow = await trio.open_tcp_stream("127.0.0.1", port)
        await slow.send_all(b"GET /ca.pem HT")
        with trio.fail_after(WAIT_SECONDS):
            assert await everything(slow) == b""


async def test_others_are_served_while_one_is_slow(root: Root) -> None:
    async with listening(root) as port:
        slow = await trio.open_tcp_stream("127.0.0.1", port)
        await slow.send_all(b"GET /ca.pem HT")
        quick = await trio.open_tcp_stream("127.0.0.1", port)
        await quick.send_all(get(b"/ca.crt"))
        with trio.fail_after(WAIT_SECONDS):
            assert (await everything(quick)).endswith(root.der)
        await slow.send_all(b"TP/1.1\r\n\r\n")
        with trio.fail_after(WAIT_SECONDS):
            assert (await everything(slow)).endswith(root.pem)


async def test_a_crowd_is_bounded(root: Root) -> None:
    async with listening(root) as port:
        crowd = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(MAXIMUM_CONNECTIONS)]
        late = await trio.open_tcp_stream("127.0.0.1", port)
        with trio.fail_after(WAIT_SECONDS):
            assert await everything(late) == b""
        for stream in crowd:
            await stream.aclose()


async def test_clients_that_vanish_are_no_trouble(root: Root) -> None:
    async with listening(root) as port:
        for sent in (b"", b"GET", get(b"/")):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(sent)
            # A reset instead of a goodbye.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            await trio.aclose_forcefully(stream)
        after = await trio.open_tcp_stream("127.0.0.1", port)
        await after.send_all(get(b"/ca.crt"))
        with trio.fail_after(WAIT_SECONDS):
            assert (await everything(after)).endswith(root.der)


async def everything(stream: trio.SocketStream) -> bytes:
    """What comes until the end; nothing more after a reset."""
    received = b""
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):
            while piece := await stream.receive_some(65_536):
                received += piece
    return received


@contextlib.asynccontextmanager
async def listening(root: Root) -> AsyncIterator[int]:
    """The server in this process; gives its port."""
    said: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    tell: Callable[[str], None] = said.append
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, contents(root), [listener], 60.0, tell)
        yield port
        nursery.cancel_scope.cancel()


def test_the_code_says_the_address() -> None:
    segno = pytest.importorskip("segno", reason="segno is not installed (extra: qr)")
    url = "http://192.168.1.5:8480/"
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in qr_code(url).splitlines()]
    halves = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}  # light is drawn, dark is left out
    drawn = [[halves[character][half] for character in line] for line in lines for half in (0, 1)]
    matrix = [list(row) for row in segno.make(url, error="m", micro=False).matrix]
    border = 2
    inner = [row[border : border + len(matrix)] for row in drawn[border : border + len(matrix)]]
    assert inner == matrix
    assert not any(drawn[0])


def test_without_the_package_it_says_how_to_get_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    assert "-m pip install 'securelight[qr]'" in qr_code("http://a/")


def test_addresses_are_those_that_others_reach(root: Root) -> None:
    with socket.create_server(("0.0.0.0", 0)) as every:
        port = every.getsockname()[1]
        expected = [address for address in lan_addresses() if "." in address] or ["localhost"]
        assert addresses([every]) == [f"http://{expected[0]}:{port}/"]
        assert "Only this machine" not in announcement(root, [every], 15, with_qr=False)


def test_an_authority_without_limits_is_told_to_be_one(root: Root, certificates: TestCertificates) -> None:
    assert b"for these names and addresses only: localhost" in respond(get(b"/"), contents(root))[0]
    unlimited = RootFacts("<b>CA</b> & co", root_facts(root).not_after, "")
    page = serve_root_page.page(root, unlimited).decode()
    assert "every site on the internet" in page
    assert "&lt;b&gt;CA&lt;/b&gt; &amp; co" in page
    assert "<b>CA" not in page


@pytest.mark.parametrize(
    ("listen", "status", "said"),
    [
        ("8480", 2, "is not host:port"),
        ("a..b:8480", 2, "cannot be resolved"),
        ("192.0.2.77:65536", 2, "is not host:port"),
        ("192.0.2.77:8480", 1, "192.0.2.77:8480 is no address of this machine"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(
    listen: str, status: int, said: str, certificates: TestCertificates
) -> None:
    arguments = ["certs", "serve-root", "--certs", str(certificates.ca.parent), "--minutes", "0.01"]
    result = CliRunner().invoke(main, [*arguments, "--listen", listen])
    assert result.exit_code == status
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_named_with_its_owner(certificates: TestCertificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(
            main, ["certs", "serve-root", "--certs", str(certificates.ca.parent), "--listen", listen]
        )
    assert result.exit_code == 1
    assert re.search(r"port \d+ is taken by .+; choose another one", result.stderr)


def test_without_an_authority_nothing_listens(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["certs", "serve-root", "--certs", str(tmp_path)])
    assert result.exit_code == 1
    assert "make one with: securelight certs ca" in result.stderr
