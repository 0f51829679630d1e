"""Compressed files and answers of applications over TLS, on both engines and both protocols."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING

import brotli
import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

HERE = Path(__file__).parent
PAGE = b"<!doctype html><title>hello</title>" + b"<p>And hello again.\n" * 200
LARGE = b"".join(b"Line %d of a file that is larger than what is kept in memory.\n" % n for n in range(20_000))
SITE = f"""
root = "site"

[site.compress]
directory = "copies"

[site.set_headers]
set = {{ x-after = "yes" }}

[[site.route]]
path = "/app"

[site.route.asgi]
app = "compressible_app:app"
app_directory = "{HERE}"

[site.route.compress]
"""
BROWSER = {"accept-encoding": "gzip;q=0.5, br"}


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server of a small site and an application, both compressed."""
    directory = tmp_path_factory.mktemp(f"compression-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "page.html").write_bytes(PAGE)
    (directory / "site" / "large.txt").write_bytes(LARGE)
    write_config(directory, certificates, SITE, engine=engine)
    with serving(directory, errors=2) as process:  # the broken answers
        yield process


def test_a_file_is_compressed_whoever_asks_how_often(client: Client) -> None:
    for _ in range(3):
        answer = client.request("GET", "/page.html", BROWSER)
        assert (answer.status, brotli.decompress(answer.body)) == (200, PAGE)
        assert answer.headers["content-encoding"] == "br"
        assert answer.headers["vary"] == "accept-encoding"
        assert answer.headers["x-after"] == "yes"
        assert answer.headers["etag"].startswith('W/"')
        plain = client.request("GET", "/page.html")
        assert (plain.body, plain.headers["vary"]) == (PAGE, "accept-encoding")
        assert "content-encoding" not in plain.headers
    kept = client.request("GET", "/page.html", BROWSER)
    assert kept.headers["content-length"] == str(len(kept.body))


def test_the_browser_s_copy_is_confirmed(client: Client) -> None:
    tag = client.request("GET", "/page.html", BROWSER).headers["etag"]
    answer = client.request("GET", "/page.html", {**BROWSER, "if-none-match": tag})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)


def test_a_large_file_and_its_head(client: Client) -> None:
    for _ in range(2):
        answer = client.request("GET", "/large.txt", BROWSER)
        assert (answer.status, brotli.decompress(answer.body)) == (200, LARGE)
    assert answer.headers["content-length"] == str(len(answer.body)), "by now it is on the disk"
    head = client.request("HEAD", "/large.txt", BROWSER)
    assert (head.status, head.body, head.headers["content-encoding"]) == (200, b"", "br")
    assert head.headers.get("content-length") in (None, answer.headers["content-length"])
    part = client.request("GET", "/large.txt", {**BROWSER, "range": "bytes=-10"})
    assert (part.status, part.body) == (206, LARGE[-10:])


@pytest.mark.parametrize("path", ["/app/whole", "/app/pieces", "/app/announced", "/app/large"])
def test_what_an_application_sends_is_compressed_on_its_way(client: Client, path: str) -> None:
    plain = client.request("GET", path)
    assert plain.status == 200
    assert len(plain.body) > 2000
    for _ in range(2):
        answer = client.request("GET", path, {"accept-encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.body) == plain.body
    head = client.request("HEAD", path, {"accept-encoding": "gzip"})
    assert (head.status, head.body, head.headers["content-encoding"]) == (200, b"", "gzip")
    assert client.request("GET", path, {"accept-encoding": "gzip", "cookie": "a=b"}).body == plain.body


def test_a_broken_answer_never_looks_whole(dial: Dial) -> None:
    answer = dial.h2().request("GET", "/app/broken", {"accept-encoding": "gzip"})
    assert answer.reset is not None
    answer = dial.h1().request("GET", "/app/broken", {"accept-encoding": "gzip"})
    assert answer.reset is not None


def test_a_client_that_leaves_ends_the_compression(dial: Dial, server: ServerProcess) -> None:
    for _ in range(3):
        client = dial.h1()
        client.send(b"GET /app/endless HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n")
        assert client.read_head().headers["content-encoding"] == "gzip"
        client.close()
    server.wait_for_count(3, event="the client of endless left")


def test_a_bomb_in_a_request_stays_packed_and_counts_as_it_came(client: Client, server: ServerProcess) -> None:
    bomb = gzip.compress(bytes(64 << 20), mtime=0)
    before = resident_bytes(server)
    answer = client.request("POST", "/app/taken", {"content-encoding": "gzip"}, bomb)
    assert (answer.status, answer.body) == (200, b"%d" % len(bomb)), "the application gets what was sent, not 64 MB"
    assert resident_bytes(server) - before < 16 << 20


def resident_bytes(server: ServerProcess) -> int:
    """Of all workers."""
    pages = sum(int(Path(f"/proc/{worker}/statm").read_text().split()[1]) for worker in server.workers())
    return pages * os.sysconf("SC_PAGE_SIZE")
