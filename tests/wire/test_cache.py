"""The cache over TLS: in front of an application and a proxied server, on both engines and both protocols."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.server.processes import wait_until
from tests.wire.clients import Http1
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, running, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client

BODY = b"an answer that is kept\n" * 100
LARGE = b"x" * 1_000_000


def answer(upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    conversation.read_body(seen)
    body = LARGE if seen.path.startswith("/cached/large") else BODY
    if seen.path.startswith("/cached/private"):
        conversation.answer(body, "Cache-Control: private", "Content-Type: text/plain")
    elif seen.get("if-none-match") == '"1"' and seen.path.startswith("/cached/checked"):
        conversation.send('HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: no-cache\r\n\r\n')
    elif seen.path.startswith("/cached/checked"):
        conversation.answer(body, "Cache-Control: no-cache", 'ETag: "1"', "Content-Type: text/plain")
    else:
        conversation.answer(body, "Cache-Control: max-age=600", "Content-Type: text/plain")
    return True


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    """The server behind the cache."""
    with contextlib.closing(RawUpstream({"/": answer})) as server:
        yield server


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates, upstream: RawUpstream
) -> Iterator[ServerProcess]:
    """A server with a cache in memory and on the disk, and compression behind it."""
    directory = tmp_path_factory.mktemp(f"cache-{engine}")
    write_config(directory, certificates, site_of(upstream), engine=engine)
    with serving(directory) as process:
        yield process


def site_of(upstream: RawUpstream) -> str:
    return f"""
[[site.route]]
path = "/cached"

[site.route.proxy]
upstreams = ["http://127.0.0.1:{upstream.port}"]

[site.route.cache]
directory = "kept"
purge = ["127.0.0.1"]

[site.route.compress]

[[site.route]]
path = "/status"

[site.route.status_page]
"""


def asked(upstream: RawUpstream, path: str) -> int:
    return sum(seen.path == path for seen in upstream.requests)


def unique(request: pytest.FixtureRequest, kind: str = "a") -> str:
    """A path that no other test asks for."""
    return f"/cached/{kind}-{abs(hash(request.node.nodeid))}"


def test_an_answer_is_fetched_once_and_compressed_for_who_likes_it(
    client: Client, upstream: RawUpstream, request: pytest.FixtureRequest
) -> None:
    path = unique(request)
    first = client.request("GET", path)
    assert (first.status, first.body) == (200, BODY)
    assert first.headers["cache-status"] == "securelight; fwd=uri-miss; stored"
    for _ in range(3):
        again = client.request("GET", path)
        assert (again.status, again.body) == (200, BODY)
        assert again.headers["cache-status"].startswith("securelight; hit; ttl=")
        assert int(again.headers["age"]) >= 0
        assert "content-encoding" not in again.headers
        coded = client.request("GET", path, {"accept-encoding": "gzip"})
        assert coded.headers["content-encoding"] == "gzip"
        assert len(coded.body) < 200
    head = client.request("HEAD", path)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BODY)))
    assert asked(upstream, path) == 1


def test_a_large_answer_and_one_that_is_checked_each_time(
    client: Client, upstream: RawUpstream, request: pytest.FixtureRequest
) -> None:
    large, checked = unique(request, "large"), unique(request, "checked")
    for _ in range(2):
        assert client.request("GET", large).body == LARGE
        assert client.request("GET", checked).body == BODY
    assert (asked(upstream, large), asked(upstream, checked)) == (1, 2)
    assert client.request("GET", checked, {"if-none-match": '"1"'}).status == 304


def test_private_answers_and_cookies_go_by_it(
    client: Client, upstream: RawUpstream, request: pytest.FixtureRequest
) -> None:
    private, path = unique(request, "private"), unique(request)
    for _ in range(2):
        assert client.request("GET", private).body == BODY
        assert client.request("GET", path, {"cookie": "a=b"}).headers["cache-status"] == "securelight; fwd=uri-miss"
    assert (asked(upstream, private), asked(upstream, path)) == (2, 2)


def test_a_post_and_a_purge_forget_it(client: Client, upstream: RawUpstream, request: pytest.FixtureRequest) -> None:
    path = unique(request)
    client.request("GET", path)
    assert client.request("POST", path, body=b"change").status == 200
    assert client.request("GET", path).headers["cache-status"].startswith("securelight; fwd=uri-miss")
    assert client.request("PURGE", path).body == b"1 purged\n"
    assert client.request("GET", path).headers["cache-status"].startswith("securelight; fwd=uri-miss")
    assert asked(upstream, path) == 4


@pytest.mark.parametrize("engine", ["native"], indirect=True)
def test_what_is_kept_outlives_kill_9_and_is_shared_by_workers(
    engine: str, tmp_path: Path, certificates: TestCertificates, upstream: RawUpstream
) -> None:
    write_config(tmp_path, certificates, site_of(upstream), engine=engine, workers=2)
    path = "/cached/killed"

    def ask(server: ServerProcess) -> str:
        client = Http1(server.port, certificates.ca)
        try:
            answered = client.request("GET", path, {"host": "site.test"})
            assert answered.body == BODY
            return answered.headers["cache-status"]
        finally:
            client.close()

    with running(tmp_path) as server:
        assert ask(server).endswith("stored")
        with ThreadPoolExecutor(8) as threads:
            assert all("hit" in said for said in threads.map(lambda _: ask(server), range(16)))
        for process in (*server.workers(), server.process.pid):
            os.kill(process, signal.SIGKILL)
        server.process.wait(15)
    server.events_path.unlink()
    with running(tmp_path) as server:
        assert "hit" in ask(server)
    assert asked(upstream, path) == 1


def test_the_status_page_says_what_is_held(client: Client, request: pytest.FixtureRequest) -> None:
    client.request("GET", unique(request))

    def held() -> dict[str, int]:
        answer = client.request("GET", "/status", {"accept": "application/json"})
        found: dict[str, int] = json.loads(answer.body)["answers"]
        return found if found["entries"] else {}

    found = wait_until(held)
    assert found["bytes"] >= len(BODY) * found["entries"]
    assert b" answers, " in client.request("GET", "/status", {"accept": "text/html"}).body
