"""Error pages for what goes wrong in a task: whole, of any size, on both protocols, and logged as what they are."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client

SITE = """
compress = {}
error_pages = { pages = { 500 = "page.html" } }
[site.asgi]
app = "late_app:app"
app_directory = "."
"""
APP = """
async def app(scope, receive, send):
    raise RuntimeError("the application fails")
"""
PAGE = b"<!doctype html><p>It is not you, it is us.</p>\n" * 5000
"""More than is compressed without a thread."""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"late-{engine}")
    (directory / "page.html").write_bytes(PAGE)
    (directory / "late_app.py").write_text(APP)
    write_config(directory, certificates, SITE, engine=engine)
    with running(directory) as process:
        yield process


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_the_page_comes_whole(client: Client, server: ServerProcess, coding: str) -> None:
    path = f"/{client.protocol}-{coding}"

    answer = client.request("GET", path, {"accept-encoding": coding})

    assert (answer.status, answer.reset) == (500, None)
    assert answer.headers.get("content-encoding", "identity") == coding
    assert (gzip.decompress(answer.body) if coding == "gzip" else answer.body) == PAGE
    assert f'" 500 {len(answer.body)} ' in server.wait_for_access(path)
    assert client.request("HEAD", "/").status == 500
    assert sum(path in line for line in server.access_lines()) == 1
