"""Several servers behind the proxy: over TLS and unix sockets, balanced, failing, coming back; nginx among them."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import socket
import ssl
import subprocess
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import pytest

from tests.protocol.test_http1_guard import BAD_BODIES, BAD_HEADS, CHUNKED
from tests.server.processes import wait_until
from tests.wire.clients import Http1, Http2
from tests.wire.raw_upstream import Behaviour, Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, running, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates

    Serve = Callable[..., ServerProcess]
    Behind = Callable[..., RawUpstream]


PATIENCE_SECONDS = 2.5
"""For a body, at /gives-up."""


def named(name: str) -> dict[str, Behaviour]:
    """An upstream that answers with its name, or as the path says."""

    def plain(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
        conversation.read_body(seen)
        conversation.answer(name.encode())
        return True

    def close(_upstream: RawUpstream, _conversation: Conversation, _seen: Seen) -> bool:
        return False

    def wait(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
        upstream.reached.set()
        upstream.proceed.wait(20)
        conversation.answer(name.encode())
        return True

    def unwell(_upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
        conversation.answer(name.encode(), status="503 Service Unavailable")
        return True

    def half(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + "x" * 100_000)
        upstream.proceed.wait(20)
        return False

    def give_up(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
        conversation.sock.settimeout(PATIENCE_SECONDS)
        conversation.read_body(seen)
        return False

    return {"/": plain, "/close": close, "/wait": wait, "/unwell": unwell, "/half": half, "/gives-up": give_up}


@pytest.fixture
def behind() -> Iterator[Behind]:
    """Starts upstreams that are ended with the test."""
    made: list[RawUpstream] = []

    def start(name: str = "a", **keys: Any) -> RawUpstream:
        made.append(RawUpstream(named(name), **keys))
        return made[-1]

    yield start
    for upstream in made:
        upstream.close()


@pytest.fixture
def serve(tmp_path: Path, certificates: TestCertificates) -> Iterator[Serve]:
    """Starts a server with the given `proxy` table, stopped with the test."""
    with contextlib.ExitStack() as stack:

        def start(table: str, **keys: Any) -> ServerProcess:
            write_config(tmp_path, certificates, f"[site.proxy]\n{table}", **keys)
            return stack.enter_context(running(tmp_path))

        yield start


@pytest.fixture
def ask(certificates: TestCertificates) -> Iterator[Callable[..., Http1]]:
    """Connects to a server."""
    opened: list[Http1] = []

    def connect(server: ServerProcess) -> Http1:
        opened.append(Http1(server.port, certificates.ca))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


def listed(*upstreams: RawUpstream) -> str:
    return "upstreams = [" + ", ".join(f'"{one.url}"' for one in upstreams) + "]\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


# Where they are.


def test_a_unix_socket(tmp_path: Path, serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    upstream = behind("over unix", path=tmp_path / "app.sock")
    client = ask(serve(f'upstreams = ["unix:{tmp_path}/app.sock"]\nhost = "upstream"'))

    assert client.request("GET", "/").body == b"over unix"
    assert upstream.requests[-1].get("host") == "localhost"


def server_tls(certificates: TestCertificates, *, client_ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def make_client_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key: our own authority makes none for clients."""
    pair = directory / "client.pem", directory / "client.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=proxy -days 2"
    subprocess.run([*command.split(), "-out", pair[0], "-keyout", pair[1]], check=True, capture_output=True)
    return pair


def test_tls_with_an_authority_of_ones_own_and_a_client_certificate(
    tmp_path: Path, serve: Serve, behind: Behind, ask: Callable[..., Http1], certificates: TestCertificates
) -> None:
    own, key = make_client_certificate(tmp_path)
    upstream = behind("over TLS", tls=server_tls(certificates, client_ca=own))
    tls = f'[site.proxy.tls]\nca = "{certificates.ca}"\ncertificate = "{own.name}"\nkey = "{key.name}"'
    client = ask(serve(f'upstreams = ["https://localhost:{upstream.port}"]\n{tls}'))

    answers = [client.request("GET", "/") for _ in range(3)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"over TLS")] * 3
    assert len(upstream.raw) == 1


def test_a_certificate_that_does_not_fit_is_refused(
    serve: Serve, behind: Behind, ask: Callable[..., Http1], certificates: TestCertificates
) -> None:
    upstream = behind("over TLS", tls=server_tls(certificates))
    cases = [
        ("/unknown-authority", "", 502),
        ("/other-name", f'ca = "{certificates.ca}"\nname = "other.test"', 502),
        ("/right-name", f'ca = "{certificates.ca}"\nname = "www.example.test"', 200),
        ("/unverified", "verify = false", 200),
    ]
    url = f"https://127.0.0.1:{upstream.port}"
    routes = "".join(
        f'\n[[site.route]]\npath = "{path}"\n[site.route.proxy]\nupstreams = ["{url}"]\n[site.route.proxy.tls]\n{tls}\n'
        for path, tls, _status in cases
    )
    client = ask(serve(f'upstreams = ["{url}"]\n{routes}'))

    assert [client.request("GET", path).status for path, *_ in cases] == [status for *_, status in cases]
    assert [seen.path for seen in upstream.requests] == ["/right-name", "/unverified"]


# Which one is asked.


def test_round_robin_by_weight(serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    a, b = behind("a"), behind("b")
    client = ask(serve(f'{listed(a, b)}weights = {{ "{a.url}" = 3 }}'))

    answers = b"".join(client.request("GET", "/").body for _ in range(12))
    assert answers == b"aaba" * 3 or (answers.count(b"a"), answers.count(b"b")) == (9, 3)
    assert b"bb" not in answers


def test_the_same_header_leads_to_the_same_server(serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    servers = [behind(name) for name in "abc"]
    client = ask(serve(f'{listed(*servers)}balance = "hash_header"\nhash_name = "X-User"'))

    found = {user: {client.request("GET", "/", {"x-user": str(user)}).body for _ in range(3)} for user in range(20)}
    assert all(len(names) == 1 for names in found.values())
    assert len(set.union(*found.values())) == 3


def test_a_sticky_cookie_that_cannot_be_made_up(
    tmp_path: Path, serve: Serve, behind: Behind, ask: Callable[..., Http1]
) -> None:
    (tmp_path / "secret").write_text("a secret of many bytes")
    servers = [behind(name) for name in "ab"]
    client = ask(serve(f'{listed(*servers)}sticky_cookie = "at"\nsticky_secret_file = "secret"'))

    first = client.request("GET", "/")
    cookie = first.headers["set-cookie"]
    assert re.fullmatch(r"at=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Lax; Secure", cookie)
    again = [client.request("GET", "/", {"cookie": f"x=y; {cookie.partition(';')[0]}"}) for _ in range(6)]
    assert {(answer.body, answer.headers.get("set-cookie")) for answer in again} == {(first.body, None)}
    made_up = [client.request("GET", "/", {"cookie": "at=" + "0" * 32}) for _ in range(2)]
    assert {answer.body for answer in made_up} == {b"a", b"b"}
    assert all("set-cookie" in answer.headers for answer in made_up)


def test_the_one_with_fewer_requests_is_asked(serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    a, b = behind("a"), behind("b")
    server = serve(f'{listed(a, b)}balance = "least_connections"')
    busy, client = ask(server), ask(server)
    busy.send(f"GET /wait HTTP/1.1\r\nHost: {busy.host}\r\n\r\n".encode())
    wait_until(lambda: a.reached.is_set() or b.reached.is_set(), 15)
    idle = b"b" if a.reached.is_set() else b"a"

    assert {client.request("GET", "/").body for _ in range(6)} == {idle}
    a.proceed.set()
    b.proceed.set()
    assert busy.answer().status == 200


# What fails.


def test_one_that_is_not_there_costs_nobody_a_request(serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    there = behind("a")
    server = serve(f'upstreams = ["http://127.0.0.1:{free_port()}", "{there.url}"]')
    client = ask(server)

    answers = [client.request("POST", "/", {}, b"body") for _ in range(8)]
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"a")}
    assert [seen.body for seen in there.requests] == [b"body"] * 8
    assert server.wait_for_event("upstream down")["upstream"] != there.url


def test_all_of_them_down_is_503_with_a_time_to_come_back(serve: Serve, ask: Callable[..., Http1]) -> None:
    server = serve(
        f'upstreams = ["http://127.0.0.1:{free_port()}", "http://127.0.0.1:{free_port()}"]\n'
        "[site.proxy.health]\nfailures = 1\nfailure_seconds = 60"
    )
    client = ask(server)

    assert client.request("GET", "/").status == 502
    answer = client.request("GET", "/")
    assert answer.status == 503
    assert 0 < int(answer.headers["retry-after"]) <= 61


def test_a_server_that_gave_a_slow_client_up_is_not_blamed(
    serve: Serve, behind: Behind, ask: Callable[..., Http1]
) -> None:
    """Else two clients could take all of them out; each failure would be the last."""
    server = serve(f"{listed(behind('a'), behind('b'))}[site.proxy.health]\nfailures = 1\nfailure_seconds = 600")
    slow = [ask(server) for _ in range(2)]
    for client in slow:
        client.send(b"POST /gives-up HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
    assert [client.answer().status for client in slow] == [502, 502]
    quick = ask(server)
    assert {quick.request("GET", "/").body for _ in range(4)} == {b"a", b"b"}


def test_a_get_is_asked_again_and_a_post_never(serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    a = behind("a")
    client = ask(serve(listed(a)))

    assert client.request("GET", "/close").status == 502
    assert len(a.requests) == 3  # the first one and two retries
    assert client.request("POST", "/close", {}, b"x").status == 502
    assert client.request("POST", "/close", {}, b"").status == 502
    assert len(a.requests) == 5


def test_retries_end_with_their_budget(serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    a = behind("a")
    client = ask(serve(f"{listed(a)}retries = 10"))

    assert {client.request("GET", "/close").status for _ in range(10)} == {502}
    assert len(a.requests) <= 10 + 10 + 10 * 0.2


def test_checks_take_a_server_out_and_bring_it_back(serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    well, port = behind("well"), free_port()
    server = serve(
        f'upstreams = ["{well.url}", "http://127.0.0.1:{port}"]\n[site.proxy.health]\nfailures = 0\npath = "/"\n'
        "seconds = 0.1\nups = 2\ndowns = 2"
    )
    server.wait_for_event("upstream down", 15)
    client = ask(server)
    assert {client.request("GET", "/").body for _ in range(4)} == {b"well"}
    behind("back", port=port)
    server.wait_for_event("upstream up", 15)

    assert {client.request("GET", "/").body for _ in range(4)} == {b"well", b"back"}


def test_a_server_that_says_that_it_is_unwell_rests(serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    a, b = behind("a"), behind("b")
    client = ask(
        serve(f"{listed(a, b)}[site.proxy.health]\nfailures = 1\nfailure_seconds = 60\nfailure_statuses = [503]")
    )
    answer = client.request("GET", "/unwell")
    assert answer.status == 503

    other = {b"a": b"b", b"b": b"a"}[answer.body]
    assert {client.request("GET", "/").body for _ in range(4)} == {other}


def test_a_full_pool_queues_and_then_refuses(serve: Serve, behind: Behind, ask: Callable[..., Http1]) -> None:
    a = behind("a")
    server = serve(f"{listed(a)}[site.proxy.connections]\nmaximum = 1\nqueue = 1\nqueue_seconds = 20")
    first, second, third = ask(server), ask(server), ask(server)
    first.send(f"GET /wait HTTP/1.1\r\nHost: {first.host}\r\n\r\n".encode())
    assert a.reached.wait(15)
    second.send(f"GET / HTTP/1.1\r\nHost: {first.host}\r\n\r\n".encode())
    third.send(f"GET / HTTP/1.1\r\nHost: {first.host}\r\n\r\n".encode())
    # One of the two stands in the queue, the other is told to come back.
    with ThreadPoolExecutor(2) as readers:
        both = [readers.submit(client.answer) for client in (second, third)]
        refused, queued = wait(both, 15, FIRST_COMPLETED)
        a.proceed.set()
        assert [(one.result().status, one.result().headers["retry-after"]) for one in refused] == [(503, "1")]
        assert [one.result(15).status for one in queued] == [200]
    assert first.answer().status == 200
    assert [seen.path for seen in a.requests] == ["/wait", "/"]


def test_a_restart_every_second_loses_no_request_that_may_be_sent_again(
    serve: Serve, certificates: TestCertificates
) -> None:
    port = free_port()
    server = serve(f'upstreams = ["http://127.0.0.1:{port}"]\ntry_seconds = 10\nretries = 5')
    statuses: list[int] = []
    over = threading.Event()

    def load() -> None:
        client = Http1(server.port, certificates.ca)
        try:
            while not over.is_set():
                statuses.append(client.request("GET", "/").status)
        finally:
            client.close()

    def answered(count: int) -> bool:
        return len(statuses) >= count

    clients = [threading.Thread(target=load) for _ in range(4)]
    for thread in clients:
        thread.start()
    for _ in range(5):
        upstream = RawUpstream(named("a"), port=port)
        wanted = len(statuses) + 40
        try:
            wait_until(partial(answered, wanted), 20)
        finally:
            upstream.close()
    over.set()
    last = RawUpstream(named("a"), port=port)
    for thread in clients:
        thread.join(20)
    last.close()

    assert len(statuses) >= 200
    assert set(statuses) == {200}


# What nobody may be able to do.


def test_what_the_server_behind_sees_is_what_we_logged(
    tmp_path: Path, behind: Behind, certificates: TestCertificates, engine: str
) -> None:
    upstream = behind()
    write_config(tmp_path, certificates, f"[site.proxy]\n{listed(upstream)}", engine=engine)
    after = b"GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n"
    with serving(tmp_path) as server:
        for data in ACCEPTED:
            client = Http1(server.port, certificates.ca)
            client.send(data + after)
            assert [client.answer().status, client.answer().status] == [200, 200]
            client.close()
        for data in [*map(bytes_of, BAD_HEADS), *(CHUNKED + bytes_of(row) for row in BAD_BODIES)]:
            client = Http1(server.port, certificates.ca)
            with contextlib.suppress(OSError):
                client.send(data + after)
                while not client.ended():
                    client.rest(1)
            client.close()
    logged = [re.search(r'"(\S+ \S+) HTTP/[0-9.]+" (\d+)', line) for line in server.access_lines()]
    answered = sorted(match[1] for match in logged if match is not None and match[2] == "200")

    assert answered.count("GET /after") >= len(ACCEPTED)
    assert "GET /smuggled" not in answered
    assert sorted(" ".join(one.line.split(" ")[:2]) for one in upstream.requests if one.whole) == answered
    assert sorted(request for raw in upstream.raw for request in read_by_h11(raw)) == answered


_INNER = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
_START = b" / HTTP/1.1\r\nHost: a.test\r\n"
_LENGTH = b"Content-Length: %d\r\n" % len(_INNER)
_IN_CHUNKS = b"%x\r\n%b\r\n0\r\n" % (len(_INNER), _INNER)
_CHUNKS = b"Transfer-Encoding: chunked\r\n"

ACCEPTED = [
    b"POST" + _START + _LENGTH + b"\r\n" + _INNER,
    b"GET" + _START + _LENGTH + b"\r\n" + _INNER,
    b"GET" + _START + _CHUNKS + b"\r\n" + _IN_CHUNKS + b"\r\n",
    b"POST" + _START + _CHUNKS + b"\r\n" + _IN_CHUNKS + b"Content-Length: 5\r\nHost: b\r\n\r\n",
    b"POST" + _START + _CHUNKS + b"\r\n" + b"1;a=b\r\nx\r\n" + _IN_CHUNKS + b"\r\n",
    b"POST" + _START + _LENGTH + b"Connection: content-length, host\r\n\r\n" + _INNER,
    b"POST" + _START + _CHUNKS + b"Connection: transfer-encoding\r\n\r\n" + _IN_CHUNKS + b"\r\n",
    b"POST" + _START + _LENGTH + b"Expect: 100-continue\r\n\r\n" + _INNER,
    b"POST" + _START + _LENGTH + b"TE: chunked\r\nTrailer: content-length\r\n\r\n" + _INNER,
    b"POST" + _START + _LENGTH + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n" + _INNER,
    b"POST" + _START + _LENGTH + b"Content_Length: 0\r\nTransfer_Encoding: chunked\r\n\r\n" + _INNER,
    b"\r\nGET" + _START + b"\r\n",
    b"GET" + _START + b"Content-Length: 0\r\n\r\n",
    b"GET https://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
]
"""Requests that are good, and that a careless proxy would pass on so that they are read as two, or as others."""


def bytes_of(row: object) -> bytes:
    """The input of a row of those tables."""
    values = getattr(row, "values", row)
    assert isinstance(values, tuple)
    return bytes(values[1])


def read_by_h11(raw: bytes) -> Iterator[str]:
    """The whole requests of a connection, as another server reads them."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(raw)
    reader.receive_data(b"")
    with contextlib.suppress(h11.RemoteProtocolError):  # the last one was broken off
        while isinstance(request := reader.next_event(), h11.Request):
            while isinstance(event := reader.next_event(), h11.Data):
                pass
            assert isinstance(event, h11.EndOfMessage)
            yield f"{request.method.decode()} {request.target.decode()}"
            reader.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            reader.send(h11.EndOfMessage())
            reader.start_next_cycle()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Room for the sockets of a thousand requests, both ends of some."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_requests_whose_clients_go_leave_nothing_behind(
    serve: Serve, behind: Behind, certificates: TestCertificates
) -> None:
    """In the middle of an upload, of a download, and while they wait."""
    upstream = behind()
    server = serve(f"{listed(upstream)}[site.proxy.connections]\nmaximum = 2000")
    (worker,) = server.workers()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{worker}/fd"))

    warm = Http1(server.port, certificates.ca)
    assert warm.request("GET", "/").status == 200
    at_rest = descriptors()
    clients: list[Http1 | Http2] = []
    for number in range(100):
        h1 = Http1(server.port, certificates.ca)
        clients.append(h1)
        upload = number % 2
        length = "Content-Length: 100000\r\n" if upload else ""
        path = "/" if upload else ("/wait", "/half")[number // 2 % 2]
        h1.send(f"POST {path} HTTP/1.1\r\nHost: {h1.host}\r\n{length}\r\n".encode() + b"x" * (1000 * upload))
    for _ in range(10):
        h2 = Http2(server.port, certificates.ca)
        clients.append(h2)
        for _ in range(30):
            h2.open("GET", "/wait")
            h2.open("GET", "/half")
            h2.send_body(h2.open("POST", "/", end=False), b"x" * 1000, end=False)
    wait_until(lambda: len(upstream.requests) >= 1001, 90)
    for client in clients:
        client.close()

    wait_until(lambda: descriptors() <= at_rest, 60)
    upstream.proceed.set()
    assert warm.request("GET", "/").status == 200
    wait_until(lambda: upstream.open_connections <= 2, 60)
    warm.close()


# A real one.

NGINX = """
daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{ access_log {directory}/access.log; client_body_temp_path {directory}/body; proxy_temp_path {directory}/p;
fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
server {{ listen unix:{directory}/nginx.sock; root {directory}/html; gzip on; gzip_min_length 1;
gzip_types text/plain; location /put {{ dav_methods PUT; }} }} }}
"""


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_behind_us(tmp_path: Path, certificates: TestCertificates, engine: str) -> None:
    html = tmp_path / "html"
    html.mkdir()
    content = b"tide\n" * 200_000
    (html / "long.bin").write_bytes(content)
    (html / "a.txt").write_text("tide " * 1000)
    (tmp_path / "nginx.conf").write_text(NGINX.format(directory=tmp_path))
    nginx = subprocess.Popen(["nginx", "-c", str(tmp_path / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "nginx.sock").exists, 15)
        write_config(tmp_path, certificates, f'[site.proxy]\nupstreams = ["unix:{tmp_path}/nginx.sock"]', engine=engine)
        with serving(tmp_path) as server:
            for kind in (Http1, Http2):
                client = kind(server.port, certificates.ca)
                assert client.request("GET", "/long.bin").body == content
                part = client.request("GET", "/long.bin", {"range": "bytes=5-9"})
                assert (part.status, part.body) == (206, b"tide\n")
                squeezed = client.request("GET", "/a.txt", {"accept-encoding": "gzip"})
                assert (squeezed.headers["content-encoding"], squeezed.body[:2]) == ("gzip", b"\x1f\x8b")
                tag = client.request("HEAD", "/long.bin").headers["etag"]
                assert client.request("GET", "/long.bin", {"if-none-match": tag}).status == 304
                assert client.request("GET", "/missing").status == 404
                client.close()
    finally:
        nginx.terminate()
        nginx.wait(15)
