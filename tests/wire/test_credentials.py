"""Requests that differ in their credentials alone: what is the same for everybody is, and nobody gets another's."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import bcrypt
import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

PAGE = b"<!doctype html><title>for all</title>\n"
SITE = """
root = "site"

[[site.route]]
path = "/secret"
root = "site"
basic_auth = { file = "users", delay_seconds = 0.0 }

[[site.route]]
path = "/told"
root = "site"
log = { file = "told.log", format = "{path} {request_header:cookie}" }

[[site.route]]
path = "/cached"
app = "cookie_app:app"
cache = { anyway = ["cookie"] }

[[site.route]]
path = "/app"
app = "cookie_app:app"
"""
BY_COOKIE = """
[[site]]
hosts = ["example.test"]
root = "site"

[[site.route]]
path = "/"
when = {{ cookie = {{ beta = "yes" }} }}
respond = {{ body = "beta" }}

[[site.route]]
path = "/"
when = {{ header_regex = {{ Cookie = "gamma=([0-9]+)" }} }}
respond = {{ body = "gamma" }}

[[site.certificate]]
chain = "{chain}"
key = "{key}"
"""
APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    cookies = [value for name, value in scope["headers"] if name in (b"cookie", b"authorization")]
    headers = [(b"cache-control", b"public, max-age=60"), (b"vary", b"cookie, authorization")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"|".join(cookies)})
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"credentials-{engine}")
    for name in ("", "secret", "told"):
        (directory / "site" / name).mkdir()
        (directory / "site" / name / "index.html").write_bytes(PAGE)
    (directory / "cookie_app.py").write_text(APP)
    (directory / "users").write_text(f"alice:{bcrypt.hashpw(b'wonder:land', bcrypt.gensalt(4)).decode()}\n")
    (directory / "users").chmod(0o600)
    by_cookie = BY_COOKIE.format(chain=certificates.chain, key=certificates.key)
    write_config(directory, certificates, SITE, engine=engine, extra=by_cookie)
    with serving(directory) as process:
        yield process


def cookies(count: int) -> list[dict[str, str]]:
    return [{"cookie": f"session={number:032x}; theme=dark"} for number in range(count)]


def test_files_are_the_same_for_everybody(client: Client, server: ServerProcess) -> None:
    target = f"/?all-{client.protocol.replace('/', '')}"
    for headers in [{}, *cookies(4), {}, {"authorization": "Bearer x"}, *cookies(2)]:
        answer = client.request("GET", target, headers)
        assert (answer.status, answer.body) == (200, PAGE)
    etag = client.request("GET", target).headers["etag"]
    for headers in cookies(4):
        assert client.request("GET", target, {**headers, "if-none-match": etag}).status == 304
    client.request("GET", f"{target}-end")
    server.wait_for_access(f"{target}-end")
    assert sum(f"{target} " in line for line in server.access_lines()) == 14


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_route_is_chosen_by_the_cookie_each_time_anew(dial: Dial, protocol: str) -> None:
    client: Client = dial.h1("example.test") if protocol == "h1" else dial.h2("example.test")
    for number in range(4):
        assert client.request("GET", "/").body == PAGE
        assert client.request("GET", "/", {"cookie": "beta=yes"}).body == b"beta"
        assert client.request("GET", "/", {"cookie": "beta=no"}).body == PAGE
        assert client.request("GET", "/", {"cookie": f"gamma={number}"}).body == b"gamma"


def test_a_password_is_asked_of_each(client: Client) -> None:
    right = {"authorization": "Basic " + base64.b64encode(b"alice:wonder:land").decode()}
    for _ in range(4):
        assert client.request("GET", "/secret/", right).body == PAGE
        for headers in [{}, *cookies(1), {"authorization": "Basic " + base64.b64encode(b"alice:x").decode()}]:
            answer = client.request("GET", "/secret/", headers)
            assert answer.status == 401
            assert PAGE not in answer.body


def test_a_log_that_tells_the_cookie_tells_the_right_one(client: Client, server: ServerProcess) -> None:
    path = "/told/?" + client.protocol
    log = server.directory / "told.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    for headers in cookies(5):
        assert client.request("GET", path, headers).body == PAGE
    server._wait(lambda: log.read_text().splitlines()[before:], "five lines", 30, 5)
    lines = log.read_text().splitlines()[before:]
    assert lines == [f"/told/ {headers['cookie']}".replace(" theme", "\\x20theme") for headers in cookies(5)]


@pytest.mark.parametrize("path", ["/app", "/cached"])
def test_an_application_sees_the_credentials_of_each(client: Client, path: str) -> None:
    for headers in [*cookies(3), {"authorization": "Bearer one"}, {"authorization": "Bearer two"}] * 3:
        assert client.request("GET", path, headers).body == "|".join(headers.values()).encode()
        assert client.request("GET", path).body == b""


def test_a_cache_that_is_shared_gives_each_cookie_its_own(dial: Dial) -> None:
    one, other = dial.h2(), dial.h2()
    for _ in range(4):
        for client, headers in ((one, cookies(2)[0]), (other, cookies(2)[1])):
            assert client.request("GET", "/cached/shared", headers).body == headers["cookie"].encode()
    assert one.request("GET", "/cached/shared", cookies(1)[0]).headers["cache-status"].startswith("securelight; hit")


def test_crumbs_of_a_cookie_are_one_cookie_each_time(dial: Dial) -> None:
    client = dial.raw()

    def ask(stream_id: int, first: bytes) -> bytes:
        crumbs = ((b"cookie", first), (b"cookie", b"b=2"), (b"accept", b"*/*"), (b"cookie", b"c=3"))
        client.send(client.head(stream_id, "/app", extra=crumbs))
        assert client.until(lambda: stream_id in client.ended_streams())
        return client.body(stream_id)

    for stream_id in range(1, 12, 2):
        assert ask(stream_id, b"a=%d" % stream_id) == b"a=%d; b=2; c=3" % stream_id
