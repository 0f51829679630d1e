"""The short way of the proxy (handlers.proxy_direct): a second request finds a connection waiting, and needs no task.

Each test asks for an ordinary answer first, so that the connection is there, and then for what the test is about.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hyperframe.frame import RstStreamFrame

from tests.server.processes import wait_until
from tests.wire.clients import Http2
from tests.wire.raw_upstream import Behaviour, Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Answer, Client
    from tests.wire.conftest import Dial

BODY = bytes(range(256)) * 400
"""More than one read, less than what goes the long way."""


def arrived(sock: socket.socket) -> bool:
    """Whether the other side's system has all that was sent."""
    return not int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def stopped(process: int) -> bool:
    """Whether it was stopped by a signal."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def said(text: str, *, goes_on: bool = False) -> Behaviour:
    def say(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
        conversation.send(text)
        return goes_on

    return say


def plain(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    conversation.answer(seen.path.encode())
    return True


def large(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.answer(BODY)
    return True


def trickle(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ntrickle":
        conversation.send(bytes((byte,)))
    return True


def silent(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    upstream.reached.set()
    conversation.wait_for_end()
    return False


def late_chunk(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    upstream.reached.set()
    upstream.proceed.wait(20)
    conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    wait_until(lambda: arrived(conversation.sock))
    upstream.reached.set()
    conversation.wait_for_end()
    return False


def half(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + "x" * 100_000)
    conversation.wait_for_end()
    return False


def drip(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    """More and more, for as long as the proxy listens; 20 seconds at most."""
    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
    upstream.proceed.clear()
    for _ in range(400):
        upstream.proceed.wait(0.05)
        conversation.send("x")
    return False


def late(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    upstream.reached.set()
    upstream.proceed.wait(20)
    conversation.answer(BODY)
    return True


BEHAVIOURS: dict[str, Behaviour] = {
    "/": plain,
    "/large": large,
    "/trickle": trickle,
    "/silent": silent,
    "/hasty": silent,
    "/late": late,
    "/idle/half": half,
    "/brief/drip": drip,
    "/brief/silent": silent,
    "/single/late-chunk": late_chunk,
    "/chunks": said(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", goes_on=True
    ),
    "/hints": said("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", goes_on=True),
    "/extra": said("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    "/short": said("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
    "/short-large": said("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + "x" * 100_000),
    "/two-lengths": said("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    "/junk": said("SSH-2.0-OpenSSH\r\n\r\n"),
    "/unframed": said("HTTP/1.1 200 OK\r\n\r\nuntil the end"),
}
SITE = """
[site.proxy]
upstreams = ["{url}"]
[[site.route]]
path = "/hasty"
[site.route.proxy]
upstreams = ["{url}"]
timeouts = {{ first_byte_seconds = 0.5 }}
[[site.route]]
path = "/idle"
[site.route.proxy]
upstreams = ["{url}"]
timeouts = {{ idle_seconds = 0.5 }}
[[site.route]]
path = "/brief"
[site.route.proxy]
upstreams = ["{url}"]
timeouts = {{ total_seconds = 2 }}
[[site.route]]
path = "/single"
[site.route.proxy]
upstreams = ["{url}"]
connections = {{ maximum = 1, queue_seconds = 20 }}
"""


@pytest.fixture(scope="module")
def relay() -> Iterator[RawUpstream]:
    """The server behind."""
    made = RawUpstream(BEHAVIOURS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(
    engine: str, relay: RawUpstream, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"direct-{engine}")
    write_config(directory, certificates, SITE.format(url=relay.url), engine=engine)
    with serving(directory) as process:
        yield process


@pytest.fixture
def warm(client: Client, relay: RawUpstream) -> Client:
    """A client whose next request finds a connection."""
    for _ in range(2):
        assert client.request("GET", "/").body == b"/"
    return client


def connection_of(relay: RawUpstream) -> int:
    return relay.requests[-1].connection


@pytest.mark.parametrize(
    ("path", "body"),
    [("/", b"/"), ("/large", BODY), ("/trickle", b"trickle"), ("/chunks", b"abcdef"), ("/hints", b"ok")],
)
def test_answers_of_every_kind_come_over_one_connection(
    warm: Client, relay: RawUpstream, path: str, body: bytes
) -> None:
    connection = connection_of(relay)

    assert [warm.request("GET", path).body for _ in range(3)] == [body] * 3
    assert warm.request("GET", "/").body == b"/"
    assert connection_of(relay) == connection


def test_what_comes_behind_an_answer_is_nobodys(warm: Client, relay: RawUpstream) -> None:
    connection = connection_of(relay)

    assert warm.request("GET", "/extra").body == b"ok"
    assert connection_of(relay) == connection
    assert [warm.request("GET", "/").body for _ in range(3)] == [b"/"] * 3
    assert connection_of(relay) != connection


def test_an_answer_that_the_end_ends(warm: Client, relay: RawUpstream) -> None:
    connection = connection_of(relay)

    assert warm.request("GET", "/unframed").body == b"until the end"
    assert relay.requests[-1].connection == connection


@pytest.mark.parametrize("path", ["/two-lengths", "/junk"])
def test_an_answer_that_is_none_is_502(warm: Client, path: str) -> None:
    assert warm.request("GET", path).status == 502


@pytest.mark.parametrize("path", ["/short", "/short-large"])
def test_an_answer_that_breaks_off_does_not_look_whole(warm: Client, dial: Dial, path: str) -> None:
    assert warm.request("GET", path).reset is not None

    other = dial.h2() if isinstance(warm, Http2) else dial.h1()
    assert other.request("GET", "/").body == b"/"


def test_a_silent_server_is_504(client: Client, relay: RawUpstream) -> None:
    wait_until(lambda: client.request("GET", "/hasty/plain").body == b"/hasty/plain")  # in time, on a busy machine
    connection = connection_of(relay)

    assert client.request("GET", "/hasty").status == 504
    assert connection_of(relay) == connection


@pytest.mark.parametrize("path", ["/idle/half", "/brief/drip"])
def test_an_answer_that_does_not_come_to_its_end_in_time_breaks_off(dial: Dial, relay: RawUpstream, path: str) -> None:
    client = dial.h2()

    def begun() -> tuple[Answer, int] | None:
        """An answer that begins in time, which it may not on a busy machine, and the connection that was waiting."""
        wait_until(lambda: client.request("GET", path.rpartition("/")[0] + "/plain").status == 200)
        connection = connection_of(relay)
        answer = client.request("GET", path)
        return (answer, connection) if answer.status == 200 else None

    found = wait_until(begun)
    assert found is not None
    answer, connection = found
    assert connection_of(relay) == connection
    assert answer.reset is not None
    wait_until(lambda: connection in relay.ended)


def test_a_server_that_has_not_begun_when_all_time_is_over_is_504(dial: Dial, relay: RawUpstream) -> None:
    client = dial.h2()
    wait_until(lambda: client.request("GET", "/brief/plain").status == 200)
    connection = connection_of(relay)

    assert client.request("GET", "/brief/silent").status == 504
    assert connection_of(relay) == connection


def test_a_client_that_leaves_ends_the_request_behind(dial: Dial, relay: RawUpstream) -> None:
    client = dial.h1()
    assert client.request("GET", "/").body == b"/"
    relay.reached.clear()
    client.send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
    assert relay.reached.wait(15)
    number = connection_of(relay)

    client.close()

    wait_until(lambda: number in relay.ended)


def test_a_client_that_leaves_while_a_task_is_to_go_on_takes_no_connection_with_it(
    dial: Dial, server: ServerProcess, relay: RawUpstream
) -> None:
    """The worker finds both in one look: an answer that it leaves to a task, and that nobody wants it any more."""
    client = dial.raw()
    assert client.works(1, "/single/")
    relay.reached.clear()
    relay.proceed.clear()
    client.send(client.head(3, "/single/late-chunk"))
    assert relay.reached.wait(15)
    number = connection_of(relay)
    relay.reached.clear()
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        wait_until(lambda: stopped(worker))
        relay.proceed.set()
        assert relay.reached.wait(15)
        client.send(RstStreamFrame(3, error_code=8).serialize())
        wait_until(lambda: arrived(client.sock))
    finally:
        os.kill(worker, signal.SIGCONT)

    wait_until(lambda: number in relay.ended)
    assert client.works(5, "/single/")


def test_what_is_under_way_at_a_reload_is_answered(dial: Dial, server: ServerProcess, relay: RawUpstream) -> None:
    client = dial.h1()
    assert client.request("GET", "/").body == b"/"
    relay.reached.clear()
    relay.proceed.clear()
    client.send(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
    assert relay.reached.wait(15)
    before = server.count_events(event="reloaded")
    server.send_signal(signal.SIGHUP)
    server.wait_for_count(before + 1, event="reloaded")
    assert dial.h1().request("GET", "/").body == b"/"

    relay.proceed.set()

    answer = client.answer()
    assert (answer.status, answer.body) == (200, BODY)
    assert client.ended()
