"""The proxy's two ways say the same: the short one (handlers.proxy_direct) and the one with a task (proxy_call).

A table of answers, most of them hostile, is asked for over two routes to one server: on the first a connection is
always waiting, on the second none ever is. Whatever the server does, clients must not be able to tell the routes apart,
and nothing of one answer may turn up in another.
"""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.wire.clients import Http1
from tests.wire.raw_http2 import RawHttp2, window_update
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Answer, Client
    from tests.wire.conftest import Dial

OK = "HTTP/1.1 200 OK\r\n"
SECRET = "the body of somebody else"
SECOND = f"{OK}Content-Length: {len(SECRET)}\r\n\r\n{SECRET}"
LENGTH = "Content-Length: 2\r\n"
TEXT = "Content-Type: text/plain\r\n"
LINES = "".join(f"line {number} of a long text\n" for number in range(20_000))
CHUNKED = f"{OK}Transfer-Encoding: chunked\r\n"

ANSWERS = {
    "plain": f"{OK}{LENGTH}\r\nok",
    "nothing": f"{OK}Content-Length: 0\r\n\r\n",
    "fields": f"{OK}{LENGTH}X-One: 1\r\nX-One: 2\r\nSet-Cookie: a=b\r\nServer: x\r\nDate: y\r\n\r\nok",
    "named-by-connection": f"{OK}{LENGTH}Connection: x-inner, keep-alive\r\nX-Inner: 1\r\nKeep-Alive: 5\r\n\r\nok",
    "connection-close": f"{OK}{LENGTH}Connection: close\r\n\r\nok",
    "upgrade-offered": f"{OK}{LENGTH}Upgrade: h2c\r\nConnection: upgrade\r\nProxy-Connection: keep-alive\r\n\r\nok",
    "http-1.0": f"HTTP/1.0 200 OK\r\n{LENGTH}Connection: keep-alive\r\n\r\nok",
    "no-reason": f"HTTP/1.1 200\r\n{LENGTH}\r\nok",
    "not-found": f"HTTP/1.1 404 No\r\n{LENGTH}\r\nno",
    "error": f"HTTP/1.1 503 Later\r\n{LENGTH}Retry-After: 5\r\n\r\nno",
    "unknown-status": f"HTTP/1.1 599 What\r\n{LENGTH}\r\nok",
    "redirect": f"HTTP/1.1 302 There\r\n{LENGTH}Location: /there\r\n\r\nok",
    "no-content": "HTTP/1.1 204 None\r\n\r\n",
    "no-content-of-0": "HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n",
    "no-content-of-2": f"HTTP/1.1 204 None\r\n{LENGTH}\r\nok",
    "reset-content": "HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n",
    "reset-content-of-2": f"HTTP/1.1 205 Reset\r\n{LENGTH}\r\nok",
    "not-modified": f'HTTP/1.1 304 Same\r\n{LENGTH}ETag: "a"\r\n\r\n',
    "not-modified-with-body": f"HTTP/1.1 304 Same\r\n{LENGTH}\r\nok",
    "partial": f"HTTP/1.1 206 Part\r\n{LENGTH}Content-Range: bytes 0-1/5\r\n\r\nok",
    "hints": f"HTTP/1.1 103 Hints\r\nLink: </a>; rel=preload\r\n\r\n{OK}{LENGTH}\r\nok",
    "continue-twice": f"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 100 Go\r\n\r\n{OK}{LENGTH}\r\nok",
    "hints-without-end": "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" * 17,
    "hints-with-length": f"HTTP/1.1 103 Hints\r\n{LENGTH}\r\n{OK}{LENGTH}\r\nok",
    "switching": f"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{SECRET}",
    "status-600": f"HTTP/1.1 600 No\r\n{LENGTH}\r\nok",
    "status-099": f"HTTP/1.1 099 No\r\n{LENGTH}\r\nok",
    "status-1000": f"HTTP/1.1 1000 No\r\n{LENGTH}\r\nok",
    "http-2": f"HTTP/2.0 200 OK\r\n{LENGTH}\r\nok",
    "icy": f"ICY 200 OK\r\n{LENGTH}\r\nok",
    "bare-lf": "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "folded": f"{OK}{LENGTH}X-A: 1\r\n 2\r\n\r\nok",
    "space-before-colon": f"{OK}Content-Length : 2\r\n\r\nok",
    "no-colon": f"{OK}{LENGTH}rubbish\r\n\r\nok",
    "nul": f"{OK}{LENGTH}X-A: \0\r\n\r\nok",
    "bare-cr": f"{OK}{LENGTH}X-A: 1\rX-B: 2\r\n\r\nok",
    "empty-name": f"{OK}{LENGTH}: 2\r\n\r\nok",
    "empty-line-first": f"\r\n{OK}{LENGTH}\r\nok",
    "large-head": f"{OK}{LENGTH}" + "".join(f"X-{number}: {'x' * 1000}\r\n" for number in range(90)) + "\r\nok",
    "many-fields": f"{OK}{LENGTH}" + "".join(f"X-{number}: 1\r\n" for number in range(1100)) + "\r\nok",
    "length-twice": f"{OK}{LENGTH}{LENGTH}\r\nok",
    "length-list": f"{OK}Content-Length: 2, 2\r\n\r\nok",
    "length-with-sign": f"{OK}Content-Length: +2\r\n\r\nok",
    "length-negative": f"{OK}Content-Length: -2\r\n\r\nok",
    "length-hexadecimal": f"{OK}Content-Length: 0x2\r\n\r\nok",
    "length-huge": f"{OK}Content-Length: 99999999999999999999999\r\n\r\nok",
    "length-and-chunked": f"{CHUNKED}{LENGTH}\r\n0\r\n\r\n",
    "gzip-coding": f"{OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked-twice": f"{CHUNKED}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks": f"{CHUNKED}\r\n1\r\no\r\n1;a=b\r\nk\r\n0\r\n\r\n",
    "trailers": f"{CHUNKED}\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    "trailers-that-frame": f"{CHUNKED}\r\n2\r\nok\r\n0\r\nContent-Length: 5\r\n\r\n",
    "chunk-junk": f"{CHUNKED}\r\n2\r\nok\r\nzz\r\n",
    "chunk-too-long": f"{CHUNKED}\r\n2\r\nokk\r\n0\r\n\r\n",
    "chunk-negative": f"{CHUNKED}\r\n-2\r\nok\r\n0\r\n\r\n",
    "chunk-bare-lf": f"{CHUNKED}\r\n2\nok\n0\n\n",
    "two-answers": f"{OK}{LENGTH}\r\nok{SECOND}",
    "two-answers-chunked": f"{CHUNKED}\r\n2\r\nok\r\n0\r\n\r\n{SECOND}",
    "two-answers-empty": f"{OK}Content-Length: 0\r\n\r\n{SECOND}",
    "answer-behind-304": f"HTTP/1.1 304 Same\r\n\r\n{SECOND}",
    "one-byte-too-many": f"{OK}{LENGTH}\r\nokk",
    "half-a-head": f"{OK}Content-Le",
    "half-a-body": f"{OK}Content-Length: 20\r\n\r\nhalf",
    "until-the-end": f"{OK}\r\nuntil the end",
    "nothing-at-all": "",
    "text": f"{OK}{TEXT}Content-Length: 200000\r\n\r\n{LINES[:200_000]}",
    "long-text": f"{OK}{TEXT}Content-Length: 400000\r\n\r\n{LINES[:400_000]}",
    "short-text": f"{OK}{TEXT}Content-Length: 200000\r\n\r\n{LINES[:150_000]}",
    "text-and-more": f"{OK}{TEXT}Content-Length: 200000\r\n\r\n{LINES[:200_000]}{SECOND}",
    "ntlm": f"HTTP/1.1 401 Who\r\n{LENGTH}WWW-Authenticate: NTLM x\r\n\r\nno",
}
"""What the server sends, all at once or in pieces, before it closes the connection."""
SITE = "".join(
    f"""
[[site.route]]
path = "{path}"
compress = {{{{}}}}
[site.route.proxy]
upstreams = ["{{url}}"]
retries = 0
{more}
"""
    for path, more in (("/short", ""), ("/long", "connections = {{ idle = 0 }}"))
)


def answer_of_the_table(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    """`/way/name?seed`: in pieces that the seed decides about, whole for 0."""
    path, _, query = seen.path.partition("?")
    name = path.rpartition("/")[2]
    if name == "warm":
        conversation.answer(query.encode())
        return True
    text = ANSWERS[name]
    dice = random.Random(query)
    cuts = sorted(dice.choices(range(len(text) + 1), k=int(query[:1])))
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        conversation.send(text[start:end])
    return False


class Said(NamedTuple):
    """What a client saw of an answer."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    trailers: dict[str, str]
    interim: list[tuple[int, dict[str, str]]]
    broken: bool


def said(answer: Answer) -> Said:
    if answer.reset is not None:  # how much arrives of what breaks off is up to the network
        return Said(0, [], b"", {}, [], broken=True)
    body = answer.body
    # A body with chunks gets a length where all of it came at once, which is up to the network too.
    left_out = ("date", "content-length", "transfer-encoding") if body else ("date",)
    fields = sorted(item for item in answer.headers.items() if item[0] not in left_out)
    if answer.headers.get("content-encoding") == "gzip":  # the same text may be packed in several ways
        body = gzip.decompress(body)
    return Said(answer.status, fields, body, answer.trailers, answer.interim, broken=False)


@pytest.fixture(scope="module")
def relay() -> Iterator[RawUpstream]:
    made = RawUpstream({"/": answer_of_the_table})
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(
    engine: str, relay: RawUpstream, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"both-ways-{engine}")
    write_config(directory, certificates, SITE.format(url=relay.url), engine=engine)
    with serving(directory) as process:
        yield process


def ask(dial: Dial, protocol: str, path: str, coding: str) -> Said:
    client: Client = dial.h1() if protocol == "h1" else dial.h2()
    answer = said(client.request("GET", path, {"accept-encoding": coding}))
    client.close()
    return answer


def no_answer(said: Said) -> bool:
    """Whether a client cannot take it for the server's answer."""
    return said.broken or said.status == 502


@pytest.mark.parametrize("protocol", ["h1", "h2"])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_ways_cannot_be_told_apart(dial: Dial, relay: RawUpstream, name: str, protocol: str) -> None:
    other = dial.h1()
    for pieces, coding in ((0, "gzip"), (0, "identity"), (5, "gzip")):
        assert other.request("GET", f"/short/warm?{pieces}").body == str(pieces).encode()
        waiting = relay.requests[-1].connection

        short = ask(dial, protocol, f"/short/{name}?{pieces}", coding)

        assert relay.requests[-1].connection == waiting
        long = ask(dial, protocol, f"/long/{name}?{pieces}", coding)
        # A body that turns out wrong is a 502, or broken off once its head has gone: it depends on what came with it.
        assert short == long or (no_answer(short) and no_answer(long))
        assert SECRET.encode() not in short.body
    assert isinstance(other, Http1)
    assert other.request("GET", "/short/warm?last").body == b"last"


REQUESTS: dict[str, dict[str, str]] = {
    "bare": {},
    "named-by-connection": {"connection": "x-mine, te, host, authorization", "x-mine": "1", "authorization": "a"},
    "forwarding": {
        "x-forwarded-for": "192.0.2.1", "forwarded": "for=192.0.2.1", "x_forwarded_for": "192.0.2.1", "x-real-ip": "a",
        "x-forwarded-prefix": "/a", "proxy": "evil", "via": "1.1 a",
    },
    "trailers": {"te": "trailers"},
    "hop-by-hop": {"proxy-authorization": "Basic eA==", "keep-alive": "5", "proxy-connection": "a"},
    "credentials": {"cookie": "a=b; c=d", "authorization": "Bearer x"},
    "content": {"content-length": "0", "content-type": "text/plain"},
    "upgrade": {"upgrade": "h2c", "connection": "upgrade, http2-settings", "http2-settings": "AAMAAABkAAQAAP__"},
    "range": {"range": "bytes=0-1", "if-none-match": '"a"', "accept-encoding": "gzip"},
}  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("name", REQUESTS)
def test_servers_get_the_same_of_a_request_on_both_ways(dial: Dial, relay: RawUpstream, name: str, method: str) -> None:
    client = dial.h1()
    seen: dict[str, list[str]] = {}
    for way in ("short", "long"):
        assert client.request("GET", f"/{way}/warm?1").status == 200
        for _ in range(2):  # the second time the head is known
            answer = client.request(method, f"/{way}/warm?{name}", REQUESTS[name])
            assert answer.body == name.encode()
            last = relay.requests[-1]
            fields = sorted(f"{key}: {value}" for key, value in last.fields)
            seen.setdefault(way, []).append("\n".join([last.line, *fields]).replace(f"/{way}/", "/"))
    assert seen["short"] == seen["long"]


def test_the_log_says_the_same_of_both_ways(dial: Dial, server: ServerProcess) -> None:
    names = ("plain", "nothing", "not-found", "no-content", "chunks", "trailers", "two-answers", "status-600", "hints")
    for way in ("short", "long"):
        for name in (*names, "warm"):
            client = dial.h1()
            assert client.request("GET", f"/{way}/warm?1").status == 200
            client.request("GET", f"/{way}/{name}?0&logged")
    server.wait_for_access("/long/warm?0&logged")
    lines = [line.partition('"')[2] for line in server.access_lines() if "&logged" in line]
    half = len(names) + 1
    assert len(lines) == 2 * half
    assert lines[:half] == [line.replace("/long/", "/short/") for line in lines[half:]]


def read_slowly(client: RawHttp2, path: str) -> bytes:
    """The body of an answer for which there is no room at first, and then little."""
    client.send(client.head(1, path))
    while 1 not in client.statuses:
        assert client.read()
    for room in (1, 16_384, 20_000, 100_000, 1 << 20):
        before = len(client.body(1))
        client.send(window_update(1, room), window_update(0, room))
        while len(client.body(1)) == before:
            assert client.read()
    while 1 not in client.ended_streams():
        assert client.read()
    return client.body(1)


@pytest.mark.parametrize(("name", "size"), [("text", 200_000), ("text-and-more", 200_000), ("long-text", 400_000)])
@pytest.mark.parametrize("way", ["short", "long"])
def test_a_client_with_little_room_gets_all_of_it_piece_by_piece(dial: Dial, name: str, size: int, way: str) -> None:
    assert dial.h1().request("GET", f"/{way}/warm?1").status == 200
    assert read_slowly(dial.raw({4: 0}), f"/{way}/{name}?3") == LINES[:size].encode()
