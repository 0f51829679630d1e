"""The reverse proxy over TLS, on both protocols and both engines, in front of a server that records raw bytes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.server.processes import wait_until
from tests.wire.clients import Http1, Http2
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

PIECE = b"p" * 16_384
ANSWERS: dict[str, str] = {
    "/bad-chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n",
    "/chunk-cut": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe",
    "/last-chunk-cut": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "/short": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "/junk-field": "HTTP/1.1 200 OK\r\nwhat is this\r\nContent-Length: 5\r\n\r\nhello",
    "/junk": "what is this\r\n\r\n",
    "/folded": "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello",
    "/control": "HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 5\r\n\r\nhello",
    "/bare-lf": "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "/two-lengths": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "/same-lengths": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "/length-list": "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "/both": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "/coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "/huge-head": "HTTP/1.1 200 OK\r\n" + "X-A: " + "b" * 40_000 + "\r\n\r\n",
    "/endless-head": "HTTP/1.1 200 OK\r\n" + "X-A: b\r\n" * 8_000,
    "/many-fields": "HTTP/1.1 200 OK\r\n" + "X-A: b\r\n" * 300 + "Content-Length: 0\r\n\r\n",
    "/switch": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "/many-interim": "HTTP/1.1 103 Early Hints\r\n\r\n" * 100,
    "/status-999": "HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    "/reset-content": "HTTP/1.1 205 Reset\r\nContent-Length: 5\r\n\r\nhello",
    "/nothing": "",
}
"""Answers of which the client must never believe that they are whole; the connection is closed behind them."""

BROKEN_OFF = ("/bad-chunk", "/chunk-cut", "/last-chunk-cut", "/short")


def hello(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    conversation.read_body(seen)
    if seen.line.startswith("HEAD"):
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Kind: head\r\n\r\n")
    else:
        conversation.answer(b"hello", "X-Kind: plain", "Connection: x-secret", "X-Secret: of this hop", "Server: old")
    return True


def canned(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    conversation.send(ANSWERS[seen.path])
    return False


def echo(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    body = conversation.read_body(seen)
    conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n")
    for start in range(0, len(body), 10_000):
        piece = body[start : start + 10_000]
        conversation.send(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
    conversation.send(f"0\r\nX-Sum: {len(body)}\r\n\r\n")
    return True


def head_with_body(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhacked")
    return True


def two_answers(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    conversation.send(answer + b"hello" + answer + b"stray")
    return True


def old(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")
    return False


def silent(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    upstream.reached.set()
    conversation.wait_for_end()
    return False


def stalled(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
    conversation.wait_for_end()
    return False


def early(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.answer(b"enough", status="413 Content Too Large")
    conversation.wait_for_end()
    return False


def invite(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    conversation.send("HTTP/1.1 100 Continue\r\n\r\n")
    conversation.answer(conversation.read_body(seen))
    return True


def hints(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    conversation.answer(b"hello")
    return True


def events(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    conversation.send("9\r\ndata: 1\n\n\r\n")
    assert upstream.proceed.wait(20)
    conversation.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n")
    return True


def endless(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send(f"HTTP/1.1 200 OK\r\nContent-Length: {2 << 30}\r\n\r\n")
    for _ in range((2 << 30) // len(PIECE)):
        conversation.send(PIECE)
        upstream.sent_bytes += len(PIECE)
    return False


def trickle(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    conversation.sock.settimeout(0.1)
    while True:  # until the proxy has had enough
        conversation.send("1\r\nx\r\n")
        with contextlib.suppress(TimeoutError):
            if not conversation.sock.recv(1):
                return False


def deaf(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    upstream.reached.set()
    upstream.proceed.wait(20)
    conversation.wait_for_end()
    return False


def redirect(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    conversation.answer(b"", f"Location: {upstream.url}/login?a=b", status="302 Found")
    return True


BEHAVIOURS = {
    "/": hello, "/echo": echo, "/head-with-body": head_with_body, "/two-answers": two_answers, "/old": old,
    "/silent": silent, "/stalled": stalled, "/early": early, "/hints": hints, "/events": events, "/endless": endless,
    "/redirect": redirect, "/trickle": trickle, "/invite": invite, "/deaf": deaf, **dict.fromkeys(ANSWERS, canned),
}  # fmt: skip


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    made = RawUpstream(BEHAVIOURS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def relay() -> Iterator[RawUpstream]:
    """The one that the module's server is configured for."""
    made = RawUpstream(BEHAVIOURS)
    yield made
    made.close()


SITE = """
[site.proxy]
upstreams = ["{url}"]
rewrite_location = true

[site.proxy.fields]
set = {{ x-who = "{{client_address}}" }}
remove = ["x-unwanted"]

[[site.route]]
path = "/below"
[site.route.proxy]
upstreams = ["{url}"]
strip_prefix = true
trusted_proxies = ["127.0.0.0/8"]
forwarded = "both"

[[site.route]]
path = "/hasty"
[site.route.proxy]
upstreams = ["{url}"]
strip_prefix = true

[site.route.proxy.timeouts]
first_byte_seconds = 0.5
idle_seconds = 0.5

[[site.route]]
path = "/bounded"
[site.route.proxy]
upstreams = ["{url}"]
strip_prefix = true

[site.route.proxy.timeouts]
total_seconds = 0.7
"""


@pytest.fixture(scope="module")
def server(
    engine: str, relay: RawUpstream, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"proxy-{engine}")
    write_config(directory, certificates, SITE.format(url=relay.url), engine=engine)
    with serving(directory) as process:
        yield process


# What goes through.


def test_an_answer_comes_through_without_what_belongs_to_one_connection(client: Client, relay: RawUpstream) -> None:
    answer = client.request("GET", "/a%2Fb/c?x=%41", {"user-agent": "test"})

    assert (answer.status, answer.body, answer.headers["x-kind"]) == (200, b"hello", "plain")
    assert answer.headers["server"] == "securelight"
    assert not {"x-secret", "connection"} & answer.headers.keys()
    seen = relay.requests[-1]
    assert seen.line == "GET /a%2Fb/c?x=%41 HTTP/1.1"
    assert (seen.get("host"), seen.get("user-agent")) == (client.host, "test")


def test_the_server_behind_is_told_who_asks_whatever_the_client_says(client: Client, relay: RawUpstream) -> None:
    lies = {"x-forwarded-for": "203.0.113.66", "x_forwarded_for": "203.0.113.66", "forwarded": "for=203.0.113.66",
            "x-forwarded-proto": "http", "x-real-ip": "203.0.113.66", "proxy": "http://203.0.113.66",
            "x-who": "203.0.113.66", "x-unwanted": "203.0.113.66"}  # fmt: skip
    client.request("GET", "/", lies)

    seen = relay.requests[-1]
    assert "203.0.113.66" not in str(seen.fields)
    assert (seen.get("x-forwarded-for"), seen.get("x-forwarded-proto")) == ("127.0.0.1", "https")
    assert (seen.get("x-forwarded-host"), seen.get("x-who")) == (client.host, "127.0.0.1")


def test_a_trusted_proxy_is_believed_as_far_as_its_list_goes(client: Client, relay: RawUpstream) -> None:
    client.request(
        "GET", "/below/x", {"x-forwarded-for": "6.6.6.6, 198.51.100.7, 127.0.0.9", "x-forwarded-proto": "http"}
    )

    seen = relay.requests[-1]
    assert seen.get("x-forwarded-for") == "198.51.100.7, 127.0.0.9, 127.0.0.1"
    assert seen.get("x-forwarded-proto") == "http"
    assert seen.get(
        "forwarded",
    ) == (f'for=198.51.100.7, for=127.0.0.9, for=127.0.0.1;proto=http;host="{client.host}"')
    assert (seen.path, seen.get("x-forwarded-prefix")) == ("/x", "/below")


@pytest.mark.parametrize(
    ("path", "behind"),
    [
        ("/below", "/"),
        ("/below/", "/"),
        ("/below/a/../b?c", "/b?c"),
        ("/below/a%2Fb", "/a%2Fb"),
        ("/below/%2e%2e/below/x", "/x"),
        ("/%62elow/x%20y", "/x%20y"),
        ("/x/../y", "/y"),
        ("/x/%2e%2e/y", "/y"),
        ("/x/..%2fy", "/y"),
    ],
)
def test_no_two_readings_of_a_path_with_dot_segments(
    client: Client, relay: RawUpstream, path: str, behind: str
) -> None:
    client.request("GET", path)

    assert relay.requests[-1].path == behind


def test_bodies_go_through_both_ways_with_trailers(client: Client, relay: RawUpstream) -> None:
    body = bytes(range(256)) * 1024
    answer = client.request("POST", "/echo", {"content-type": "application/x"}, body)

    assert (answer.status, answer.body == body) == (200, True)
    assert answer.trailers == {"x-sum": str(len(body))}
    assert relay.requests[-1].get("content-type") == "application/x"


def test_a_chunked_upload_is_chunked_behind_us_too(dial: Dial, relay: RawUpstream) -> None:
    client = dial.h1()
    client.send(
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Late: yes\r\nContent-Length: 9\r\n\r\n"
    )
    answer = client.answer()

    assert answer.body == b"hello world"
    seen = relay.requests[-1]
    assert (seen.get("transfer-encoding"), seen.get("content-length")) == ("chunked", None)
    assert seen.trailers == {"x-late": "yes"}


def test_head_and_its_length(client: Client) -> None:
    answer = client.request("HEAD", "/")

    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "5", b"")


def test_early_hints_go_through_where_the_protocol_has_them(client: Client) -> None:
    answer = client.request("GET", "/hints")

    # Clients of HTTP/1.1 that take 103 for the final answer are too many.
    assert answer.interim == ([(103, {"link": "</a.css>; rel=preload"})] if isinstance(client, Http2) else [])
    assert answer.body == b"hello"


def test_an_old_server_ends_its_body_with_the_connection(client: Client) -> None:
    assert client.request("GET", "/old").body == b"until the end"


def test_a_redirect_to_the_server_behind_becomes_one_to_us(client: Client) -> None:
    assert client.request("GET", "/redirect").headers["location"] == "/login?a=b"
    assert client.request("GET", "/below/redirect").headers["location"] == "/below/login?a=b"


def test_connections_are_used_again(client: Client, relay: RawUpstream) -> None:
    before = len(relay.requests)
    for _ in range(10):
        client.request("GET", "/")
        client.request("POST", "/echo", {}, b"x" * 100_000)

    used = {request.connection for request in relay.requests[before:]}
    assert len(relay.requests) == before + 20
    assert len(used) <= 2, "an answer may arrive a moment before its connection is free again"


def test_an_event_is_seen_before_the_next_one_is_made(client: Client, relay: RawUpstream) -> None:
    relay.proceed.clear()
    if isinstance(client, Http1):
        client.send(f"GET /events HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
        head = client.read_head()
        assert head.status == 200
        assert client.rest(14) == (b"9\r\ndata: 1\n\n\r\n", True)
        relay.proceed.set()
        assert client.rest(19) == (b"9\r\ndata: 2\n\n\r\n0\r\n\r\n", True)
    else:
        stream = client.open("GET", "/events")
        wait_until(lambda: client.step() and client.pending(stream).body == b"data: 1\n\n", 15)
        relay.proceed.set()
        assert client.answer(stream).body == b"data: 1\n\ndata: 2\n\n"


def test_a_client_that_waits_for_100_gets_it_from_behind_or_a_final_answer_instead(
    dial: Dial, relay: RawUpstream
) -> None:
    client = dial.h1()
    head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    client.send(head)
    answer = client.answer()

    assert (answer.status, answer.body, answer.interim) == (413, b"enough", [])
    assert relay.requests[-1].get("expect") == "100-continue"


@pytest.mark.parametrize("path", ["/invite", "/echo"])
def test_a_client_that_waits_for_100_is_asked_for_its_body_in_the_end(
    dial: Dial, relay: RawUpstream, path: str
) -> None:
    client = dial.h1()
    client.send(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode())
    assert client.rest(25) == (b"HTTP/1.1 100 Continue\r\n\r\n", True)
    client.send(b"hello")

    assert client.answer().body == b"hello"
    assert relay.requests[-1].body == b"hello"


# What must not.


@pytest.mark.parametrize("path", sorted(ANSWERS))
def test_a_broken_answer_never_looks_whole(client: Client, dial: Dial, path: str) -> None:
    answer = client.request("GET", path)

    if answer.reset is None or path not in BROKEN_OFF:
        assert (answer.status, answer.reset) == (502, None)
        assert b"hello" not in answer.body
        assert "127.0.0.1" not in answer.body.decode()
    else:  # its head was on the way when the fault came
        assert b"hellohe".startswith(answer.body)
    other = dial.h2() if isinstance(client, Http2) else dial.h1()
    assert other.request("GET", "/").body == b"hello"


@pytest.mark.parametrize(
    ("method", "path", "body"), [("HEAD", "/head-with-body", b""), ("GET", "/two-answers", b"hello")]
)
def test_bytes_behind_an_answer_are_never_the_next_one(
    client: Client, relay: RawUpstream, method: str, path: str, body: bytes
) -> None:
    answer = client.request(method, path)
    connection = relay.requests[-1].connection
    after = client.request("GET", "/")

    assert (answer.status, answer.body) == (200, body)
    assert (after.status, after.body) == (200, b"hello")
    assert relay.requests[-1].connection != connection


def test_a_server_that_says_nothing_is_504(client: Client, relay: RawUpstream) -> None:
    answer = client.request("GET", "/hasty/silent")

    assert answer.status == 504
    wait_until(lambda: relay.requests[-1].connection in relay.ended, 15)


def test_a_server_that_stalls_breaks_the_stream(client: Client) -> None:
    answer = client.request("GET", "/hasty/stalled")

    assert (answer.status, answer.body[:5]) == (200, b"hello")
    assert answer.reset is not None


def test_an_answer_before_the_body_was_sent(client: Client) -> None:
    if isinstance(client, Http2):
        stream = client.open("POST", "/early", {"content-length": "1000000"}, end=False)
        client.send_body(stream, b"x" * 1000, end=False)
        answer = client.answer(stream)
    else:
        client.send(
            f"POST /early HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: 1000000\r\n\r\n".encode() + b"x" * 9
        )
        answer = client.answer()

    assert (answer.status, answer.body) == (413, b"enough")


def test_two_gigabytes_that_nobody_reads_are_not_read_from_behind(dial: Dial, relay: RawUpstream) -> None:
    relay.sent_bytes = 0
    client = dial.h1()
    client.send(f"GET /endless HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
    assert client.read_head().status == 200
    before = -1

    def at_rest() -> bool:
        nonlocal before
        before, now = relay.sent_bytes, relay.sent_bytes
        return dial.h1().request("GET", "/").status == 200 and relay.sent_bytes == now

    wait_until(at_rest, 20)
    assert relay.sent_bytes < 64 << 20  # what the kernel's buffers of four sockets hold
    (endless,) = [seen.connection for seen in relay.requests if seen.path == "/endless"][-1:]
    client.close()
    wait_until(lambda: endless in relay.ended, 15)


def test_a_client_that_goes_takes_its_upstream_connection_with_it(dial: Dial, relay: RawUpstream) -> None:
    relay.reached.clear()
    client = dial.h1()
    client.send(f"GET /silent HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
    assert relay.reached.wait(15)
    (connection,) = [seen.connection for seen in relay.requests if seen.path == "/silent"][-1:]
    assert connection not in relay.ended
    client.close()

    wait_until(lambda: connection in relay.ended, 15)


def test_trace_shows_nobody_what_we_add(client: Client, relay: RawUpstream) -> None:
    before = len(relay.requests)

    assert client.request("TRACE", "/").status == 405
    assert len(relay.requests) == before


def test_a_byte_now_and_then_ends_with_the_time_for_all_of_it(client: Client) -> None:
    answer = client.request("GET", "/bounded/trickle")

    assert (answer.status, set(answer.body)) == (200, {ord("x")})
    assert answer.reset is not None


def test_an_upload_that_nobody_takes_is_not_taken_from_the_client(dial: Dial, relay: RawUpstream) -> None:
    relay.reached.clear()
    relay.proceed.clear()
    client = dial.h1()
    client.send(f"POST /hasty/deaf HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: {1 << 30}\r\n\r\n".encode())
    assert relay.reached.wait(15)
    sent = 0
    with contextlib.suppress(OSError):  # the answer, and with it the end, comes while we still send
        while sent < 1 << 30:
            client.send(PIECE)
            sent += len(PIECE)
    relay.proceed.set()

    assert sent < 64 << 20  # what the kernel's buffers of four sockets hold
