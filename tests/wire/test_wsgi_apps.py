"""Flask and Django as they are behind the real server, over TLS, on both protocols and both engines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.wire.clients import Client, Http1
from tests.wire.server_process import ServerProcess, running, write_config
from tests.wire.wsgi_apps import CHUNK, CHUNKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.conftest import Dial

HERE = Path(__file__).parent
THREADS = 3
SITE = "".join(
    f"""
[[site.route]]
path = "{path}"
[site.route.{table}]
app = "wsgi_apps:{name}"
app_directory = "{HERE}"
"""
    for path, table, name in (
        ("/flask", "asgi", "flask_app"),
        ("/django", "asgi", "django_app"),
        ("/bare", "wsgi", "bare"),
    )
)
LIMITS = f"application_threads = {THREADS}\napplication_wait_seconds = 1\nhandler_seconds = 60"


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server with the applications."""
    directory = tmp_path_factory.mktemp(f"wsgi-{engine}")
    write_config(directory, certificates, SITE, engine=engine, limits=LIMITS)
    with running(directory) as process:
        yield process


def test_flask_gets_what_the_client_sent_and_nothing_forged(client: Client) -> None:
    forged = {"proxy": "http://evil", "x_user": "root", "remote-user": "root"}
    answer = client.request("GET", "/flask/about/%C3%BC", forged)
    assert json.loads(answer.body) == {
        "name": "ü", "scheme": "https", "root": "/flask", "proxy": None, "user": None, "x": None,
    }  # fmt: skip
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_head_and_errors_of_the_framework(client: Client) -> None:
    answer = client.request("HEAD", "/flask/about/a")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0
    assert client.request("GET", "/flask/fail").status == 500
    assert client.request("GET", "/flask/none").status == 404


def test_a_large_upload_is_read_piece_by_piece(client: Client) -> None:
    body = b"x" * (3 << 20)
    assert client.request("POST", "/flask/count", {}, body).body == hashlib.sha256(body).hexdigest().encode()


def test_a_chunked_upload(dial: Dial) -> None:
    client = dial.h1()
    answer = client.request("POST", "/flask/count", {"transfer-encoding": "chunked"}, b"3\r\nabc\r\n0\r\n\r\n")
    assert answer.body == hashlib.sha256(b"abc").hexdigest().encode()


def test_a_form_with_a_file(client: Client) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhi\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + b"y" * 100_000 + b"\r\n--b--\r\n"
    )
    answer = client.request("POST", "/flask/form", {"content-type": "multipart/form-data; boundary=b"}, body)
    assert json.loads(answer.body) == {"note": "hi", "size": 100_000}


def test_django_runs_as_it_is(client: Client) -> None:
    answer = client.request("GET", "/django/hello/you")
    assert json.loads(answer.body) == {"name": "you", "secure": True, "path": "/django/hello/you"}
    assert client.request("POST", "/django/echo", {"content-length": "70000"}, b"z" * 70_000).body == b"z" * 70_000
    assert client.request("GET", "/django/stream").body == b"one two three"
    assert client.request("GET", "/django/none").status == 404


def seen(dial: Dial) -> Any:
    return json.loads(dial.h1().request("GET", "/flask/seen").body)


def test_a_client_that_does_not_read_holds_the_application_and_frees_it_when_it_leaves(dial: Dial) -> None:
    before = seen(dial)
    client = dial.h1()
    client.send(b"GET /flask/download HTTP/1.1\r\nhost: x\r\n\r\n")
    assert client.sock.recv(1)
    for _ in range(20):
        now = seen(dial)
        assert (now["closed"], now["chunks"] < before["chunks"] + CHUNKS) == (before["closed"], True)
    client.close()
    for _ in range(500):
        if seen(dial)["closed"] == before["closed"] + 1:
            return
    raise AssertionError("the application was not closed")


def test_a_download_is_whole(client: Client) -> None:
    answer = client.request("GET", "/flask/download")
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(CHUNK * CHUNKS).digest()


def test_an_application_neither_splits_its_answer_nor_ends_a_broken_one_well(client: Client, dial: Dial) -> None:
    answer = client.request("GET", "/bare/split")
    assert (answer.status, "set-cookie" in answer.headers) == (500, False)
    assert client.request("GET", "/bare/broken").reset is not None
    assert dial.h1().request("GET", "/bare/").body == b"bare"


def test_threads_that_are_stuck_leave_a_503_and_not_a_hang(tmp_path: Path, certificates: TestCertificates) -> None:
    write_config(tmp_path, certificates, SITE, limits=LIMITS.replace("= 60", "= 2\nbody_grace_seconds = 2"))
    with running(tmp_path) as server:
        clients = [Http1(server.port, certificates.ca) for _ in range(THREADS + 1)]
        try:
            for client in clients[:THREADS]:
                client.send(b"GET /bare/stuck HTTP/1.1\r\nhost: x\r\n\r\n")
            for client in clients[:THREADS]:
                assert client.answer().status == 504
            refused = clients[THREADS].request("GET", "/bare/")
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        finally:
            for client in clients:
                client.close()
        assert server.wait_for_event("no thread for an application")["abandoned"] == THREADS
        assert server.stop() == 0  # and they don't keep the worker
