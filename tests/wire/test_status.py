"""The status of a server with two workers, over TLS, on both engines and both protocols."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.handlers.test_metrics import read
from tests.server.processes import wait_until
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

SITE = """
root = "site"

[[site.route]]
path = "/status"
[site.route.status_page]

[[site.route]]
path = "/metrics"
[site.route.metrics]

[[site.route]]
path = "/health"
[site.route.health]

[[site.route]]
path = "/list"
[site.route.directory_listing]
root = "site"
[site.route.compress]
"""
REQUESTS = 40


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server that shows its status."""
    directory = tmp_path_factory.mktemp(f"status-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "page.html").write_bytes(b"<p>page\n")
    write_config(directory, certificates, SITE, engine=engine, workers=2)
    with running(directory) as process:
        yield process


def values_of(client: Client) -> dict[str, Any]:
    answer = client.request("GET", "/status", {"accept": "application/json"})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = json.loads(answer.body)
    return found


def with_two_workers(client: Client) -> dict[str, Any]:
    """The values, empty until both workers have reported."""
    found = values_of(client)
    return found if len(found["workers"]) == 2 else {}


def test_every_request_is_counted_whoever_answered_it(client: Client, dial: Dial) -> None:
    before = wait_until(lambda: with_two_workers(client), 15)
    other = dial.h1()
    tag = other.request("GET", "/page.html").headers["etag"]
    for _ in range(REQUESTS):
        assert client.request("GET", "/page.html").status == 200
        assert other.request("GET", "/page.html", {"if-none-match": tag}).status == 304
        assert client.request("GET", "/missing").status == 404
    sent = REQUESTS * len(b"<p>page\n")

    def since(now: dict[str, Any], status: str) -> int:
        count: int = now["statuses"].get(status, 0) - before["statuses"].get(status, 0)
        return count

    def counted() -> dict[str, Any]:
        now = values_of(client)
        return now if all(since(now, status) >= REQUESTS for status in ("200", "304", "404")) else {}

    now = wait_until(counted, 15)
    assert since(now, "404") == REQUESTS
    assert since(now, "304") == REQUESTS, "those that were answered again, too"
    assert now["sent_bytes"] - before["sent_bytes"] >= sent
    assert sum(now["connections"].values()) >= 2
    assert now["certificates"][0]["not_after"] > now["now"]


def test_prometheus_can_read_the_metrics(client: Client) -> None:
    answer = client.request("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert read(answer.body.decode())["securelight_workers", ""] >= 1
    answer = client.request("GET", "/metrics", {"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    found = read(answer.body.decode(), answer.headers["content-type"])
    assert found["securelight_workers", ""] >= 1


def test_the_page_its_style_and_the_health(client: Client) -> None:
    page = client.request("GET", "/status")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    style = page.body.split(b'href="?')[1].split(b'"')[0].decode()
    assert client.request("GET", f"/status?{style}").headers["content-type"] == "text/css; charset=utf-8"
    assert client.request("GET", "/health").body == b"ok\n"
    assert client.request("GET", "/status", {"x-forwarded-for": "192.0.2.1"}).status == 403


def test_a_list_of_files(client: Client) -> None:
    answer = client.request("GET", "/list/", {"accept": "application/json"})
    assert [entry["name"] for entry in json.loads(answer.body)] == ["page.html"]
    page = client.request("GET", "/list/")
    assert (page.status, b'<a href="./page.html">' in page.body) == (200, True)
    assert client.request("HEAD", "/list/").body == b""


def test_totals_do_not_shrink_when_a_worker_is_killed(dial: Dial, server: ServerProcess) -> None:
    client = dial.h2()
    before = wait_until(lambda: with_two_workers(client), 15)
    for worker in before["workers"]:
        os.kill(worker["process"], signal.SIGKILL)
    server.wait_for_event("worker died, starting another", 15, count=2)

    def after() -> dict[str, Any]:
        try:
            found = values_of(dial.h1())
        except (OSError, KeyError, ValueError, AssertionError):
            return {}
        return found if found["ended_workers"] >= 2 else {}

    now = wait_until(after, 15)
    assert now["requests"] >= before["requests"]
    assert now["statuses"].get("404", 0) >= before["statuses"].get("404", 0)
