"""HTTP/1.1 over TLS as hostile and careless clients speak it: one answer a request, and no body read as a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Http1
    from tests.wire.conftest import Dial

LIMITS = "request_body_bytes = 100000"
SITE = """
root = "site"

[[site.route]]
path = "/fixed"
[site.route.respond]
body = "fixed\\n"
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server of two small files, and of a fixed answer."""
    directory = tmp_path_factory.mktemp(f"http1-{engine}")
    (directory / "site").mkdir()
    for name in ("a", "b", "smuggled"):
        (directory / "site" / name).write_text(f"file {name}\n")
    write_config(directory, certificates, SITE, engine=engine, limits=LIMITS)
    with serving(directory) as process:
        yield process


def answers(client: Http1, data: bytes) -> list[tuple[int, bytes]]:
    """(status, body) of all that the server says to `data`, sent as one piece, until it closes."""
    client.send(data)
    return rest(client)


def rest(client: Http1) -> list[tuple[int, bytes]]:
    """(status, body) of what the server still says until it closes."""
    found = []
    while (answer := client.answer()).reset is None:
        found.append((answer.status, answer.body))
    assert not answer.pieces, "half an answer"
    return found


def test_one_connection_serves_many_requests(dial: Dial) -> None:
    client = dial.h1()
    for _ in range(50):
        answer = client.request("GET", "/a")
        assert (answer.status, answer.body) == (200, b"file a\n")
        assert "connection" not in answer.headers
    last = client.request("GET", "/a", {"connection": "close"})
    assert (last.status, last.headers["connection"]) == (200, "close")
    assert client.ended()
    assert not client.cut, "with close_notify"


def test_pipelined_requests_are_answered_in_order(dial: Dial) -> None:
    names = ["/a", "/b", "/fixed", "/nowhere"] * 60
    data = b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode() for name in names)
    expected = {"/a": (200, b"file a\n"), "/b": (200, b"file b\n"), "/fixed": (200, b"fixed\n")}
    client = dial.h1()
    client.send(data + b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    for name in names:
        answer = client.answer()
        assert (answer.status, answer.body) == expected.get(name, (404, answer.body)), name
    assert rest(client) == [(200, b"file a\n")]


def test_pipelined_requests_before_the_end_of_the_input_are_all_answered(dial: Dial) -> None:
    client = dial.h1()
    client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
    client.end_output()
    assert rest(client) == [(200, b"file a\n")] * 300


def test_requests_one_byte_at_a_time(dial: Dial) -> None:
    client = dial.h1()
    for byte in b"POST /fixed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
        client.send(bytes([byte]))
    assert client.answer().body == b"fixed\n"
    assert client.request("GET", "/a").body == b"file a\n"


def test_http10(dial: Dial) -> None:
    assert answers(dial.h1(), b"GET /a HTTP/1.0\r\n\r\n") == [(200, b"file a\n")]
    client = dial.h1()
    client.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.ended()


def test_expect_continue(dial: Dial) -> None:
    client = dial.h1()
    head = b"POST /fixed HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    client.send(head)
    answer = client.answer()
    assert (answer.status, answer.interim) == (200, []), "nobody wants the body, so it is not asked for"
    assert answer.headers["connection"] == "close"
    assert client.ended()


def test_absolute_target_names_the_host(dial: Dial) -> None:
    found = answers(dial.h1(), b"GET https://x/a HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n")
    assert found == [(200, b"file a\n")]


def test_body_that_nobody_wants_is_drained(dial: Dial) -> None:
    client = dial.h1()
    for size in (0, 1, 1000, 60_000):
        assert client.request("GET", "/a", body=b"x" * size).body == b"file a\n"
        answer = client.request("GET", "/a", {"transfer-encoding": "chunked"}, body=chunked(b"x" * size))
        assert answer.body == b"file a\n"


def test_minor_versions_to_come_are_taken_as_1_1(dial: Dial) -> None:
    client = dial.h1()
    client.send(b"GET /a HTTP/1.2\r\nHost: x\r\n\r\nGET /a HTTP/1.9\r\nHost: x\r\n\r\n")
    assert [client.answer().body for _ in range(2)] == [b"file a\n"] * 2


def test_body_too_long_to_drain_closes(dial: Dial) -> None:
    client = dial.h1()
    client.send(b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000)
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.ended()


def chunked(content: bytes) -> bytes:
    return (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + b"0\r\n\r\n"


GET = b"GET /a HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /fixed HTTP/1.1\r\nHost: x\r\n"
MALFORMED = [
    ("no version", b"GET /a\r\n\r\n", 400),
    ("two spaces", b"GET  /a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("tab", b"GET\t/a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("target with a space", b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("target with bytes above ASCII", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("no target", b"GET HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("relative target", b"GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("lower-case protocol", b"GET /a http/1.1\r\nHost: x\r\n\r\n", 400),
    ("other protocol", b"GET /a RTSP/1.0\r\nHost: x\r\n\r\n", 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("unknown method", b"BREW /a HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    ("method in lower case", b"get /a HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    ("bad byte in the method", b"G(T /a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("CONNECT", b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    ("bare LF", b"GET /a HTTP/1.1\nHost: x\n\n", 400),
    ("LF after a field", GET + b"A: b\n\r\n", 400),
    ("bare CR", GET + b"A: b\rc\r\n\r\n", 400),
    ("NUL", GET + b"A: b\0c\r\n\r\n", 400),
    ("obs-fold", GET + b"A: b\r\n c\r\n\r\n", 400),
    ("space before the colon", GET + b"A : b\r\n\r\n", 400),
    ("no colon", GET + b"A\r\n\r\n", 400),
    ("empty name", GET + b": b\r\n\r\n", 400),
    ("name with a space", GET + b"A b: c\r\n\r\n", 400),
    ("no Host", b"GET /a HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", GET + b"Host: y\r\n\r\n", 400),
    ("Host with a path", b"GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    ("Host with a user", b"GET /a HTTP/1.1\r\nHost: u@x\r\n\r\n", 400),
    ("target too long", b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    ("fields too long", GET + b"A: " + b"b" * 40_000 + b"\r\n\r\n", 431),
    ("too many fields", GET + b"A: b\r\n" * 101 + b"\r\n", 431),
    ("unknown expectation", POST + b"Content-Length: 1\r\nExpect: tea\r\n\r\nx", 417),
    ("body too large", POST + b"Content-Length: 100001\r\n\r\n", 413),
    ("TE and CL", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("CL and TE", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("two equal lengths", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("two lengths", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    ("list of lengths", POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    ("signed length", POST + b"Content-Length: +5\r\n\r\nhello", 400),
    ("negative length", POST + b"Content-Length: -5\r\n\r\nhello", 400),
    ("hexadecimal length", POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    ("empty length", POST + b"Content-Length:\r\n\r\n", 400),
    ("length with a space", POST + b"Content-Length: 1 1\r\n\r\nhello", 400),
    ("endless length", POST + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n", 400),
    ("unknown coding", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501),
    ("chunked in two fields", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    ("chunked, then identity", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    ("coding with a vertical tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("TE in HTTP/1.0", b"POST /fixed HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
]


@pytest.mark.parametrize(("data", "status"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed_request_is_answered_once_and_closes(dial: Dial, data: bytes, status: int) -> None:
    """What stands behind it is never read as a request."""
    ((found, body),) = answers(dial.h1(), data + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    assert found == status
    assert b"smuggled" not in body


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = [
    ("0x", b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("underscore", b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n"),
    ("sign", b"+3\r\nabc\r\n0\r\n\r\n"),
    ("negative", b"-3\r\nabc\r\n0\r\n\r\n"),
    ("space before", b" 3\r\nabc\r\n0\r\n\r\n"),
    ("empty size", b"\r\nabc\r\n0\r\n\r\n"),
    ("17 digits", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("LF in place of CRLF", b"3\nabc\n0\n\n"),
    ("LF after the size", b"3\nabc\r\n0\r\n\r\n"),
    ("LF in an extension", b"3;a\nGET /smuggled HTTP/1.1\r\nabc\r\n0\r\n\r\n"),
    ("CR in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    ("quoted line end in an extension", b'3;a="\r\nabc"\r\nabc\r\n0\r\n\r\n'),
    ("longer than it says", b"3\r\nabcd\r\n0\r\n\r\n"),
    ("shorter than it says", b"5\r\nabc\r\n0\r\n\r\n"),
    ("endless extension", b"3;" + b"a" * 1000 + b"\r\nabc\r\n0\r\n\r\n"),
    ("bad trailer", b"0\r\nA : b\r\n\r\n"),
    ("folded trailer", b"0\r\nA: b\r\n c\r\n\r\n"),
]


@pytest.mark.parametrize("chunks", [row[1] for row in BAD_CHUNKS], ids=[row[0] for row in BAD_CHUNKS])
def test_malformed_chunk_closes(dial: Dial, chunks: bytes) -> None:
    """The answer may be out already, as it does not need the body; a second one never is."""
    found = answers(dial.h1(), CHUNKED + chunks + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [status for status, _ in found] in ([200], [400])
    assert not any(b"smuggled" in body for _, body in found)


BODIES = [
    ("length", b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b", 405),
    ("chunked", b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n", 405),
    ("GET with length", b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b", 200),
    ("HEAD with length", b"HEAD /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b", 200),
    ("OPTIONS with length", b"OPTIONS /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b", 204),
    ("missing", b"GET /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b", 404),
    ("upgrade", GET + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: %d\r\n\r\n%b", 200),
    ("obscure TE", b"GET /a HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nContent-Length: %d\r\n\r\n%b", 200),
]  # fmt: skip


@pytest.mark.parametrize(("form", "status"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "body later"])
def test_body_is_never_read_as_a_request(dial: Dial, form: bytes, status: int, late: bool) -> None:
    """CL.0 and TE.0: handlers that do not look at the body (PortSwigger, 2022 to 2025)."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    data = form % (len(body), body)
    client = dial.h1()
    if late:
        head, separator, content = data.partition(b"\r\n\r\n")
        client.send(head + separator)
        method = head[:4].decode().strip()
        answer = client.answer(method)
        client.send(content)
    else:
        client.send(data)
        answer = client.answer(data[:4].decode().strip())
    assert answer.status == status
    if answer.headers.get("connection") == "close":
        assert client.ended()
    else:
        assert client.request("GET", "/b").body == b"file b\n"


def test_pipelined_requests_before_a_bad_one_are_answered(dial: Dial) -> None:
    data = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled\r\n\r\n" + GET + b"\r\n"
    found = answers(dial.h1(), data)
    assert [status for status, _ in found] == [200, 200, 400]


def test_empty_lines_before_a_request_are_skipped_but_not_endlessly(dial: Dial) -> None:
    """RFC 9112, section 2.2."""
    client = dial.h1()
    client.send(b"\r\n" + GET + b"\r\n")
    assert client.answer().body == b"file a\n"
    other = dial.h1()
    found = answers(other, b"\r\n" * 20_000)
    assert [status for status, _ in found] in ([400], [431], [])


def test_bad_requests_are_counted_not_errors(dial: Dial, server: ServerProcess) -> None:
    answers(dial.h1(), b"GET / HTTP/1.1\r\nAuthorization: Basic c2VjcmV0 \x00\r\nCookie: c2VjcmV0\r\n\r\n")
    event = server.wait_for_event("bad request")
    assert (event["level"], event["peer"]) == ("info", "127.0.0.1")
    assert "c2VjcmV0" not in server.events_path.read_text() + server.access_path.read_text()
