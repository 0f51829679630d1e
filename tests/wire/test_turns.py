"""Turns that are over at once (limit receive_seconds_per_turn): what is left is taken in the next ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.conftest import Dial
    from tests.wire.server_process import ServerProcess

APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""
UPLOAD_BYTES = 600_000


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("turns")
    (directory / "counting_app.py").write_text(APPLICATION)
    site = f"""
[[site.route]]
path = "/"

[site.route.asgi]
app = "counting_app:app"
app_directory = "{directory}"
"""
    write_config(directory, certificates, site, engine=engine, limits="receive_seconds_per_turn = 0")
    with running(directory) as started:
        yield started


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_an_upload_arrives_whole_in_many_short_turns(dial: Dial, protocol: str) -> None:
    client = dial.h1() if protocol == "h1" else dial.h2()
    answer = client.request("POST", "/", body=bytes(UPLOAD_BYTES))
    assert (answer.status, answer.body) == (200, b"%d" % UPLOAD_BYTES)


def test_pipelined_requests_are_all_answered_in_many_short_turns(dial: Dial) -> None:
    client = dial.h1()
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 600)
    assert [client.answer().status for _ in range(600)] == [200] * 600


def test_tiny_chunks_and_frames_arrive_whole_in_many_short_turns(dial: Dial) -> None:
    client = dial.h1()
    chunks = b"".join(b"%x\r\n%b\r\n" % (size, bytes(size)) for size in (1, 2, 300, 4_000, 1) * 60)
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head + chunks + b"0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.answer().body == b"%d" % (4_304 * 60)
    assert client.answer().body == b"0"
    other = dial.h2()
    stream_id = other.open("POST", "/", end=False)
    for _ in range(3_000):
        other.h2.send_data(stream_id, b"x")
    other.h2.end_stream(stream_id)
    other.flush()
    assert other.answer(stream_id).body == b"3000"
