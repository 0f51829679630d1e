"""WebSockets of applications over TLS, on both protocols and engines: handshakes, refusals, ends, limits, peers."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import RstStreamFrame
from websockets.asyncio.client import connect as connect_websockets
from websockets.exceptions import ConnectionClosed

from tests.server.processes import PatientHttp2, wait_until
from tests.wire.clients import Http1, Http2
from tests.wire.server_process import ServerProcess, running, write_config
from tests.wire.websocket_client import (
    CLOSE,
    PING,
    TEXT,
    Http2Tunnel,
    ask_to_open,
    close,
    frame,
    granted_status,
    open_websocket,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial
    from tests.wire.raw_http2 import RawHttp2

HERE = Path(__file__).parent


def route(path: str, app: str, extra: str = "") -> str:
    return f"""
[[site.route]]
path = "{path}"
[site.route.asgi]
app = "websocket_apps:{app}"
app_directory = "{HERE}"
{extra}
"""


SITE = (
    route("/bare", "bare")
    + route("/star", "star")
    + route("/fast", "fast")
    + route("/plain", "bare", "websocket_compression = false")
    + """
[[site.route]]
path = "/words"
[site.route.respond]
status = 200
body = "words"
"""
)
LIMITS = "websocket_close_seconds = 2"
MANY = 90
READ_AHEAD_BYTES = 65_536


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """The applications of websocket_apps."""
    directory = tmp_path_factory.mktemp(f"websocket-{engine}")
    write_config(directory, certificates, SITE, limits=LIMITS, engine=engine, log_format="json")
    with running(directory) as process:
        yield process
    assert process.process.returncode == 0


class Seen:
    """What the applications have seen; asks on a connection of its own, which it closes."""

    def __init__(self, dial: Dial, path: str = "/bare/seen") -> None:
        self._dial = dial
        self._path = path

    def now(self) -> dict[str, int]:
        client = self._dial.h1()
        try:
            return self._ask(client)
        finally:
            client.close()

    def _ask(self, client: Http1) -> dict[str, int]:
        answer = client.request("GET", self._path)
        assert answer.status == 200
        found: dict[str, int] = json.loads(answer.body)
        return found

    def until(self, what: str, count: int) -> None:
        """Wait until `what` was seen `count` times."""
        client = self._dial.h1()
        try:
            wait_until(lambda: self._ask(client).get(what, 0) >= count, 20)
        finally:
            client.close()


@pytest.fixture
def seen(dial: Dial) -> Seen:
    """Of the bare application."""
    return Seen(dial)


# Handshakes.


def test_the_scope_says_what_the_handshake_said(client: Client) -> None:
    socket = open_websocket(client, "/bare/scope?a=b", {"sec-websocket-protocol": "one, two", "x-mine": "yes"})
    found = socket.receive()
    assert found is not None
    scope = json.loads(found.payload)
    assert scope["type"] == "websocket"
    assert scope["http_version"] == ("1.1" if isinstance(client, Http1) else "2")
    assert scope["scheme"] == "wss"
    assert (scope["path"], scope["root_path"], scope["query"]) == ("/bare/scope", "/bare", "a=b")
    assert scope["subprotocols"] == ["one", "two"]
    assert scope["extensions"] == ["tls", "websocket.http.response"]
    assert not scope["has_method"]
    assert {"host", "x-mine"} <= set(scope["names"])
    assert not any(name.startswith(":") for name in scope["names"])
    assert ("upgrade" in scope["names"]) == isinstance(client, Http1)
    rest = socket.rest()
    assert [one.code for one in rest] == [1000], "an application that returns closes"
    socket.end()


def test_the_application_chooses_a_subprotocol_and_fields_and_a_code(client: Client) -> None:
    socket = open_websocket(client, "/bare/subprotocol", {"sec-websocket-protocol": "one, two"})
    assert socket.answer.headers["sec-websocket-protocol"] == "two"
    assert socket.answer.headers["x-who"] == "app"
    (last,) = socket.rest()
    assert (last.opcode, last.payload) == (CLOSE, struct.pack("!H", 4321) + b"enough")
    socket.end()


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-websocket-version": "12"}, {"sec-websocket-version": ""}, {"sec-websocket-version": "13, 14"},
        {"sec-websocket-protocol": "a, a"}, {"sec-websocket-protocol": "a b"}, {"sec-websocket-protocol": "a,,b"},
    ],
)  # fmt: skip
def test_a_malformed_handshake(client: Client, headers: dict[str, str]) -> None:
    answer, _tunnel = ask_to_open(client, "/bare/echo", headers)
    assert answer.status == 400
    if "sec-websocket-version" in headers:
        assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("key", ["", "short", "dGhlIHNhbXBsZSBub25jZR==x", "!!!!!!!!!!!!!!!!!!!!!!==", "QUJD"])
def test_a_malformed_key(dial: Dial, key: str) -> None:
    assert ask_to_open(dial.h1(), "/bare/echo", {"sec-websocket-key": key})[0].status == 400


@pytest.mark.parametrize(
    "headers", [{"connection": ""}, {"connection": "keep-alive"}, {"upgrade": ""}, {"upgrade": "foo"}]
)
def test_what_asks_for_no_websocket_is_an_ordinary_request(dial: Dial, headers: dict[str, str]) -> None:
    client = dial.h1()
    asked = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", **headers}
    answer = client.request("GET", "/bare/echo", {name: value for name, value in asked.items() if value})
    assert (answer.status, answer.body) == (200, b"http")
    assert client.request("GET", "/bare/again").body == b"http"


@pytest.mark.parametrize("headers", [{"connection": "keep-alive, UPGRADE"}, {"upgrade": "h2c, WebSocket"}])
def test_spellings_of_a_right_handshake(dial: Dial, headers: dict[str, str]) -> None:
    assert open_websocket(dial.h1(), "/bare/echo", headers).ask("hello") == "hello"


def test_a_body_makes_it_an_ordinary_request(dial: Dial) -> None:
    asked = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    assert dial.h1().request("GET", "/bare/echo", asked, b"body").body == b"http"


def test_http2_offers_it(dial: Dial) -> None:
    client = dial.h2()
    assert client.request("GET", "/words").status == 200
    assert client.h2.remote_settings.enable_connect_protocol == 1


def test_http2_takes_no_connect_without_a_protocol_and_none_to_others(dial: Dial) -> None:
    client = dial.h2()
    assert ask_to_open(client, "/bare/echo", {":protocol": "foo"})[0].status == 501
    assert ask_to_open(client, "/words")[0].status == 501
    assert ask_to_open(client, "/nowhere")[0].status == 501
    answer, tunnel = ask_to_open(client, "/bare/echo", {"content-length": "5"})
    assert isinstance(tunnel, Http2Tunnel)
    assert answer.status == 400 or tunnel.reset is not None
    assert client.request("GET", "/words").body == b"words", "the connection goes on"


def was_reset(client: RawHttp2, stream_id: int) -> bool:
    return any(one.stream_id == stream_id and isinstance(one, RstStreamFrame) for one in client.frames)


def test_http2_connect_that_is_malformed_costs_its_stream_alone(dial: Dial) -> None:
    client = dial.raw()
    host = client.host
    for stream_id, fields in enumerate(
        (
            [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":authority", host)],
            [(b":method", b"GET"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":authority", host),
             (b":path", b"/bare/echo")],
            [(b":method", b"CONNECT"), (b":protocol", b""), (b":scheme", b"https"), (b":authority", host),
             (b":path", b"/bare/echo")],
            [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":authority", host),
             (b":path", b"bare")],
        )
    ):  # fmt: skip
        number = 2 * stream_id + 1
        block = client._encoder.encode(fields)
        client.send(len(block).to_bytes(3) + b"\x01\x04" + number.to_bytes(4) + block)
        assert client.until(partial(was_reset, client, number)), fields
    client.send(client.head(101, "/words"))
    assert client.until(lambda: client.statuses.get(101) == 200)


def test_without_a_websocket_route_http2_does_not_offer_it(tmp_path: Path, certificates: TestCertificates) -> None:
    write_config(tmp_path, certificates, '[site.respond]\nstatus = 200\nbody = "words"')
    with running(tmp_path) as server:
        client = Http2(server.port, certificates.ca)
        assert client.request("GET", "/").status == 200
        assert client.h2.remote_settings.enable_connect_protocol == 0
        client.h2.remote_settings[8] = 1
        answer, tunnel = ask_to_open(client, "/")
        assert isinstance(tunnel, Http2Tunnel)
        assert (answer.status, tunnel.reset) == (0, 1)
        client.close()


# Refusals.


def test_an_application_that_refuses(client: Client, seen: Seen) -> None:
    before = seen.now().get("refused", 0)
    assert ask_to_open(client, "/bare/refuse")[0].status == 403
    seen.until("refused", before + 1)


def test_an_application_that_denies_by_an_answer_of_its_own(dial: Dial) -> None:
    client = dial.h2()
    _answer, tunnel = ask_to_open(client, "/bare/deny")
    assert isinstance(tunnel, Http2Tunnel)
    whole = client.answer(tunnel.stream_id)
    assert (whole.status, whole.headers["www-authenticate"], whole.body) == (401, "Basic", b"log in first")
    http1 = dial.h1()
    answer, _tunnel = ask_to_open(http1, "/bare/deny")
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Basic")


@pytest.mark.parametrize("path", ["/bare/nothing", "/bare/fail_early", "/bare/wrong_subprotocol"])
def test_an_application_that_fails_before_it_accepts(client: Client, server: ServerProcess, path: str) -> None:
    errors = server.count_events(level="error")
    assert ask_to_open(client, path)[0].status == 500
    server.wait_for_count(errors + 1, level="error")


def test_an_application_that_fails_afterwards(client: Client, server: ServerProcess) -> None:
    errors = server.count_events(level="error")
    socket = open_websocket(client, "/bare/fail")
    socket.send(frame(TEXT, b"now"))
    (last,) = socket.rest()
    assert last.code == 1011
    assert b"planted" not in last.payload
    socket.end()
    server.wait_for_count(errors + 1, level="error")
    assert "planted failure" in server.events_path.read_text()


# Ends.


def test_the_application_hears_how_it_ended(client: Client, seen: Seen) -> None:
    before = seen.now()
    socket = open_websocket(client, "/bare/echo")
    assert socket.ask("hello") == "hello"
    socket.send(close(4242, b"why not"))
    assert [one.code for one in socket.rest()] == [4242]
    socket.end()
    what = "echo ended with 4242 why not"
    seen.until(what, before.get(what, 0) + 1)


@pytest.mark.parametrize("reset", [False, True])
def test_the_application_hears_that_its_client_has_gone(client: Client, seen: Seen, reset: bool) -> None:
    what = "echo ended with 1006 "
    before = seen.now().get(what, 0)
    socket = open_websocket(client, "/bare/echo")
    assert socket.ask("hello") == "hello"
    vanish(client.sock, reset=reset)
    seen.until(what, before + 1)


def vanish(sock: socket.socket, *, reset: bool) -> None:
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_an_http2_stream_that_ends_without_a_close(dial: Dial, seen: Seen) -> None:
    what = "echo ended with 1006 "
    before = seen.now().get(what, 0)
    client = dial.h2()
    first, second = open_websocket(client, "/bare/echo"), open_websocket(client, "/bare/echo")
    assert isinstance(first.tunnel, Http2Tunnel)
    client.h2.reset_stream(first.tunnel.stream_id, 8)
    client.flush()
    second.end()
    second.rest()
    seen.until(what, before + 2)
    assert client.request("GET", "/words").status == 200


def test_an_application_that_does_not_listen_is_cancelled_when_its_client_has_gone(client: Client, seen: Seen) -> None:
    before = seen.now().get("deaf ended", 0)
    socket = open_websocket(client, "/bare/deaf")
    payload = b"x" * READ_AHEAD_BYTES
    socket.send(frame(TEXT, payload), frame(TEXT, b"more than is read ahead"))
    client.sock.close()
    seen.until("deaf ended", before + 1)


def test_an_application_that_only_sends_ends_with_its_client(client: Client, seen: Seen) -> None:
    before = seen.now().get("flood ended", 0)
    socket = open_websocket(client, "/bare/flood")
    assert socket.receive() is not None
    client.sock.close()
    seen.until("flood ended", before + 1)


def test_pings_are_answered_whatever_the_application_does(client: Client) -> None:
    socket = open_websocket(client, "/bare/deaf")
    socket.send(frame(PING, b"are you there"))
    found = socket.receive()
    assert found is not None
    assert found.payload == b"are you there"
    socket.send(close(1000))
    assert [one.code for one in socket.rest()] == [1000]
    socket.end()


def test_a_silent_client_is_asked_and_then_given_up(tmp_path: Path, certificates: TestCertificates) -> None:
    write_config(tmp_path, certificates, SITE, limits="websocket_ping_seconds = 1")
    with running(tmp_path) as server:
        for kind in (Http1, Http2):
            client = kind(server.port, certificates.ca)
            socket = open_websocket(client, "/bare/echo")
            ping = socket.receive()
            assert ping is not None
            assert ping.opcode == PING
            (last,) = (one for one in socket.rest() if one.opcode != PING)
            assert last.code == 1011
            client.close()


def test_a_pong_is_a_sign_of_life(tmp_path: Path, certificates: TestCertificates) -> None:
    write_config(tmp_path, certificates, SITE, limits="websocket_ping_seconds = 4")
    with running(tmp_path) as server:
        client = Http1(server.port, certificates.ca)
        socket = open_websocket(client, "/bare/echo")
        for _ in range(2):
            ping = socket.receive()
            assert ping is not None
            assert ping.opcode == PING, "not closed after twice the time of silence, as it was answered"
            socket.send(frame(10, ping.payload))
        client.close()


def test_many_clients_that_vanish_leave_nothing(dial: Dial, seen: Seen, server: ServerProcess) -> None:
    (worker,) = server.workers()

    def descriptors() -> int:
        return len(list(Path(f"/proc/{worker}/fd").iterdir()))

    witness = dial.h2()
    assert witness.request("GET", "/words").status == 200
    counts = seen.now()
    seen.until("echo ended", counts.get("echo begun", 0))
    counts = seen.now()
    before = descriptors()
    clients: list[Client] = [dial.h2()]
    for _ in range(MANY):
        open_websocket(clients[0], "/bare/echo")
    for _ in range(MANY // 3):
        clients.append(dial.h1())
        open_websocket(clients[-1], "/bare/echo")
    assert descriptors() > before
    for number, client in enumerate(clients):
        vanish(client.sock, reset=bool(number % 2))
    seen.until("echo ended", counts.get("echo ended", 0) + MANY + MANY // 3)
    wait_until(lambda: descriptors() <= before, 20)
    assert witness.request("GET", "/words").status == 200


def test_a_reload_says_goodbye_and_the_next_generation_goes_on(tmp_path: Path, certificates: TestCertificates) -> None:
    write_config(tmp_path, certificates, SITE)
    with running(tmp_path) as server:
        for kind in (Http1, PatientHttp2):
            client = kind(server.port, certificates.ca)
            socket = open_websocket(client, "/bare/echo")
            assert socket.ask("hello") == "hello"
            server.send_signal(signal.SIGHUP)
            last = socket.receive()
            assert last is not None
            assert (last.opcode, last.code) == (CLOSE, 1001)
            socket.send(close(1001))
            assert socket.rest() == []
            socket.end()
            client.close()
            again = kind(server.port, certificates.ca)
            assert open_websocket(again, "/bare/echo").ask("still there") == "still there"
            again.close()


def test_the_access_log_has_the_handshake(client: Client, server: ServerProcess) -> None:
    socket = open_websocket(client, f"/bare/echo?log-{type(client).__name__}-{server.port}")
    socket.send(close(1000))
    socket.rest()
    socket.end()
    line = json.loads(server.wait_for_access(f"?log-{type(client).__name__}-{server.port}"))
    assert line["status"] == granted_status(client)


# Frameworks and clients of others.


def test_starlette(client: Client) -> None:
    socket = open_websocket(client, "/star/echo", {"sec-websocket-protocol": "chat"})
    assert socket.answer.headers["sec-websocket-protocol"] == "chat"
    assert socket.ask("grüße") == "grüße"
    socket.send(close(1000))
    socket.rest()
    socket.end()


def test_an_application_that_does_not_expect_the_end_is_no_error(client: Client, server: ServerProcess) -> None:
    errors = server.count_events(level="error")
    socket = open_websocket(client, "/star/careless")
    assert socket.ask("hello") == "hello"
    socket.send(close(1001))
    socket.rest()
    socket.end()
    server.wait_for_access("/star/careless")
    assert server.count_events(level="error") == errors


def test_fastapi(client: Client, dial: Dial) -> None:
    socket = open_websocket(client, "/fast/items/7")
    assert json.loads(socket.ask('{"a": [1, 2]}')) == {"item": 7, "got": {"a": [1, 2]}}
    socket.send(close(1001))
    socket.rest()
    socket.end()
    Seen(dial, "/fast/seen").until("fastapi ended with 1001", 1)


def test_fastapi_refuses_what_it_has_no_route_for(client: Client) -> None:
    assert ask_to_open(client, "/fast/nowhere")[0].status in (403, 404)


def test_the_client_of_websockets(server: ServerProcess, certificates: TestCertificates) -> None:
    """Its asyncio client: the one with threads reads and writes one TLS object at the same time, and loses a write."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    url = f"wss://localhost:{server.port}/bare/echo"

    async def converse() -> None:
        async with connect_websockets(url, ssl=context) as client:
            assert "permessage-deflate" in str(client.response and client.response.headers["sec-websocket-extensions"])
            for message in ("hello", "x" * 500_000, b"\x00\xff" * 1000, ""):
                await client.send(message)
                assert await client.recv() == message
            await client.send(iter(["in ", "three ", "pieces"]))
            assert await client.recv() == "in three pieces"
            await (await client.ping())
        assert client.close_code == 1000
        async with connect_websockets(url, ssl=context, max_size=None) as client:
            await client.send(b"x" * ((1 << 20) + 1))
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert client.close_code == 1009

    asyncio.run(asyncio.wait_for(converse(), 60))


def test_the_client_of_node(server: ServerProcess, certificates: TestCertificates, tmp_path: Path) -> None:
    """Its own WebSocket (undici), where it has one."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = tmp_path / "client.js"
    script.write_text(
        f"""
        const Socket = globalThis.WebSocket;
        if (!Socket) {{ console.log("none"); process.exit(0); }}
        const socket = new Socket("wss://localhost:{server.port}/bare/echo");
        socket.onopen = () => socket.send("x".repeat(100000));
        socket.onmessage = (message) => {{ console.log(message.data.length); socket.close(3001, "done"); }};
        socket.onclose = (end) => console.log(end.code, end.reason, end.wasClean);
        socket.onerror = () => console.log("error");
        """
    )
    done = subprocess.run(
        [node, "--experimental-websocket", str(script)],
        capture_output=True, text=True, timeout=60, check=False,
        env={"NODE_EXTRA_CA_CERTS": str(certificates.ca), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    if done.stdout == "none\n" or "bad option" in done.stderr:
        pytest.skip("this node has no WebSocket of its own")
    assert done.stdout == "100000\n3001 done true\n", done.stderr
