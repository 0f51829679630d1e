"""The limits on time, with small values: who is too slow loses the stream or the connection, and nobody else does.

Most of it is waiting, so all the slow clients of a server wait at the same time, each in a thread; the tests look at
what became of them.
"""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.processes import wait_until
from tests.wire.conftest import Dial
from tests.wire.raw_http2 import HEADERS, PING, raw_frame, window_update
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.certificates import TestCertificates

HERE = Path(__file__).parent
SITE = f"""
root = "site"

[[site.route]]
path = "/app"
[site.route.asgi]
app = "raw_apps:app"
app_directory = "{HERE}"
"""
LIMITS = """
handshake_seconds = 3
idle_seconds = 2
request_head_seconds = 1
body_grace_seconds = 1
body_minimum_bytes_per_second = 1000
write_stall_seconds = 2
closing_seconds = 1
"""
PATIENCE_SECONDS = 20.0
"""How long a slow client waits to be thrown out: the limits, the ticks of the server's wheel, and a busy machine."""
CANCEL, ENHANCE_YOUR_CALM = 8, 11

SCENARIOS: dict[str, Callable[[Dial], Any]] = {}


def scenario(function: Callable[[Dial], Any]) -> Callable[[Dial], Any]:
    """A client of its own thread; what it returns is the outcome of that name."""
    SCENARIOS[function.__name__] = function
    return function


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server that is in a hurry."""
    directory = tmp_path_factory.mktemp(f"limits-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "index.html").write_text("hello\n")
    (directory / "site" / "page").write_bytes(b"p" * 60_000)
    with (directory / "site" / "long").open("wb") as file:
        file.truncate(1 << 30)
    write_config(directory, certificates, SITE, engine=engine, limits=LIMITS)
    with serving(directory) as process:
        yield process


@pytest.fixture(scope="module")
def outcomes(server: ServerProcess, certificates: TestCertificates) -> dict[str, Any]:
    """What became of each scenario."""
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        futures = {name: pool.submit(alone, run, server, certificates) for name, run in SCENARIOS.items()}
    return {name: future.exception() or future.result() for name, future in futures.items()}


def alone(run: Callable[[Dial], Any], server: ServerProcess, certificates: TestCertificates) -> Any:
    """One scenario, its connections closed at the end."""
    dial = Dial(server, certificates)
    try:
        return run(dial)
    finally:
        dial.close()


def until_closed(sock: socket.socket, *, every_seconds: float = 0.2, send: bytes = b"") -> float:
    """Seconds until the server has closed; meanwhile `send` goes out now and then."""
    started = time.monotonic()
    sock.settimeout(every_seconds)
    while time.monotonic() - started < PATIENCE_SECONDS:
        try:
            if not sock.recv(65_536):
                return time.monotonic() - started
        except TimeoutError:
            if send:
                try:
                    sock.sendall(send)
                except OSError:
                    return time.monotonic() - started
        except OSError:
            return time.monotonic() - started
    return PATIENCE_SECONDS


@scenario
def silent_client(dial: Dial) -> float:
    with socket.create_connection(("127.0.0.1", dial.server.port)) as sock:
        return until_closed(sock)


@scenario
def half_a_client_hello(dial: Dial) -> float:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    with socket.create_connection(("127.0.0.1", dial.server.port)) as sock:
        data = outgoing.read()
        sock.sendall(data[:200])
        return until_closed(sock, send=data[200:201], every_seconds=0.3)


@scenario
def half_a_handshake(dial: Dial) -> float:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    with socket.create_connection(("127.0.0.1", dial.server.port)) as sock:
        sock.sendall(outgoing.read())
        return until_closed(sock)


@pytest.mark.parametrize("name", ["silent_client", "half_a_client_hello", "half_a_handshake"])
def test_handshake_too_slow(outcomes: dict[str, Any], server: ServerProcess, name: str) -> None:
    assert 0.5 < outcomes[name] < PATIENCE_SECONDS
    server.wait_for_count(3, event="handshake too slow")
    assert server.count_events(event="handshake too slow") == 3


@scenario
def slow_head_h1(dial: Dial) -> Any:
    client = dial.h1()
    assert client.request("GET", "/").status == 200
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
    started = time.monotonic()
    client.sock.settimeout(0.2)
    while time.monotonic() - started < PATIENCE_SECONDS:
        try:
            answer = client.answer()
        except TimeoutError:
            client.send(b"a")  # a byte now and then: slowloris
        else:
            return answer.status, answer.headers.get("connection"), client.ended()
    return None


@scenario
def slow_head_h2(dial: Dial) -> Any:
    client = dial.raw()
    client.send(raw_frame(HEADERS, 0, 1, b"\x82"))
    return client.goaway()


def test_request_head_too_slow(outcomes: dict[str, Any], server: ServerProcess) -> None:
    assert outcomes["slow_head_h1"] == (408, "close", True)
    assert outcomes["slow_head_h2"] == (0, ENHANCE_YOUR_CALM)
    server.wait_for_count(2, event="request head too slow")


@scenario
def idle_h1(dial: Dial) -> Any:
    client = dial.h1()
    assert client.request("GET", "/").status == 200
    started = time.monotonic()
    return client.ended(), client.cut, time.monotonic() - started


@scenario
def idle_h2(dial: Dial) -> Any:
    client = dial.raw()
    assert client.works(1)
    return client.goaway()


@scenario
def idle_without_a_request(dial: Dial) -> Any:
    client = dial.h1()
    return client.ended(), client.cut


def test_idle_connection_is_closed_politely(outcomes: dict[str, Any]) -> None:
    ended, cut, seconds = outcomes["idle_h1"]
    assert (ended, cut) == (True, False)
    assert seconds > 1.5
    assert outcomes["idle_h2"] == (1, 0)
    assert outcomes["idle_without_a_request"] == (True, False)


@scenario
def slow_body_h1(dial: Dial) -> Any:
    client = dial.h1()
    client.send(b"POST /app/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
    client.sock.settimeout(0.2)
    for _ in range(int(PATIENCE_SECONDS / 0.2)):
        try:
            answer = client.answer()
        except TimeoutError:
            client.send(b"a")  # R.U.D.Y.
        else:
            return answer.status, answer.headers.get("connection")
    return None


@scenario
def slow_body_h2(dial: Dial) -> Any:
    client = dial.h2()
    stream_id = client.open("POST", "/app/upload", end=False)
    client.sock.settimeout(0.2)
    for _ in range(int(PATIENCE_SECONDS / 0.2)):
        try:
            answer = client.answer(stream_id)
        except TimeoutError:
            client.send_body(stream_id, b"a", end=False)
        else:
            return answer.status, client.request("GET", "/").status
    return None


def test_request_body_too_slow(outcomes: dict[str, Any]) -> None:
    assert outcomes["slow_body_h1"] == (408, "close")
    assert outcomes["slow_body_h2"] == (408, 200), "the connection goes on"


@scenario
def unwanted_body_too_slow(dial: Dial) -> Any:
    client = dial.h1()
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
    assert client.answer().status == 405
    return until_closed(client.sock, send=b"a")


def test_body_that_nobody_wants_does_not_hold_the_connection(outcomes: dict[str, Any], server: ServerProcess) -> None:
    assert outcomes["unwanted_body_too_slow"] < PATIENCE_SECONDS
    server.wait_for_access('"POST / HTTP/1.1" 405')
    wait_until(lambda: sum(" 408 " in line for line in server.access_lines()) == 3)  # the slow head, the two bodies


@scenario
def no_reading_h1(dial: Dial) -> Any:
    client = dial.h1()
    client.send(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.read_head().status == 200
    return waits_for(dial.server, "client reads too slowly")


@scenario
def no_window(dial: Dial) -> Any:
    """The zero-window hold: many requests whose answers are never let out."""
    client = dial.raw({4: 0})
    streams = range(1, 41, 2)
    client.send(*(client.head(stream_id, "/page" if stream_id % 4 == 1 else "/long") for stream_id in streams))
    client.until(lambda: len(client.resets()) == len(streams))
    return set(client.resets().values()), len(client.resets()), client.send(window_update(0, 1 << 20))


@scenario
def no_connection_window(dial: Dial) -> Any:
    """Answers that would fit into their streams' windows, but not all into the connection's; with a sign of life."""
    client = dial.raw({4: 1 << 20})
    streams = range(1, 41, 2)
    client.send(*(client.head(stream_id, "/page") for stream_id in streams))
    client.sock.settimeout(0.5)
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE_SECONDS and not client.ended:
        try:
            client.read()
        except TimeoutError:
            client.send(raw_frame(PING, 0, 0, b"12345678"))
        if len(client.resets()) + len(client.ended_streams()) == len(streams):
            return set(client.resets().values()), len(client.resets()) > len(streams) // 2
    return None


@scenario
def dribbling_window(dial: Dial) -> Any:
    """CVE-2019-9511: a byte now and then."""
    client = dial.raw({4: 1})
    client.send(client.head(1, "/long"))
    client.sock.settimeout(0.2)
    for _ in range(int(PATIENCE_SECONDS / 0.2)):
        try:
            client.read()
        except TimeoutError:
            client.send(window_update(1, 1))
        if client.resets():
            return client.resets()
    return None


@scenario
def streaming_application_without_window(dial: Dial) -> Any:
    client = dial.raw({4: 5000})
    client.send(client.head(1, "/app/stream"))
    client.until(lambda: bool(client.resets()))
    return client.resets()


def waits_for(server: ServerProcess, name: str) -> str:
    return str(server.wait_for_event(name, PATIENCE_SECONDS)["event"])


def test_client_that_does_not_read(outcomes: dict[str, Any]) -> None:
    assert outcomes["no_reading_h1"] == "client reads too slowly"
    assert outcomes["no_window"] == ({CANCEL}, 20, True)
    assert outcomes["dribbling_window"] == {1: CANCEL}
    assert outcomes["streaming_application_without_window"] == {1: CANCEL}


def test_answers_that_wait_for_the_connection_window_do_not_wait_for_ever(outcomes: dict[str, Any]) -> None:
    assert outcomes["no_connection_window"] == ({CANCEL}, True)


@scenario
def steady_client(dial: Dial) -> Any:
    """Slow, but within the limits: a request now and then, and a download faster than the least rate."""
    client = dial.h1()
    for _ in range(10):
        assert client.request("GET", "/").status == 200
        time.sleep(0.5)
    return client.request("GET", "/").status


@scenario
def steady_upload(dial: Dial) -> Any:
    client = dial.h1()
    client.send(b"POST /app/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n")
    for _ in range(10):
        client.send(b"a" * 3000)
        time.sleep(0.4)
    return client.answer().body


def test_client_within_the_limits_is_served(outcomes: dict[str, Any]) -> None:
    assert outcomes["steady_client"] == 200
    assert outcomes["steady_upload"] == b"30000"


@scenario
def body_that_is_never_read(dial: Dial) -> Any:
    """Its window fills up; the other streams of the connection go on."""
    client = dial.h2()
    deaf = client.open("POST", "/app/deaf", end=False)
    client.send_body(deaf, b"x" * 65_535, end=False)
    return client.request("GET", "/").status, client.request("POST", "/app/upload", body=b"x" * 100_000).body


def test_unread_body_does_not_block_its_connection(outcomes: dict[str, Any]) -> None:
    assert outcomes["body_that_is_never_read"] == (200, b"100000")


def test_nothing_is_held_afterwards(outcomes: dict[str, Any], server: ServerProcess) -> None:
    """Every connection of the scenarios is closed by now or gets closed: no descriptor stays behind."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    (worker,) = server.workers()
    while sockets(worker) > 0:
        assert time.monotonic() < deadline, sockets(worker)
        time.sleep(0.2)


def sockets(process: int) -> int:
    """How many connected TCP sockets a process has."""
    with Path("/proc/net/tcp").open() as table:
        connected = {line.split()[9] for line in table.readlines()[1:] if line.split()[3] != "0A"}
    found = 0
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            name = str(descriptor.readlink())
        except OSError:
            continue
        found += name.removeprefix("socket:[").removesuffix("]") in connected
    return found
