"""Each example of conf.d, switched on, served by a real server, and asked the thing that it is about.

One row an example, on both protocols and both engines. All of them are served by one server: their sites share nothing.
Behind them are php-fpm, uWSGI and other servers, as the examples have them, on ports of their own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from securelight.stages.signed_links import signature
from tests.peers.php import running_fpm
from tests.server.processes import wait_until
from tests.wire.cgi_upstream import CgiUpstream
from tests.wire.clients import Answer, Client, Http1, Http2
from tests.wire.conf_d import DOWNLOAD_BYTES, EXAMPLES, LINK_SECRET, PICTURE, SwitchedOn, switch_on
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, running
from tests.wire.test_tcp import Behind
from tests.wire.websocket_client import open_websocket

ALICE: Final = {"authorization": "Basic " + base64.b64encode(b"alice:secret").decode()}


class Served:
    """The server with all examples, and what is behind it.

    Args:
        folder: of its own.
        engine: of the server.
        stack: ends everything.
        adjust: changes the examples further before the server starts.

    Attributes:
        on: the folder of the examples.
        upstreams: the servers behind it, by the address that the example has.
        server: the process.
    """

    def __init__(
        self,
        folder: Path,
        engine: str,
        stack: contextlib.ExitStack,
        adjust: Callable[[SwitchedOn], None] = lambda _on: None,
    ) -> None:
        self.on = switch_on(folder)
        self.srv = folder / "srv"
        self.upstreams: dict[str, RawUpstream] = {}
        self._stack = stack
        self.on.change("00-server.toml", ("localhost:8443", "127.0.0.1:0"), ("localhost:8080", "127.0.0.2:0"))
        self.on.change("00-server.toml", ('engine = "auto"', f'engine = "{engine}"'))
        self.on.change("tcp.toml", ("localhost:8444", "127.0.0.3:0"))
        for file, *addresses in (
            ("proxy.toml", "127.0.0.1:9000", "127.0.0.1:9001"),
            ("websocket.toml", "127.0.0.1:9000"),
            ("cache.toml", "127.0.0.1:8000"),
            ("forward-auth.toml", "127.0.0.1:3000", "127.0.0.1:9091"),
        ):
            for address in addresses:
                upstream = RawUpstream({"/": BEHAVIOURS[file, address]})
                stack.callback(upstream.close)
                self.upstreams[f"{file} {address}"] = upstream
                self.on.change(file, (f"http://{address}", upstream.url))
        self._start_mail_server()
        for file in ("fastcgi.toml", "php-fpm.toml", "authorizer.toml"):
            directory = folder / file.removesuffix(".toml")
            directory.mkdir()
            listening = stack.enter_context(running_fpm(directory))
            self.on.change(file, (f"{folder}/run/php/php-fpm.sock", str(listening)))
        stack.enter_context(running_uwsgi(folder))
        stack.callback(CgiUpstream("scgi", "tide", folder / "run/tide.sock").close)
        adjust(self.on)
        self.server: ServerProcess = stack.enter_context(running(folder))

    def _start_mail_server(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.on.certificates.chain, self.on.certificates.key)
        behind = Behind(context)
        self._stack.callback(behind.close)
        self.on.change("tcp.toml", ("127.0.0.1:993", behind.address))


@contextlib.contextmanager
def running_uwsgi(folder: Path) -> Iterator[None]:
    """uWSGI, started as conf.d/uwsgi.toml says it."""
    program = shutil.which("pyuwsgi", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("pyuwsgi is not installed")
    path, log = folder / "run/flow.sock", folder / "uwsgi.log"
    application = folder / "srv/flow/app.py"
    command = [program, "--socket", str(path), "--wsgi-file", str(application), "--need-app", "--die-on-term"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder)
    try:
        wait_until(lambda: path.exists() or process.poll() is not None, 20)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)


def tell(name: str) -> Callable[[RawUpstream, Conversation, Seen], bool]:
    """A server that tells what it was asked, and who asks."""

    def answer(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
        told = {"server": name, "path": seen.path, **{key.lower(): value for key, value in seen.fields}}
        conversation.answer(json.dumps(told).encode(), "Content-Type: application/json")
        return True

    return answer


def count(upstream: RawUpstream, conversation: Conversation, _seen: Seen) -> bool:
    """A server whose answers are good for an hour."""
    conversation.answer(b"%d" % len(upstream.requests), "Content-Type: text/plain", "Cache-Control: max-age=3600")
    return True


def decide(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    """A server that lets in who has a cookie."""
    if seen.get("cookie") == "session=good":
        conversation.answer(b"", "Remote-User: alice")
    else:
        conversation.answer(b"who is there?", status="401 Unauthorized")
    return True


def echo(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    """A WebSocket that says one thing."""
    key = (seen.get("sec-websocket-key") or "").encode()
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    conversation.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    conversation.send(b"\x81\x04live")
    conversation.wait_for_end()
    return False


BEHAVIOURS: Final = {
    ("proxy.toml", "127.0.0.1:9000"): tell("first"),
    ("proxy.toml", "127.0.0.1:9001"): tell("second"),
    ("websocket.toml", "127.0.0.1:9000"): echo,
    ("cache.toml", "127.0.0.1:8000"): count,
    ("forward-auth.toml", "127.0.0.1:3000"): tell("team"),
    ("forward-auth.toml", "127.0.0.1:9091"): decide,
}


@pytest.fixture(scope="module")
def served(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with contextlib.ExitStack() as stack:
        yield Served(tmp_path_factory.mktemp(f"conf-{engine}"), engine, stack)


class Visitor:
    """A client of one protocol; a connection for each name that it asks."""

    def __init__(self, served: Served, kind: type[Http1] | type[Http2]) -> None:
        self.served = served
        self.srv = served.srv
        self.protocol = kind.protocol
        self._kind = kind
        self._clients: list[Client] = []
        self._by_name: dict[str, Client] = {}

    def dial(self, name: str, client: Path | None = None) -> Client:
        """A new connection to NAME.example.test."""
        host = name if name == "localhost" else f"{name}.example.test"
        made = self._kind(self.served.server.port, self.served.on.certificates.ca, host, client)
        self._clients.append(made)
        return made

    def ask(
        self,
        name: str,
        path: str = "/",
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """One request to NAME.example.test."""
        client = self._by_name.get(name) or self._by_name.setdefault(name, self.dial(name))
        return client.request(method, path, headers, body)

    def status(self, name: str, path: str = "/", headers: dict[str, str] | None = None) -> int:
        return self.ask(name, path, headers).status

    def close(self) -> None:
        for one in self._clients:
            one.close()


def server(visitor: Visitor) -> None:
    """The listener of plain HTTP sends people to https; the unix socket serves the same sites."""
    port = visitor.served.server.ports[1]
    with socket.create_connection(("127.0.0.2", port), 15) as sock:
        sock.sendall(b"GET /a?b=c HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65_536), b"")).lower()
    assert answer.startswith(b"http/1.1 308 ")
    assert b"location: https://localhost:8443/a?b=c\r\n" in answer
    context = ssl.create_default_context(cafile=str(visitor.served.on.certificates.ca))
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(15)
        raw.connect(str(visitor.served.on.folder / "run/securelight/web.sock"))
        with context.wrap_socket(raw, server_hostname="localhost") as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200 ")


def static_site(visitor: Visitor) -> None:
    answer = visitor.ask("localhost")
    assert (answer.status, answer.headers["x-content-type-options"]) == (200, "nosniff")
    assert answer.headers["strict-transport-security"] == "max-age=86400"
    assert answer.body == (EXAMPLES.parent / "examples/site/index.html").read_bytes()
    assert visitor.ask("localhost", "/health").body == b"ok\n"


def application(visitor: Visitor) -> None:
    assert visitor.ask("shop", "/basket").body == b"shop /basket"
    assert visitor.ask("shop", "/static/style.css").body == b"p {}"


def access(visitor: Visitor) -> None:
    answer = visitor.ask("club")
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="restricted", charset="UTF-8"')
    assert visitor.ask("club", headers=ALICE).body == b"club"
    assert visitor.status("club", "/picture.png", ALICE) == 200
    assert visitor.status("club", "/picture.png", {**ALICE, "referer": "https://thief.test/"}) == 403
    assert visitor.status("club", "/picture.png", {**ALICE, "referer": "https://www.example.test/"}) == 200
    statuses = [visitor.ask("club", "/login", ALICE, method="POST", body=b"").status for _ in range(6)]
    assert statuses[-1] == 429
    assert visitor.status("club", "/files/report.txt", ALICE) == 403
    expires = int(time.time()) + 60
    proof = signature(LINK_SECRET.encode(), "/files/report.txt", expires)
    assert visitor.ask("club", f"/files/report.txt?expires={expires}&signature={proof}", ALICE).body == b"report"


def authorizer(visitor: Visitor) -> None:
    answer = visitor.ask("members")
    assert (answer.status, answer.body) == (403, b"guarded")
    assert visitor.ask("members", headers={"x-key": "open"}).body == b"members"


def bandwidth(visitor: Visitor) -> None:
    """The whole bucket goes at once; what is beyond it has to wait. No machine is fast enough to fail this."""
    started = time.monotonic()
    assert len(visitor.ask("downloads", "/large.bin").body) == DOWNLOAD_BYTES
    assert time.monotonic() - started > (DOWNLOAD_BYTES - 5_000_000) / 5_000_000 * 0.9


def cache(visitor: Visitor) -> None:
    path = f"/{visitor.protocol.replace('/', '-')}"
    first, second = visitor.ask("magazine", path), visitor.ask("magazine", path)
    assert first.body == second.body
    assert ("hit" in first.headers["cache-status"], "hit" in second.headers["cache-status"]) == (False, True)
    assert visitor.ask("magazine", path, method="PURGE").body == b"1 purged\n"
    assert visitor.ask("magazine", path).body != first.body


def cgi(visitor: Visitor) -> None:
    assert visitor.ask("programs", "/cgi-bin/hello/tide").body == b"/tide C.UTF-8"
    assert visitor.ask("programs", "/cgi-bin/hello.pl").body == b"perl"
    answer = visitor.ask("programs", "/git/tide.git/info/refs?service=git-upload-pack")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-git-upload-pack-advertisement")


def client_certificates(visitor: Visitor) -> None:
    member, revoked = visitor.served.on.member, visitor.served.on.revoked
    assert visitor.dial("private", member.path).request("GET", "/").body == b"private"
    for stranger in (None, revoked.path):
        # With TLS 1.3 the client learns of it when it reads.
        with contextlib.suppress(OSError):
            answer = visitor.dial("private", stranger).request("GET", "/")
            assert (answer.status, answer.body) == (0, b"")


def compression(visitor: Visitor) -> None:
    plain = visitor.ask("news")
    assert "content-encoding" not in plain.headers
    for coding in ("br", "zstd", "gzip"):
        answer = visitor.ask("news", headers={"accept-encoding": coding})
        assert (answer.headers["content-encoding"], answer.headers["vary"]) == (coding, "accept-encoding")
        assert len(answer.body) < len(plain.body) / 4
    assert zlib.decompress(answer.body, 31) == plain.body
    kept = visitor.served.on.folder / "var/cache/securelight/compressed"
    wait_until(lambda: any(path.is_file() for path in kept.rglob("*")), 30)


def directory_listing(visitor: Visitor) -> None:
    page = visitor.ask("mirror", "/folder/").body.decode()
    assert "a.txt" in page
    assert "read me" in page
    assert ".hidden" not in page
    found = json.loads(visitor.ask("mirror", "/folder/", {"accept": "application/json"}).body)
    assert "a.txt" in json.dumps(found)


def fastcgi(visitor: Visitor) -> None:
    assert visitor.ask("php", "/").body == b"php /  production"
    assert visitor.ask("php", "/index.php/more?a=b").body == b"php /index.php/more /more production"
    assert visitor.status("php", "/secret.txt") == 404


def forward_auth(visitor: Visitor) -> None:
    answer = visitor.ask("team", "/plans", {"remote-user": "root"})
    assert (answer.status, answer.body) == (401, b"who is there?")
    told = json.loads(visitor.ask("team", "/plans", {"cookie": "session=good", "remote-user": "root"}).body)
    assert (told["server"], told["path"], told["remote-user"]) == ("team", "/plans", "alice")


def geoip(visitor: Visitor) -> None:
    answer = visitor.ask("world")
    assert (answer.status, answer.headers["location"]) == (302, "/de/")
    assert visitor.ask("world", "/de/").body == b"welt"
    assert visitor.status("world", "/login/") == 403
    assert visitor.ask("world", "/where").body == b"You seem to be in DE, EU.\n"


def headers(visitor: Visitor) -> None:
    answer = visitor.ask("fields")
    assert answer.headers["permissions-policy"] == "camera=(), microphone=()"
    hints = [(status, fields["link"]) for status, fields in answer.interim]
    # Old clients of HTTP/1.1 take an interim answer for the answer.
    assert hints == ([(103, "</style.css>; rel=preload; as=style")] if visitor.protocol == "h2" else [])
    assert visitor.ask("fields", "/a.png").headers["cache-control"] == "max-age=604800"
    paper = visitor.ask("fields", "/a.pdf").headers
    assert paper["x-robots-tag"] == "noindex"
    assert paper["link"] == '<https://fields.example.test/a.pdf>; rel="canonical"'
    for origin, said in (("https://app.example.test", "https://app.example.test"), ("https://thief.test", None)):
        answer = visitor.ask("fields", "/a.png", {"origin": origin})
        assert answer.headers.get("access-control-allow-origin") == said


def logs(visitor: Visitor) -> None:
    agent = f"test of {visitor.protocol}"
    assert visitor.status("logged", "/pictures/a.png", {"user-agent": agent}) == 200
    assert visitor.status("logged", "/?page=2", {"user-agent": agent}) == 200
    log = visitor.srv / "logged/access.log"
    wait_until(lambda: log.exists() and agent in log.read_text(), 30)
    [line] = [line for line in log.read_text().splitlines() if agent in line]
    assert ' 127.0.0.1 "GET /?page=2" 200 6 ' in line


def php_fpm(visitor: Visitor) -> None:
    assert visitor.ask("blog", "/assets/style.css").body == b"p {}"
    assert visitor.ask("blog", "/2026/spring").body.startswith(b"php /2026/spring")
    assert visitor.ask("blog", "/sent").body == visitor.ask("blog", "/moved").body == PICTURE


def proxy(visitor: Visitor) -> None:
    told = [json.loads(visitor.ask("app", "/a?b=c", {"x-debug": "1"}).body) for _ in range(6)]
    assert [one["server"] for one in told].count("first") == 4
    assert {one["path"] for one in told} == {"/a?b=c"}
    assert {one["x-real-ip"] for one in told} == {"127.0.0.1"} == {one["x-forwarded-for"] for one in told}
    assert "x-debug" not in told[0]


def rules(visitor: Visitor) -> None:
    answer = visitor.ask("rules", "/blog/2024/spring")
    assert (answer.status, answer.headers["location"]) == (301, "/posts/spring?year=2024")
    assert visitor.ask("rules", "/app/any/view").body == b"the application"
    assert visitor.ask("rules", "/app/script.js").body == b"script"
    assert visitor.status("rules", "/notes.bak") == 403
    answer = visitor.ask("rules", "/missing")
    assert (answer.status, answer.body) == (404, b"nothing of that name")
    assert visitor.status("rules", "/errors/not-found") == 403
    assert visitor.ask("rules", "/", {"x-beta": "yes"}).body == b"beta\n"
    assert visitor.ask("rules", "/", {"cookie": "beta=1"}).body == b"beta\n"
    assert visitor.ask("rules", "/~alice/").body == b"alice's"
    flag = visitor.srv / "rules/closed"
    flag.touch()
    try:
        wait_until(lambda: visitor.status("rules") == 503, 30)
        answer = visitor.ask("rules")
        assert (answer.headers["retry-after"], answer.body) == ("600", b"<p>Sorry.</p>\n")
    finally:
        flag.unlink()
    wait_until(lambda: visitor.status("rules") == 200, 30)


def server_side_includes(visitor: Visitor) -> None:
    assert visitor.ask("village").body == b"<p>before</p>\n<p>part</p>\n"
    assert visitor.ask("village", "/part.html").body == b"<p>part</p>"


def status(visitor: Visitor) -> None:
    assert json.loads(visitor.ask("status", "/status", {"accept": "application/json"}).body)["workers"]
    assert visitor.ask("status", "/status", {"accept": "text/html"}).headers["content-type"].startswith("text/html")
    assert b"\nsecurelight_requests_total" in visitor.ask("status", "/metrics").body
    assert visitor.status("status", "/health") == 200


def tcp(visitor: Visitor) -> None:
    certificates, ports = visitor.served.on.certificates, visitor.served.server.ports
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with (
        socket.create_connection(("127.0.0.1", ports[0]), 15) as raw,
        context.wrap_socket(raw, server_hostname="mail.example.test") as sock,
    ):
        assert sock.recv(100) == b"220 behind\r\n"
    # The listener behind a balancer: others are served as who they are, and what they say of others ends it.
    with (
        socket.create_connection(("127.0.0.3", ports[2]), 15) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as sock,
    ):
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.3", ports[2]), 15) as raw:
        raw.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 1000 443\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in b"".join(iter(lambda: raw.recv(100), b""))


def uwsgi(visitor: Visitor) -> None:
    assert visitor.ask("flow", "/a").body == b"flow /a production"
    assert visitor.ask("flow", "/sent").body == b"a file"


def scgi(visitor: Visitor) -> None:
    assert visitor.ask("tide", "/a").body == b"tide"


def webdav(visitor: Visitor) -> None:
    name = f"/{visitor.protocol.replace('/', '-')}.txt"
    assert visitor.status("files", "/note.txt") == 401
    assert visitor.ask("files", "/note.txt", ALICE).body == b"a note"
    assert visitor.ask("files", name, ALICE, method="PUT", body=b"new").status == 201
    answer = visitor.ask("files", "/", {**ALICE, "depth": "1"}, method="PROPFIND", body=b"")
    assert answer.status == 207
    assert name.encode() in answer.body
    assert visitor.ask("files", name, ALICE, method="DELETE").status == 204


def websocket(visitor: Visitor) -> None:
    assert open_websocket(visitor.dial("chat"), "/echo").ask("ahoy") == "heard ahoy"
    live = open_websocket(visitor.dial("chat"), "/live").receive()
    assert live is not None
    assert live.payload == b"live"


def wsgi(visitor: Visitor) -> None:
    assert visitor.ask("orders", "/7").body == b"orders /7"


ROWS: Final[dict[str, Callable[[Visitor], None]]] = {
    "00-server": server,
    "10-static-site": static_site,
    "20-application": application,
    "access": access,
    "authorizer": authorizer,
    "bandwidth": bandwidth,
    "cache": cache,
    "cgi": cgi,
    "client-certificates": client_certificates,
    "compression": compression,
    "directory-listing": directory_listing,
    "fastcgi": fastcgi,
    "forward-auth": forward_auth,
    "geoip": geoip,
    "headers": headers,
    "logs": logs,
    "php-fpm": php_fpm,
    "proxy": proxy,
    "rules": rules,
    "scgi": scgi,
    "server-side-includes": server_side_includes,
    "status": status,
    "tcp": tcp,
    "uwsgi": uwsgi,
    "webdav": webdav,
    "websocket": websocket,
    "wsgi": wsgi,
}


def test_every_example_has_a_row() -> None:
    assert sorted(ROWS) == sorted(path.stem for path in EXAMPLES.glob("*.toml"))


@pytest.mark.parametrize("kind", [Http1, Http2])
@pytest.mark.parametrize("example", ROWS)
def test_example(example: str, kind: type[Http1] | type[Http2], served: Served) -> None:
    visitor = Visitor(served, kind)
    try:
        ROWS[example](visitor)
    finally:
        visitor.close()
