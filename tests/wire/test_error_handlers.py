"""Errors that a route answers: what the client sees, what the handler is told, and that nothing goes in circles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

SITE = """
root = "site"

[site.error_pages]
pages = { 410 = "gone.txt", 4xx = "gone.txt" }
[site.error_pages.handlers]
404 = "/errors/lost?why=404"
403 = "/closed/again"
405 = "/errors.html"
413 = "/errors/lost"
5xx = "/errors/lost"
410 = "/nowhere/at/all"

[[site.route]]
path = "/errors"
asgi = { app = "error_app:app", app_directory = "." }
[site.route.access]
deny = ["0.0.0.0/0", "::/0"]

[[site.route]]
path = "/closed"
root = "site"
[site.route.access]
deny = ["0.0.0.0/0", "::/0"]

[[site.route]]
path = "/late"
root = "site"
maintenance = { retry_after_seconds = 77 }
error_pages = { pages = { 503 = "gone.txt" }, handlers = { 503 = "/folder" } }

[[site.route]]
path = "/gone"
respond = { status = 410, body = "the handler's own" }

[[site.route]]
path = "/behind"
proxy = { upstreams = ["http://127.0.0.1:9"] }

[[site.route]]
path = "/broken"
asgi = { app = "error_app:broken", app_directory = "." }
"""
APP = """
import json


async def app(scope, receive, send):
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    told = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    answer = json.dumps({
        "method": scope["method"], "path": scope["path"], "query": scope["query_string"].decode(),
        "told": told, "body": body.decode("latin-1"),
    }).encode()
    if "fail" in told.get("x-original-uri", ""):
        raise RuntimeError("the page itself is broken")
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"application/json"), (b"etag", b'"page"'), (b"x-page", b"lost")]})
    await send({"type": "http.response.body", "body": answer[:10], "more_body": True})
    await send({"type": "http.response.body", "body": answer[10:]})


async def broken(scope, receive, send):
    raise RuntimeError("broken")
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A site whose errors are answered in every way."""
    directory = tmp_path_factory.mktemp(f"errors-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "index.html").write_text("home\n")
    (directory / "site" / "errors.html").write_text("<p>a file</p>\n")
    (directory / "site" / "folder").mkdir()
    (directory / "gone.txt").write_text("page {{status}}\n")
    (directory / "error_app.py").write_text(APP)
    write_config(directory, certificates, SITE, engine=engine, limits="request_body_bytes = 1000")
    with serving(directory, errors=4) as process:
        yield process


def test_the_client_gets_the_page_with_its_own_status(client: Client, server: ServerProcess) -> None:
    answer = client.request(
        "GET",
        "/no/such%20thing?a=b",
        {"x-original-uri": "/forged", "X_Original_URI": "/forged", "range": "bytes=0-1", "if-none-match": '"page"'},
    )
    assert answer.status == 404
    assert answer.headers["x-page"] == "lost"
    assert "etag" not in answer.headers, "it is the page's, not that of what was asked for"
    assert answer.headers["cache-control"] == "no-store"
    seen = json.loads(answer.body)
    assert (seen["method"], seen["path"], seen["query"]) == ("GET", "/errors/lost", "why=404")
    told = seen["told"]
    assert told["x-original-uri"] == "/no/such%20thing?a=b"
    assert (told["x-original-method"], told["x-error-status"]) == ("GET", "404")
    assert "/forged" not in answer.body.decode()
    assert not told.keys() & {"range", "if-none-match"}
    line = server.wait_for_access("/no/such%20thing?a=b")
    assert " 404 " in line


def test_head_has_no_body(client: Client) -> None:
    answer = client.request("HEAD", "/nothing")
    assert (answer.status, answer.body, answer.headers["x-page"]) == (404, b"", "lost")
    assert client.request("GET", "/").body == b"home\n"


def test_a_file_answers_and_the_fields_of_the_error_stay(client: Client) -> None:
    answer = client.request("POST", "/index.html", body=b"x" * 100)
    assert (answer.status, answer.body) == (405, b"<p>a file</p>\n")
    assert "GET" in answer.headers["allow"]
    assert not answer.headers.keys() & {"etag", "last-modified", "accept-ranges"}
    assert client.request("GET", "/").status == 200


def test_a_redirect_is_no_page(client: Client) -> None:
    answer = client.request("GET", "/late")
    assert (answer.status, answer.body) == (503, b"page 503\n")
    assert "location" not in answer.headers
    assert answer.headers["retry-after"] == "77"


def test_an_upload_that_is_refused_is_not_the_pages_body(client: Client) -> None:
    answer = client.request("POST", "/behind/x", body=b"secret" * 10)
    assert answer.status in (502, 503)
    seen = json.loads(answer.body)
    assert (seen["method"], seen["body"], seen["told"]["x-original-method"]) == ("GET", "", "POST")
    assert "content-length" not in seen["told"]


def test_there_are_no_circles(client: Client) -> None:
    """The handler of 403 is itself closed, but its handler is asked alone; what it does not have is not asked again."""
    answer = client.request("GET", "/closed/file")
    assert (answer.status, answer.body) == (403, b"page 403\n")


def test_the_route_of_the_pages_may_be_closed(client: Client) -> None:
    answer = client.request("GET", "/errors/lost")
    assert answer.status == 403


def test_errors_of_handlers_themselves_are_left_alone(client: Client) -> None:
    answer = client.request("GET", "/gone")
    assert (answer.status, answer.body) == (410, b"the handler's own")


def test_errors_that_come_late_are_answered_too(client: Client) -> None:
    answer = client.request("GET", "/behind/x")
    assert answer.status in (502, 503)
    assert json.loads(answer.body)["told"]["x-original-uri"] == "/behind/x"


def test_a_page_that_fails_leaves_the_error(client: Client, server: ServerProcess) -> None:
    answer = client.request("GET", "/fail")
    assert (answer.status, answer.body) == (404, b"page 404\n")
    assert client.request("GET", "/").status == 200
    server.wait_for_event("internal error")


def test_our_own_failures_are_not_handed_to_applications(client: Client) -> None:
    answer = client.request("GET", "/broken")
    assert answer.status == 500
    assert "x-page" not in answer.headers


def test_a_websocket_that_is_refused_gets_no_upgrade(dial: Dial) -> None:
    client = dial.h1()
    answer = client.request(
        "GET",
        "/no-socket",
        {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
         "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="},
    )  # fmt: skip
    assert answer.status == 404
    assert not json.loads(answer.body)["told"].keys() & {"upgrade", "connection", "sec-websocket-key"}
