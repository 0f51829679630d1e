"""Bandwidth on the wire. Times are only asked to be long enough, never short enough: a busy machine changes nothing."""

from __future__ import annotations

import hashlib
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.wire.clients import Http1
from tests.wire.raw_http2 import RawHttp2, window_update
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

RATE = 100_000
BURST = 20_000
SITE = """
root = "site"

[[site.route]]
path = "/stream"
root = "site"
bandwidth = { stream = { bytes_per_second = 100_000, burst_bytes = 20_000 } }

[[site.route]]
path = "/connection"
root = "site"
bandwidth = { connection = { bytes_per_second = 100_000, burst_bytes = 20_000 } }

[[site.route]]
path = "/all"
root = "site"
bandwidth = { site = { bytes_per_second = 100_000, burst_bytes = 20_000 } }

[[site.route]]
path = "/app"
asgi = { app = "paced_app:app", app_directory = "." }
bandwidth = { stream = { bytes_per_second = 100_000, burst_bytes = 20_000 } }

[[site.route]]
path = "/upload"
asgi = { app = "paced_app:app", app_directory = "." }
bandwidth = { upload_stream = { bytes_per_second = 100_000, burst_bytes = 20_000 } }
"""
APP = """
import hashlib


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    seen = hashlib.sha256()
    while True:
        event = await receive()
        seen.update(event.get("body", b""))
        if not event.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["method"] == "GET":
        for number in range(3):
            await send({"type": "http.response.body", "body": bytes([number]) * 20_000, "more_body": True})
        await send({"type": "http.response.body"})
    else:
        await send({"type": "http.response.body", "body": seen.hexdigest().encode()})
"""
BODY = bytes(range(256)) * 250
"""64,000 bytes: 0.44 seconds beyond the burst."""
LEAST_SECONDS = (len(BODY) - BURST) / RATE - 0.05
LIMITS = """
body_minimum_bytes_per_second = 10000000
body_grace_seconds = 1
write_stall_seconds = 2
handler_seconds = 1
"""
"""Clients have to be faster than they can be here, and handlers too: neither is to blame for waits of ours."""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A site with every limit."""
    directory = tmp_path_factory.mktemp(f"bandwidth-{engine}")
    write_site(directory)
    write_config(directory, certificates, SITE, engine=engine)
    with serving(directory) as process:
        yield process


def write_site(directory: Path) -> None:
    (directory / "site").mkdir()
    (directory / "site" / "file").write_bytes(BODY)
    (directory / "site" / "longer").write_bytes(BODY * 4)
    (directory / "site" / "small").write_bytes(b"small")
    with (directory / "site" / "large").open("wb") as file:
        file.truncate(1 << 30)
    (directory / "paced_app.py").write_text(APP)


def test_a_download_takes_its_time_and_is_whole(client: Client) -> None:
    started = monotonic()
    answer = client.request("GET", "/stream/file")
    assert (answer.status, answer.reset) == (200, None)
    assert answer.body == BODY
    assert answer.headers["content-length"] == str(len(BODY))
    assert monotonic() - started >= LEAST_SECONDS


def test_parts_of_a_file_are_limited_too(client: Client) -> None:
    started = monotonic()
    answer = client.request("GET", "/stream/file", {"range": "bytes=1000-51999"})
    assert (answer.status, answer.body) == (206, BODY[1000:52_000])
    assert monotonic() - started >= (51_000 - BURST) / RATE - 0.05


def test_what_fits_the_burst_and_what_has_no_body_passes(client: Client) -> None:
    for _ in range(3):
        assert client.request("GET", "/stream/small").body == b"small"
    head = client.request("HEAD", "/stream/file")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(BODY)), b"")
    etag = head.headers["etag"]
    assert client.request("GET", "/stream/file", {"if-none-match": etag}).status == 304


def test_a_connection_is_limited_over_all_its_answers(client: Client) -> None:
    started = monotonic()
    for _ in range(2):
        assert client.request("GET", "/connection/file", {"range": "bytes=0-31999"}).body == BODY[:32_000]
    assert monotonic() - started >= LEAST_SECONDS


def test_streams_of_a_connection_share_its_limit_and_both_arrive(dial: Dial) -> None:
    client = dial.h2()
    started = monotonic()
    streams = [client.open("GET", "/connection/file") for _ in range(2)]
    for stream_id in streams:
        answer = client.answer(stream_id)
        assert (answer.status, answer.body) == (200, BODY)
    assert monotonic() - started >= (2 * len(BODY) - BURST) / RATE - 0.05


def test_a_site_is_limited_over_all_connections(dial: Dial) -> None:
    clients = [dial.h2(), dial.h2()]
    started = monotonic()
    streams = [client.open("GET", "/all/file") for client in clients]
    for client, stream_id in zip(clients, streams, strict=True):
        assert client.answer(stream_id).body == BODY
    assert monotonic() - started >= (2 * len(BODY) - BURST) / RATE - 0.05


def test_what_an_application_sends_is_limited(client: Client) -> None:
    answer = client.request("GET", "/app/x")
    started = monotonic()
    assert answer.body == b"\0" * 20_000 + b"\1" * 20_000 + b"\2" * 20_000
    answer = client.request("GET", "/app/x")
    assert len(answer.body) == 60_000
    assert monotonic() - started >= (60_000 - BURST) / RATE - 0.05


def test_an_upload_is_taken_no_faster(client: Client) -> None:
    body = BODY[:60_000]
    started = monotonic()
    answer = client.request("POST", "/upload/x", body=body)
    assert (answer.status, answer.body.decode()) == (200, hashlib.sha256(body).hexdigest())
    assert monotonic() - started >= (60_000 - BURST) / RATE - 0.05


def test_nobody_is_blamed_for_waits_of_ours_but_a_client_that_does_not_read(
    tmp_path: Path, engine: str, certificates: TestCertificates
) -> None:
    """Both protocols at once, with room for all of it at the client; and a third whose window is closed."""
    write_site(tmp_path)
    write_config(tmp_path, certificates, SITE, engine=engine, limits=LIMITS)
    whole = BODY * 4
    with serving(tmp_path) as process:
        first = Http1(process.port, certificates.ca)
        second = RawHttp2(process.port, certificates.ca, values={4: 1 << 24})
        third = RawHttp2(process.port, certificates.ca, values={4: 0})
        try:
            first.send(b"GET /stream/longer HTTP/1.1\r\nHost: localhost\r\n\r\n")
            second.send(window_update(0, 1 << 24), second.head(1, "/stream/longer"))
            third.send(third.head(1, "/stream/longer"))
            assert first.answer().body == whole
            assert second.until(lambda: 1 in second.ended_streams())
            assert second.body(1) == whole
            assert third.reset_code(1) is not None
        finally:
            for client in (first, second, third):
                client.close()
        process.wait_for_count(1, event="stream read too slowly")


def test_a_client_that_leaves_is_forgotten(dial: Dial, server: ServerProcess) -> None:
    client = dial.h1()
    client.send(b"GET /stream/large?leaves HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.read_head().status == 200
    client.close()
    assert '" 200 ' in server.wait_for_access("/stream/large?leaves")
