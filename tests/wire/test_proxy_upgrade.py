"""Upgrades through the proxy over TLS, on both protocols and both engines: a real server behind it, and bad ones."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.sync.server import serve as serve_websockets

from securelight.protocol.websocket import accept_key
from tests.server.processes import wait_until
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, serving, write_config
from tests.wire.tunnel_upstream import TunnelUpstream
from tests.wire.websocket_client import (
    CLOSE,
    KEY,
    TEXT,
    Http1Tunnel,
    Http2Tunnel,
    ask_to_open,
    close,
    granted_status,
    open_websocket,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.server import ServerConnection

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

MANY_STREAMS, MANY_CONNECTIONS = 90, 10
"""On HTTP/2; with as many on HTTP/1.1 as there are streams on one connection, about a thousand tunnels."""


def switch(conversation: Conversation, seen: Seen, *, accept: str | None = None, extra: str = "") -> None:
    """A right 101, or one that is wrong in what a test says."""
    if accept is None:
        accept = accept_key((seen.get("sec-websocket-key") or "").encode()).decode()
    conversation.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{extra}\r\n"
    )


def hello_at_once(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    """Interim responses first, and frames in the same segment as the head."""
    accept = accept_key((seen.get("sec-websocket-key") or "").encode()).decode()
    conversation.send(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nX-Kind: raw\r\n\r\n\x81\x05hello"
    )
    conversation.wait_for_end()
    return False


def wrong_accept(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    switch(conversation, seen, accept="AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    conversation.send(b"\x81\x06secret")
    conversation.wait_for_end()
    return False


def echoes_the_key(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    switch(conversation, seen, accept=accept_key(KEY.encode()).decode())
    conversation.wait_for_end()
    return False


def unasked_subprotocol(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    switch(conversation, seen, extra="Sec-WebSocket-Protocol: other\r\n")
    conversation.wait_for_end()
    return False


def unasked_extension(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    switch(conversation, seen, extra="Sec-WebSocket-Extensions: permessage-deflate\r\n")
    conversation.wait_for_end()
    return False


def with_a_length(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    switch(conversation, seen, extra="Content-Length: 5\r\n")
    conversation.wait_for_end()
    return False


def another_protocol(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    conversation.wait_for_end()
    return False


def junk(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 101 Switching Protocols\r\nwhat is this\r\n\r\n")
    return False


def endless_head(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 101 Switching Protocols\r\n" + "X-A: b\r\n" * 8_000)
    conversation.wait_for_end()
    return False


def nothing(_upstream: RawUpstream, _conversation: Conversation, _seen: Seen) -> bool:
    return False


def silent(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.wait_for_end()
    return False


def denies(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.answer(b"not you", "X-Why: reasons", status="403 Forbidden")
    return False


def denies_in_chunks(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnot \r\n4\r\nhere\r\n0\r\n\r\n")
    return False


def denies_and_breaks(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nhalf")
    return False


def ends_at_once(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    switch(conversation, seen)
    return False


def plain(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    conversation.read_body(seen)
    conversation.answer(b"plain")
    return True


BEHAVIOURS = {
    "/hello": hello_at_once, "/wrong-accept": wrong_accept, "/echoed-key": echoes_the_key, "/ends": ends_at_once,
    "/subprotocol": unasked_subprotocol, "/extension": unasked_extension, "/length": with_a_length,
    "/protocol": another_protocol, "/junk": junk, "/endless": endless_head, "/nothing": nothing, "/silent": silent,
    "/denies": denies, "/denies-in-chunks": denies_in_chunks, "/denies-and-breaks": denies_and_breaks, "/": plain,
}  # fmt: skip
NO_101 = ("/wrong-accept", "/echoed-key", "/subprotocol", "/extension", "/length", "/protocol", "/junk", "/endless",
          "/nothing")  # fmt: skip


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@pytest.fixture(scope="module")
def raw() -> Iterator[RawUpstream]:
    """Does what its path says."""
    made = RawUpstream(BEHAVIOURS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def tunnels() -> Iterator[TunnelUpstream]:
    """Grants everything, and sends back what it gets."""
    made = TunnelUpstream()
    yield made
    made.close()


@pytest.fixture(scope="module")
def real_port() -> Iterator[int]:
    """A server of the `websockets` package that echoes."""
    with serve_websockets(echo, "127.0.0.1", 0, subprotocols=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join(20)


@pytest.fixture(scope="module")
def server(
    engine: str,
    tmp_path_factory: pytest.TempPathFactory,
    certificates: TestCertificates,
    raw: RawUpstream,
    tunnels: TunnelUpstream,
    real_port: int,
) -> Iterator[ServerProcess]:
    """A proxy with a route to each of them."""
    directory = tmp_path_factory.mktemp(f"proxy-upgrade-{engine}")

    def route(path: str, port: int, upgrade: str, extra: str = "") -> str:
        return f"""
[[site.route]]
path = "{path}"
[site.route.proxy]
upstreams = ["http://127.0.0.1:{port}"]
strip_prefix = true
{extra}
{f"[site.route.proxy.upgrade]{chr(10)}{upgrade}" if upgrade else ""}
"""

    site = "".join(
        (
            route("/real", real_port, 'protocols = ["websocket"]'),
            route("/raw", raw.port, 'protocols = ["websocket"]'),
            route("/patient-no-more", raw.port, 'protocols = ["websocket"]', "timeouts = { first_byte_seconds = 0.5 }"),
            route("/off", raw.port, ""),
            route("/tunnel", tunnels.port, 'protocols = ["websocket", "echo/1"]\nmaximum = 2000'),
            route("/idle", tunnels.port, 'protocols = ["websocket"]\nidle_seconds = 1'),
            route("/total", tunnels.port, 'protocols = ["websocket"]\ntotal_seconds = 1'),
            route("/few", tunnels.port, 'protocols = ["websocket"]\nmaximum = 2'),
        )
    )
    write_config(directory, certificates, site, engine=engine, log_format="json")
    with serving(directory) as process:
        yield process


def test_a_real_server_behind_the_proxy(client: Client) -> None:
    socket = open_websocket(client, "/real/")
    assert socket.ask("hello") == "hello"
    assert socket.ask("ü" * 40_000) == "ü" * 40_000
    socket.send(close(1000, b"bye"))
    (last,) = socket.rest()
    assert (last.opcode, last.payload) == (CLOSE, struct.pack("!H", 1000) + b"bye")
    socket.end()


def test_the_server_behind_gets_a_request_of_ours(client: Client, raw: RawUpstream, server: ServerProcess) -> None:
    count = len(raw.requests)
    headers = {"sec-websocket-protocol": "chat, superchat", "cookie": "a=b", "x-forwarded-for": "6.6.6.6"}
    open_websocket(client, "/raw/hello?a=b", headers).end()
    (seen,) = raw.requests[count:]
    assert seen.line == "GET /hello?a=b HTTP/1.1"
    assert seen.get("connection") == "Upgrade"
    assert seen.get("upgrade") == "websocket"
    assert seen.get("sec-websocket-version") == "13"
    assert seen.get("sec-websocket-key") not in (None, KEY), "the key is ours"
    assert seen.get("sec-websocket-protocol") == "chat, superchat"
    assert seen.get("cookie") == "a=b"
    assert seen.get("x-forwarded-for") == "127.0.0.1"
    assert seen.get("x-forwarded-proto") == "https"
    assert seen.get("host") == client.host
    assert seen.get("content-length") is None
    assert not [name for name, _value in seen.fields if name.startswith(":") or name == "transfer-encoding"]


def test_interim_responses_and_early_frames_are_no_trouble(client: Client) -> None:
    socket = open_websocket(client, "/raw/hello")
    assert socket.answer.headers["x-kind"] == "raw"
    first = socket.receive()
    assert first is not None
    assert (first.opcode, first.payload) == (TEXT, b"hello")
    socket.end()


@pytest.mark.parametrize("path", NO_101)
def test_what_does_not_prove_a_websocket_is_no_tunnel(client: Client, path: str) -> None:
    answer, tunnel = ask_to_open(client, f"/raw{path}")
    assert answer.status == 502
    assert b"secret" not in answer.body
    if isinstance(tunnel, Http1Tunnel):
        assert b"secret" not in tunnel.receive()


def test_a_server_that_does_not_answer_in_time(client: Client) -> None:
    assert ask_to_open(client, "/patient-no-more/silent")[0].status == 504


def test_a_server_that_does_not_want_to(dial: Dial) -> None:
    for path, status, body in (("/raw/denies", 403, b"not you"), ("/raw/denies-in-chunks", 404, b"not here")):
        http1 = dial.h1()
        http1.send(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
        )
        answer = http1.answer()
        assert (answer.status, answer.body) == (status, body)
        assert http1.request("GET", "/off/plain").body == b"plain", "the connection is still one of HTTP"
        http2 = dial.h2()
        answer, tunnel = ask_to_open(http2, path)
        assert isinstance(tunnel, Http2Tunnel)
        whole = http2.answer(tunnel.stream_id)
        assert (whole.status, whole.body) == (status, body)


def test_a_denial_that_breaks_off_does_not_look_whole(dial: Dial) -> None:
    http2 = dial.h2()
    _answer, tunnel = ask_to_open(http2, "/raw/denies-and-breaks")  # the reset may overtake its head
    assert isinstance(tunnel, Http2Tunnel)
    assert http2.answer(tunnel.stream_id).reset not in (None, 0)


def test_no_upgrade_where_none_is_allowed(dial: Dial, raw: RawUpstream) -> None:
    count = len(raw.requests)
    http1 = dial.h1()
    answer = http1.request("GET", "/off/plain", {"connection": "upgrade", "upgrade": "websocket"})
    assert (answer.status, answer.body) == (200, b"plain"), "an upgrade that is ignored is an ordinary request"
    assert raw.requests[count].get("upgrade") is None
    assert raw.requests[count].get("connection") is None
    assert ask_to_open(dial.h2(), "/off/plain")[0].status == 501


def test_no_protocol_but_those_that_are_allowed(dial: Dial, tunnels: TunnelUpstream) -> None:
    http2 = dial.h2()
    assert ask_to_open(http2, "/tunnel/", {":protocol": "connect-udp"})[0].status == 501
    assert ask_to_open(http2, "/tunnel/", {":protocol": "echo/1"})[0].status == 501
    count = tunnels.switched
    assert dial.h1().request("GET", "/raw/plain", {"connection": "upgrade", "upgrade": "h2c"}).body == b"plain"
    assert tunnels.switched == count


def test_another_protocol_over_http1(dial: Dial) -> None:
    client = dial.h1()
    client.send(b"POST /tunnel/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ECHO/1\r\n\r\n")
    assert client._line() == b"HTTP/1.1 101 Switching Protocols"
    assert client._fields()["upgrade"] == "echo/1"
    client.send(b"any bytes \x00\xff")
    assert client.rest(12) == (b"any bytes \x00\xff", True)


def test_what_was_sent_before_the_switch_goes_through(dial: Dial) -> None:
    client = dial.h1()
    head = b"GET /tunnel/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n"
    client.send(head + b"GET /off/plain HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client._line() == b"HTTP/1.1 101 Switching Protocols"
    client._fields()
    assert client._line() == b"GET /off/plain HTTP/1.1", "it is the other protocol's, and no request of ours"


def test_an_upgrade_with_a_body_is_no_upgrade(dial: Dial, tunnels: TunnelUpstream, raw: RawUpstream) -> None:
    count = tunnels.switched
    answer = dial.h1().request("POST", "/raw/plain", {"connection": "upgrade", "upgrade": "websocket"}, b"body")
    assert (answer.status, answer.body) == (200, b"plain")
    assert raw.requests[-1].body == b"body"
    assert tunnels.switched == count


def test_a_handshake_that_is_none_does_not_reach_the_server(client: Client, tunnels: TunnelUpstream) -> None:
    count = tunnels.switched
    assert ask_to_open(client, "/tunnel/", {"sec-websocket-version": "8"})[0].status == 400
    assert tunnels.switched == count


@pytest.mark.parametrize("path", ["/idle/", "/total/"])
def test_a_tunnel_has_its_time(client: Client, tunnels: TunnelUpstream, path: str) -> None:
    answer, tunnel = ask_to_open(client, path)
    assert answer.status == granted_status(client)
    assert tunnel.receive() == b""
    wait_until(lambda: tunnels.open_tunnels == 0, 20)


def test_no_more_tunnels_than_are_allowed(dial: Dial, tunnels: TunnelUpstream) -> None:
    client = dial.h2()
    first, second = (ask_to_open(client, "/few/") for _ in range(2))
    assert (first[0].status, second[0].status) == (200, 200)
    refused, _tunnel = ask_to_open(client, "/few/")
    assert refused.status == 503
    assert refused.headers["retry-after"] == "5"
    first[1].end()
    assert first[1].receive() == b""
    wait_until(lambda: ask_to_open(client, "/few/")[0].status == 200)


def test_the_end_of_the_server_is_the_end(client: Client) -> None:
    socket = open_websocket(client, "/raw/ends")
    assert socket.rest() == []
    if isinstance(socket.tunnel, Http2Tunnel):
        assert socket.tunnel.reset is None


def test_a_server_that_reads_nothing_stops_the_client(dial: Dial, tunnels: TunnelUpstream) -> None:
    """And what is held in between stays small."""
    client = dial.h2()
    answer, tunnel = ask_to_open(client, "/tunnel/")
    assert answer.status == 200
    tunnels.reads.clear()
    try:
        assert isinstance(tunnel, Http2Tunnel)
        sent = 0
        client.sock.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                tunnel.send(b"x" * 16_384)
                sent += 16_384
        assert sent < 32 << 20, "the buffers of two sockets, and little of ours"
    finally:
        tunnels.reads.set()
        client.sock.settimeout(15.0)


def descriptors(server: ServerProcess) -> int:
    (worker,) = server.workers()
    return len(list(Path(f"/proc/{worker}/fd").iterdir()))


def test_a_thousand_clients_that_vanish_leave_nothing(
    dial: Dial, server: ServerProcess, tunnels: TunnelUpstream
) -> None:
    witness = dial.h2()
    assert witness.request("GET", "/off/plain").status == 200
    wait_until(lambda: tunnels.open_tunnels == 0)
    before = descriptors(server)
    socks: list[socket.socket] = []
    for _ in range(MANY_CONNECTIONS):
        http2 = dial.h2()
        socks.append(http2.sock)
        for _ in range(MANY_STREAMS):
            answer, tunnel = ask_to_open(http2, "/tunnel/")
            assert answer.status == 200
        tunnel.send(b"on its way")
    for _ in range(MANY_STREAMS):
        http1 = dial.h1()
        socks.append(http1.sock)
        answer, tunnel = ask_to_open(http1, "/tunnel/")
        assert answer.status == 101
        tunnel.send(b"on its way")
    assert tunnels.open_tunnels == (MANY_CONNECTIONS + 1) * MANY_STREAMS
    for number, sock in enumerate(socks):
        if number % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    wait_until(lambda: tunnels.open_tunnels == 0, 30)
    wait_until(lambda: descriptors(server) <= before, 30)
    assert witness.request("GET", "/off/plain").status == 200
    assert server.count_events(level="error") == 0
