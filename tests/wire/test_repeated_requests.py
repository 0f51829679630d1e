"""Requests that come again to the byte: the same answer, and all else that a request is owed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.wire.clients import Http1, Http2
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client

PAGE = b"<!doctype html><title>again</title>\n"
SITE = """
root = "site"

[site.set_headers]
set = { "x-one" = "1" }

[[site.route]]
path = "/changed"
respond = { status = 200, body = "from a handler that says nothing of files" }
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"repeated-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "index.html").write_bytes(PAGE)
    (directory / "site" / "large.txt").write_bytes(b"large\n" * 5000)
    (directory / "site" / "larger.txt").write_bytes(b"larger\n" * 5000)
    write_config(directory, certificates, SITE, engine=engine)
    with serving(directory) as process:
        yield process


@pytest.mark.parametrize("path", ["/", "/large.txt", "/larger.txt", "/missing", "/changed"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_answer_is_the_same(client: Client, method: str, path: str) -> None:
    answers = [client.request(method, path) for _ in range(6)]
    assert {(one.status, one.body) for one in answers} == {(answers[0].status, answers[0].body)}
    assert answers[0].status == (404 if path == "/missing" else 200)
    for one in answers:
        assert {**one.headers, "date": ""} == {**answers[0].headers, "date": ""}
        assert one.headers["x-one"] == "1"
        assert bool(one.body) is (method == "GET")


def test_conditional_requests_are_answered_with_304_each_time(client: Client) -> None:
    etag = client.request("GET", "/").headers["etag"]
    for _ in range(5):
        answer = client.request("GET", "/", {"if-none-match": etag})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)


def test_each_has_its_own_line_in_the_access_log(client: Client, server: ServerProcess) -> None:
    target = f"/?line-{client.protocol.replace('/', '')}"
    for _ in range(5):
        assert client.request("GET", target, {"user-agent": "again/1", "referer": "https://other.test/"}).status == 200
    client.request("GET", f"{target}-end")
    server.wait_for_access(f"{target}-end")
    lines = [line for line in server.access_lines() if f"{target} " in line]
    assert len(lines) == 5
    version = "HTTP/2" if client.protocol == "h2" else "HTTP/1.1"
    for line in lines:
        assert line.startswith("127.0.0.1 - - [")
        assert line.endswith(f'] "GET {target} {version}" 200 {len(PAGE)} "https://other.test/" "again/1"')


def test_what_differs_in_one_byte_is_looked_at_anew(client: Client) -> None:
    for _ in range(3):
        assert client.request("GET", "/").status == 200
        assert client.request("GET", "/nothing").status == 404
        assert client.request("POST", "/").status == 405
        assert client.request("GET", "/", {"range": "bytes=0-3"}).body == PAGE[:4]


def test_a_file_that_changes_is_seen_although_nobody_asks_in_other_words(client: Client, server: ServerProcess) -> None:
    path = server.directory / "site" / f"change-{client.protocol.replace('/', '')}"
    path.write_bytes(b"before")
    for _ in range(3):
        assert client.request("GET", f"/{path.name}").body == b"before"
    other = path.with_suffix(".new")
    other.write_bytes(b"after")
    os.replace(other, path)
    deadline = time.monotonic() + 10
    while (body := client.request("GET", f"/{path.name}").body) == b"before":
        assert time.monotonic() < deadline
    assert body == b"after"
    path.unlink()
    while (status := client.request("GET", f"/{path.name}").status) == 200:
        assert time.monotonic() < deadline
    assert status == 404


def test_the_limit_of_requests_on_a_connection_counts_them(
    tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates, engine: str
) -> None:
    directory = tmp_path_factory.mktemp(f"repeated-limit-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "index.html").write_bytes(PAGE)
    write_config(directory, certificates, 'root = "site"', engine=engine, limits="requests_per_connection = 5")
    with serving(directory) as process:
        for kind in (Http1, Http2):
            client = kind(process.port, certificates.ca)
            try:
                answers = [client.request("GET", "/") for _ in range(5)]
                assert [one.status for one in answers] == [200] * 5
                if isinstance(client, Http2):
                    while client.goaway is None and client.step():
                        pass
                    assert client.goaway is not None
                    assert client.goaway.last_stream_id == 9
                    client.sock.settimeout(5)  # at once, and not when somebody looks at deadlines
                    while client.step():
                        pass
                else:
                    assert answers[-1].headers["connection"] == "close"
                    assert client.ended()
            finally:
                client.close()
