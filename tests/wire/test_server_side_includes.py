"""Pages that are put together for each request, over TLS, on both engines and both protocols."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client

LARGE = os.urandom(1_000_000)
SITE = """
[site.server_side_includes]
root = "site"

[[site.route]]
path = "/private"
[site.route.access]
allow = ["192.0.2.1"]
[site.route.static_file]
root = "site/private"
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"includes-{engine}")
    site = directory / "site"
    (site / "private").mkdir(parents=True)
    (site / "private" / "secret.txt").write_text("secret")
    (site / "large.bin").write_bytes(LARGE)
    (site / "foot.shtml").write_text('[<!--#echo var="REMOTE_ADDR" -->]')
    (site / "index.shtml").write_text('<!--#echo var="QUERY_STRING" --><!--#include file="foot.shtml" -->')
    (site / "many.shtml").write_text('<!--#include virtual="/foot.shtml" -->' * 100)
    (site / "large.shtml").write_text('<!--#include virtual="/large.bin" -->' * 3)
    (site / "private.shtml").write_text('<!--#include virtual="/private/secret.txt" -->')
    (site / "loop.shtml").write_text('<!--#include virtual="/loop.shtml" -->' * 2)
    write_config(directory, certificates, SITE, engine=engine)
    with serving(directory) as process:
        yield process


def test_a_page_is_another_one_for_each_request(client: Client) -> None:
    for number in range(3):
        answer = client.request("GET", f"/?{number}&'x'")
        assert answer.body == f"{number}&amp;&#x27;x&#x27;[127.0.0.1]".encode()
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "etag" not in answer.headers


def test_a_page_of_many_files(client: Client) -> None:
    assert client.request("GET", "/many.shtml").body == b"[127.0.0.1]" * 100


def test_large_files_come_through_whole(client: Client) -> None:
    answer = client.request("GET", "/large.shtml")
    assert answer.headers["content-length"] == str(3 * len(LARGE))
    assert answer.body == LARGE * 3
    assert client.request("HEAD", "/large.shtml").headers["content-length"] == str(3 * len(LARGE))


def test_what_other_routes_guard_is_not_included(client: Client) -> None:
    assert client.request("GET", "/private/secret.txt").status == 403
    assert b"secret" not in client.request("GET", "/private.shtml").body


def test_pages_that_include_themselves_end(client: Client) -> None:
    answer = client.request("GET", "/loop.shtml")
    assert answer.status == 500
    assert client.request("GET", "/").status == 200
