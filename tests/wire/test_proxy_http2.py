"""HTTP/2 behind the proxy: what gRPC needs, resets and GOAWAY, flow control; nginx, and securelight behind itself."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import pytest

from tests.server.processes import wait_until
from tests.wire.clients import Http1, Http2
from tests.wire.server_process import ServerProcess, running, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

HERE = Path(__file__).parent
GRPC = {"content-type": "application/grpc", "te": "trailers"}


class Http2Server:
    """A server without TLS that answers as the path says, in a thread for each connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.heads: list[dict[str, str]] = []
        self.connections = 0
        self.sent_bytes = 0
        self.resets: list[int] = []
        self._refused: set[str] = set()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        connection.initiate_connection()
        paths: dict[int, str] = {}
        echoes: defaultdict[int, list[bytes]] = defaultdict(list)
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError), sock:
            sock.sendall(connection.data_to_send())
            while data := sock.recv(65_536):
                for event in connection.receive_data(data):
                    self._note(connection, event, paths, echoes)
                for stream_id, path in paths.items():
                    if path == "/endless":
                        self._fill(connection, stream_id)
                    elif path == "/grpc":
                        self._echo(connection, stream_id, echoes[stream_id])
                sock.sendall(connection.data_to_send())
                if "/garbage" in paths.values():
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                    return
                if connection.state_machine.state is h2.connection.ConnectionState.CLOSED:
                    return

    def _fill(self, connection: h2.connection.H2Connection, stream_id: int) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            while room := min(connection.local_flow_control_window(stream_id), 16_384):
                connection.send_data(stream_id, b"x" * room)
                self.sent_bytes += room

    def _echo(self, connection: h2.connection.H2Connection, stream_id: int, pieces: list[bytes]) -> None:
        """Send what may be sent; an empty piece is the end."""
        with contextlib.suppress(h2.exceptions.ProtocolError):
            while pieces:
                if not pieces[0]:
                    pieces.clear()
                    fields = [("grpc-status", "0"), ("grpc-message", "fine")]
                    connection.send_headers(stream_id, fields, end_stream=True)
                    return
                room = min(connection.local_flow_control_window(stream_id), connection.max_outbound_frame_size)
                if not room:
                    return
                connection.send_data(stream_id, pieces[0][:room])
                pieces[0] = pieces[0][room:]
                if not pieces[0]:
                    del pieces[0]

    def _note(
        self,
        connection: h2.connection.H2Connection,
        event: h2.events.Event,
        paths: dict[int, str],
        echoes: dict[int, list[bytes]],
    ) -> None:
        if isinstance(event, h2.events.RequestReceived):
            head = {str(name): str(value) for name, value in event.headers}
            self.heads.append(head)
            path = paths[event.stream_id] = head[":path"].partition("?")[0]
            self._begin(connection, event.stream_id, path)
        elif isinstance(event, h2.events.DataReceived):
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.data:
                echoes[event.stream_id].append(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            echoes[event.stream_id].append(b"")
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append(int(event.error_code))

    def _begin(self, connection: h2.connection.H2Connection, stream_id: int, path: str) -> None:
        if path == "/grpc":
            connection.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        elif path == "/trailers-only":
            connection.send_headers(stream_id, [(":status", "200"), ("grpc-status", "12")], end_stream=True)
        elif path in ("/refused", "/goaway") and path not in self._refused:
            self._refused.add(path)
            if path == "/refused":
                connection.reset_stream(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            else:
                connection.close_connection(last_stream_id=0)
        elif path == "/reset":
            connection.send_headers(stream_id, [(":status", "200")])
            connection.send_data(stream_id, b"half")
            connection.reset_stream(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif path == "/hop":
            connection.send_headers(stream_id, [(":status", "200"), ("transfer-encoding", "chunked")], end_stream=True)
        elif path == "/split":
            connection.send_headers(stream_id, [(":status", "200"), ("x-a", "b\r\nx-c: d")], end_stream=True)
        elif path == "/long-head":
            connection.send_headers(stream_id, [(":status", "200"), *[("x-a", "b" * 1000)] * 60], end_stream=True)
        elif path == "/no-status":
            connection.send_headers(stream_id, [("x-a", "b")], end_stream=True)
        elif path == "/too-short":
            connection.send_headers(stream_id, [(":status", "200"), ("content-length", "9")])
            connection.send_data(stream_id, b"short", end_stream=True)
        elif path == "/many-pieces":
            connection.send_headers(stream_id, [(":status", "200")])
            for _ in range(3000):
                connection.send_data(stream_id, b"x")
                connection.send_data(stream_id, b"")
            connection.end_stream(stream_id)
        elif path == "/hints":
            connection.send_headers(stream_id, [(":status", "103"), ("link", "</a.css>")])
            connection.send_headers(stream_id, [(":status", "204")], end_stream=True)
        elif path in ("/silent", "/garbage"):
            pass
        elif path == "/endless":
            connection.send_headers(stream_id, [(":status", "200")])
        else:
            connection.send_headers(stream_id, [(":status", "200"), ("x-path", path), ("content-length", "5")])
            connection.send_data(stream_id, b"hello", end_stream=True)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(15)
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(15)


@pytest.fixture(scope="module")
def behind() -> Iterator[Http2Server]:
    made = Http2Server()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(
    engine: str, behind: Http2Server, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"proxy-http2-{engine}")
    write_config(directory, certificates, f'[site.proxy]\nupstreams = ["h2c://127.0.0.1:{behind.port}"]', engine=engine)
    with serving(directory) as process:
        yield process


def test_requests_share_a_connection(client: Client, behind: Http2Server) -> None:
    assert client.request("GET", "/").body == b"hello"
    before = behind.connections
    answers = [client.request("GET", f"/{number}?x=y", {"cookie": "a=b"}) for number in range(5)]

    assert [(answer.body, answer.headers["x-path"]) for answer in answers] == [
        (b"hello", f"/{number}") for number in range(5)
    ]
    assert behind.connections == before
    head = behind.heads[-1]
    assert (head[":authority"], head[":scheme"], head["cookie"]) == (client.host, "http", "a=b")
    assert "host" not in head
    assert "connection" not in head


def test_a_stream_in_both_directions_with_trailers(dial: Dial, behind: Http2Server) -> None:
    client = dial.h2()
    stream = client.open("POST", "/grpc", GRPC, end=False)
    for number in range(5):
        client.send_body(stream, b"message %d;" % number, end=False)
        wanted = b"".join(b"message %d;" % one for one in range(number + 1))
        while client.pending(stream).body != wanted:
            assert client.step()
    client.h2.end_stream(stream)
    client.flush()
    answer = client.answer(stream)

    assert (answer.status, answer.trailers) == (200, {"grpc-status": "0", "grpc-message": "fine"})
    assert behind.heads[-1]["te"] == "trailers"


def test_a_large_body_both_ways(client: Client) -> None:
    body = bytes(range(256)) * 2000
    answer = client.request("POST", "/grpc", {}, body)

    assert answer.body == body
    assert answer.trailers["grpc-status"] == "0"


def test_an_answer_of_trailers_only(client: Client) -> None:
    answer = client.request("POST", "/trailers-only", {}, b"")

    assert (answer.status, answer.headers["grpc-status"], answer.body) == (200, "12", b"")


@pytest.mark.parametrize("path", ["/refused", "/goaway"])
def test_what_nobody_looked_at_is_asked_again_even_a_post(dial: Dial, behind: Http2Server, path: str) -> None:
    behind._refused.discard(path)
    before = len(behind.heads)
    answer = dial.h2().request("POST", path)

    assert (answer.status, answer.body) == (200, b"hello")
    assert len(behind.heads) == before + 2


def test_a_reset_in_the_middle_breaks_the_stream(client: Client) -> None:
    answer = client.request("GET", "/reset")

    assert answer.reset is not None or answer.status == 502


@pytest.mark.parametrize("path", ["/hop", "/split"])
def test_fields_that_could_split_a_response_are_502(client: Client, path: str) -> None:
    assert client.request("GET", path).status == 502
    assert client.request("GET", "/").body == b"hello"


@pytest.mark.parametrize("path", ["/long-head", "/no-status", "/too-short", "/garbage"])
def test_an_answer_that_breaks_http2_never_looks_whole(client: Client, dial: Dial, path: str) -> None:
    answer = client.request("GET", path)

    assert answer.status == 502 or answer.reset is not None
    other = dial.h2() if isinstance(client, Http2) else dial.h1()
    assert other.request("GET", "/").body == b"hello"


def test_pieces_of_a_byte_and_of_none(client: Client) -> None:
    assert client.request("GET", "/many-pieces").body == b"x" * 3000


def test_hints(dial: Dial) -> None:
    answer = dial.h2().request("GET", "/hints")

    assert (answer.status, answer.interim) == (204, [(103, {"link": "</a.css>"})])


def test_one_that_nobody_reads_takes_a_window_and_stops_no_other(dial: Dial, behind: Http2Server) -> None:
    behind.sent_bytes = 0
    deaf = dial.h1()
    deaf.send(f"GET /endless HTTP/1.1\r\nHost: {deaf.host}\r\n\r\n".encode())
    assert deaf.read_head().status == 200
    before = -1

    def at_rest() -> bool:
        nonlocal before
        before, earlier = behind.sent_bytes, before
        return dial.h1().request("GET", "/").body == b"hello" and before == earlier

    wait_until(at_rest, 20)
    assert behind.sent_bytes < 64 << 20
    resets = len(behind.resets)
    deaf.close()
    wait_until(lambda: len(behind.resets) > resets, 15)


def test_a_client_that_goes_resets_its_stream_only(dial: Dial, behind: Http2Server) -> None:
    resets, connections = len(behind.resets), behind.connections
    client, other = dial.h2(), dial.h2()
    heads = len(behind.heads)
    client.open("GET", "/silent")
    wait_until(lambda: len(behind.heads) > heads, 15)
    client.close()
    wait_until(lambda: len(behind.resets) > resets, 15)

    assert other.request("GET", "/").body == b"hello"
    assert behind.connections == connections


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_speaks_http2_behind_us(tmp_path: Path, certificates: TestCertificates) -> None:
    content = b"tide\n" * 200_000
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "long.bin").write_bytes(content)
    paths = "".join(
        f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"events {{ worker_connections 64; }}\nhttp {{ access_log off; {paths}\n"
        f"server {{ listen unix:{tmp_path}/nginx.sock http2; root {tmp_path}/html; }} }}\n"
    )
    nginx = subprocess.Popen(["nginx", "-c", str(tmp_path / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "nginx.sock").exists, 15)
        site = f'[site.proxy]\nupstreams = ["h2c+unix:{tmp_path}/nginx.sock"]'
        write_config(tmp_path, certificates, site)
        with serving(tmp_path) as server:
            for kind in (Http1, Http2):
                client = kind(server.port, certificates.ca)
                assert client.request("GET", "/long.bin").body == content
                assert client.request("HEAD", "/long.bin").headers["content-length"] == str(len(content))
                assert client.request("GET", "/missing").status == 404
                client.close()
    finally:
        nginx.terminate()
        nginx.wait(15)


def test_securelight_behind_itself_over_tls(tmp_path: Path, certificates: TestCertificates) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    write_config(inner, certificates, f'[site.asgi]\napp = "raw_apps:app"\napp_directory = "{HERE}"')
    with running(inner) as app:
        tls = f'[site.proxy.tls]\nca = "{certificates.ca}"'
        write_config(outer, certificates, f'[site.proxy]\nupstreams = ["h2://localhost:{app.port}"]\n{tls}')
        with serving(outer) as server:
            for kind in (Http1, Http2):
                client = kind(server.port, certificates.ca)
                assert client.request("GET", "/x").body == b"app\n"
                assert client.request("POST", "/upload", {}, b"x" * 300_000).body == b"300000"
                client.close()
        assert app.wait_for_access('"GET /x HTTP/2"')
        assert app.wait_for_access('"POST /upload HTTP/2"')
