"""Large files over TLS: whole to the byte, in turns, and never of a wrong length whatever happens to the file."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client, Http1, Http2
    from tests.wire.conftest import Dial

LARGE = random.Random(8).randbytes(12_345_678)
LONG_BYTES = 64 << 20


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server of files that are larger than any buffer."""
    directory = tmp_path_factory.mktemp(f"downloads-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "large.bin").write_bytes(LARGE)
    (directory / "site" / "small.txt").write_bytes(b"small\n")
    write_config(directory, certificates, 'root = "site"', engine=engine)
    with serving(directory) as process:
        yield process


@pytest.fixture
def long_file(server: ServerProcess, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file of zeros of one test, too long for the sockets between server and client to hold."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    path = server.directory / "site" / name
    with path.open("wb") as file:
        file.truncate(LONG_BYTES)
    yield path
    path.unlink(missing_ok=True)


def test_large_file_is_whole(client: Client) -> None:
    answer = client.request("GET", "/large.bin")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(LARGE)))
    assert answer.body == LARGE
    assert client.request("GET", "/small.txt").body == b"small\n"


def test_head_of_a_large_file(client: Client) -> None:
    answer = client.request("HEAD", "/large.bin")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", str(len(LARGE)))
    assert client.request("GET", "/small.txt").body == b"small\n"


def test_ranges_of_a_large_file(client: Client) -> None:
    start, end = 1_000_001, 9_999_999
    answer = client.request("GET", "/large.bin", {"range": f"bytes={start}-{end}"})
    assert (answer.status, answer.body) == (206, LARGE[start : end + 1])
    answer = client.request("GET", "/large.bin", {"range": f"bytes=0-{1 << 20},{start * 3}-{end}"})
    assert answer.status == 206
    assert LARGE[: (1 << 20) + 1] in answer.body
    assert LARGE[start * 3 : end + 1] in answer.body
    assert answer.headers["content-length"] == str(len(answer.body))


def test_many_downloads_on_one_connection_take_turns(dial: Dial) -> None:
    client = dial.h2()
    streams = [client.open("GET", "/large.bin") for _ in range(4)]
    small = client.open("GET", "/small.txt")
    assert client.answer(small).body == b"small\n"
    assert not any(stream_id in client.finished for stream_id in streams), "did not wait for the large ones"
    for stream_id in streams:
        assert hashlib.sha256(client.answer(stream_id).body).digest() == hashlib.sha256(LARGE).digest()


def test_clients_side_by_side_get_each_their_own(dial: Dial, long_file: Path) -> None:
    """All slices are read into the same memory; clients that do not read at once have theirs waiting."""
    content = random.Random(9).randbytes(30 << 20)
    long_file.write_bytes(content)
    size = 9_000_000
    ranges = [(start, start + size) for start in range(0, 20 << 20, 3_500_001)]
    clients: list[tuple[Http1, tuple[int, int]]] = []
    streams: list[tuple[Http2, int, tuple[int, int]]] = []
    for number, (start, end) in enumerate(ranges):
        wanted = f"bytes={start}-{end - 1}"
        if number % 2:
            h1 = dial.h1()
            h1.send(f"GET /{long_file.name} HTTP/1.1\r\nHost: {h1.host}\r\nRange: {wanted}\r\n\r\n".encode())
            clients.append((h1, (start, end)))
        else:
            h2 = dial.h2()
            streams.append((h2, h2.open("GET", f"/{long_file.name}", {"range": wanted}), (start, end)))
    for h2, stream_id, (start, end) in streams:
        answer = h2.answer(stream_id)
        assert (answer.status, answer.body) == (206, content[start:end])
    for h1, (start, end) in clients:
        assert h1.read_head().status == 206
        body, whole = h1.rest(size)
        assert whole
        assert body == content[start:end]


def test_pipelined_downloads_come_in_order(dial: Dial) -> None:
    client = dial.h1()
    head = f"Host: {client.host}\r\n\r\n".encode()
    client.send(b"GET /large.bin HTTP/1.1\r\n" + head + b"GET /small.txt HTTP/1.1\r\n" + head)
    assert client.answer().body == LARGE
    assert client.answer().body == b"small\n"


def test_client_that_ends_its_side_still_gets_the_whole_file(dial: Dial) -> None:
    """As `printf ... | nc` does: the request is all there is to say (RFC 9112, section 9.6).

    An answer that needs a thread, because the kernel cannot open the file without waiting, is not waited for; that is
    seldom twice in a row.
    """
    for _ in range(5):
        client = dial.h1()
        client.send(f"GET /large.bin HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
        client.end_output()
        answer = client.answer()
        assert client.ended()
        if answer.reset is None:
            break
    assert answer.body == LARGE


def begin_h1(dial: Dial, path: str) -> Http1:
    """A client that has read the head and no more."""
    client = dial.h1()
    client.send(f"GET {path} HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
    head = client.read_head()
    assert (head.status, head.headers["content-length"]) == (200, str(LONG_BYTES))
    return client


def begin_h2(dial: Dial, path: str) -> tuple[Http2, int]:
    """The same; the windows of the client are a part of the file."""
    client = dial.h2()
    stream_id = client.open("GET", path)
    while not client.pending(stream_id).status:
        assert client.step()
    assert client.pending(stream_id).headers["content-length"] == str(LONG_BYTES)
    return client, stream_id


def test_file_that_is_truncated_cuts_the_connection(dial: Dial, long_file: Path) -> None:
    client = begin_h1(dial, f"/{long_file.name}")
    os.truncate(long_file, 1000)
    body, whole = client.rest(LONG_BYTES)
    assert not whole
    assert len(body) < LONG_BYTES
    assert client.cut, "an end without close_notify"


def test_file_that_is_truncated_ends_its_stream_alone(dial: Dial, long_file: Path) -> None:
    client, stream_id = begin_h2(dial, f"/{long_file.name}")
    other = client.open("GET", "/large.bin")
    os.truncate(long_file, 1000)
    answer = client.answer(stream_id)
    assert answer.reset == 2, "INTERNAL_ERROR, and no END_STREAM"
    assert len(answer.body) < LONG_BYTES
    assert client.answer(other).body == LARGE
    assert client.request("GET", "/small.txt").body == b"small\n"


def test_file_that_is_replaced_is_sent_as_it_was(dial: Dial, long_file: Path) -> None:
    h1 = begin_h1(dial, f"/{long_file.name}")
    h2, stream_id = begin_h2(dial, f"/{long_file.name}")
    new = long_file.with_suffix(".new")
    new.write_bytes(b"new")
    new.replace(long_file)
    body, whole = h1.rest(LONG_BYTES)
    assert whole
    assert body.count(b"\0") == LONG_BYTES
    answer = h2.answer(stream_id)
    assert answer.reset is None
    assert answer.body.count(b"\0") == LONG_BYTES


def test_file_that_is_removed_is_sent_to_its_end(dial: Dial, long_file: Path) -> None:
    client = begin_h1(dial, f"/{long_file.name}")
    long_file.unlink()
    body, whole = client.rest(LONG_BYTES)
    assert whole
    assert body.count(b"\0") == LONG_BYTES


@pytest.mark.parametrize("size", [10_000, 200_000])
def test_upload_to_a_file_is_refused_without_reading_it(client: Client, dial: Dial, size: int) -> None:
    """The client may still be sending when it gets its answer; it must not lose it."""
    answer = client.request("POST", "/small.txt", body=b"x" * size)
    assert (answer.status, answer.reset) == (405, None)
    if answer.headers.get("connection") == "close":
        client = dial.h1()
    assert client.request("GET", "/small.txt").body == b"small\n"


def test_get_with_a_body_is_answered_once(client: Client) -> None:
    answer = client.request("GET", "/small.txt", body=b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"small\n")
    assert client.request("GET", "/small.txt").body == b"small\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_sees_why_a_long_upload_is_refused(
    server: ServerProcess, certificates: TestCertificates, version: str
) -> None:
    """A reset right after the answer makes curl report the reset and lose the answer."""
    command = [
        "curl", "--silent", "--show-error", "--max-time", "10", version, "--output", "-",
        "--cacert", str(certificates.ca),
        "--write-out", "%{stderr}%{http_code}", "--data-binary", f"@{server.directory}/site/large.bin",
        f"https://localhost:{server.port}/small.txt",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "405")
    assert "405" in done.stdout
