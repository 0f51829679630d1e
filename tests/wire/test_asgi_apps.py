"""Starlette and FastAPI behind the real server, over TLS, on both protocols and both engines."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from securelight.protocol.engine import native_available
from tests.wire.clients import Answer, Http1, Http2
from tests.wire.example_apps import CHUNK, DOWNLOAD_CHUNKS
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.certificates import TestCertificates

Client = Http1 | Http2

HERE = Path(__file__).parent
SITE = f"""
[site.asgi]
app = "example_apps:app"
app_directory = "{HERE}"

[[site.route]]
path = "/bare"

[site.route.asgi]
app = "example_apps:bare"
app_directory = "{HERE}"

[[site.route]]
path = "/same-head"
hsts = {{}}
set_headers = {{ set = {{ x-filtered = "first" }} }}

[site.route.asgi]
app = "raw_apps:same_head"
app_directory = "{HERE}"

[[site.route]]
path = "/raw"

[site.route.asgi]
app = "raw_apps:app"
app_directory = "{HERE}"

[[site.route]]
path = "/below"

[site.route.asgi]
app = "example_apps:app"
app_directory = "{HERE}"
"""
BODY_LIMIT = 8 << 20
MEMORY_KB = 16_000
"""How much a worker may grow while a large body goes through it."""


@pytest.fixture(scope="module", params=["pure", "native"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server with the example applications."""
    if request.param == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    directory = tmp_path_factory.mktemp(f"asgi-{request.param}")
    write_config(directory, certificates, SITE, engine=request.param, limits=f"request_body_bytes = {BODY_LIMIT}")
    with running(directory, {"EXAMPLE_APPS_DIRECTORY": str(directory)}) as process:
        yield process


@pytest.fixture(params=[Http1, Http2])
def client(request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates) -> Iterator[Client]:
    """A connection to it."""
    made = request.param(server.port, certificates.ca)
    yield made
    made.close()


@pytest.fixture
def ask(server: ServerProcess, certificates: TestCertificates) -> Callable[[str], Any]:
    """Asks for JSON on a connection of its own."""

    def get(path: str) -> Any:
        other = Http1(server.port, certificates.ca)
        try:
            answer = other.request("GET", path)
            assert answer.status == 200
            return json.loads(answer.body or b"null")
        finally:
            other.close()

    return get


def so_far(client: Http2, stream: int) -> Answer:
    """What has come of an answer."""
    return client._answers[stream]


def wait_until_seen(ask: Callable[[str], Any], what: str, times: int) -> None:
    """Ask until the application has noted `what` as often."""
    for _ in range(500):
        if ask("/seen").get(what, 0) >= times:
            return
    raise AssertionError(f"{what!r} was not seen {times} times")


def times_seen(ask: Callable[[str], Any], what: str) -> int:
    return int(ask("/seen").get(what, 0))


def peak_memory_kb(server: ServerProcess) -> int:
    (worker,) = server.workers()
    status = Path(f"/proc/{worker}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


class Curl:
    """The curl program, on one protocol."""

    def __init__(self, option: str, server: ServerProcess, certificates: TestCertificates) -> None:
        self._base = f"https://localhost:{server.port}"
        self._command = ["curl", "--silent", "--show-error", "--max-time", "60", option, "--cacert"]
        self._command.append(str(certificates.ca))

    def __call__(self, path: str, *options: str | Path) -> bytes:
        environment = {**os.environ, "NO_PROXY": "*"}
        return subprocess.run(
            [*self._command, *options, self._base + path], capture_output=True, check=True, env=environment
        ).stdout


@pytest.fixture(params=["--http1.1", "--http2"])
def curl(request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates) -> Curl:
    """A client that nobody here wrote."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return Curl(request.param, server, certificates)


# Requests and answers


def test_the_scope_is_the_connections(client: Client) -> None:
    answer = client.request("GET", "/scope/a%20b/%C3%BC?x=%20y")
    scope = json.loads(answer.body)
    assert scope["http_version"] == {"h2": "2", "http/1.1": "1.1"}[client.protocol]
    assert scope["path"] == "/scope/a b/ü"
    assert scope["raw_path"] == "/scope/a%20b/%C3%BC"
    assert scope["query"] == "x=%20y"
    assert scope["scheme"] == "https"
    assert scope["root_path"] == ""
    assert scope["host"] == [client.host]
    assert scope["client"] == list(client.sock.getsockname())
    assert scope["server"] == list(client.sock.getpeername())
    assert scope["tls"]["tls_version"] == 0x0304
    cipher = client.sock.cipher()
    numbers = {one["name"]: one["id"] & 0xFFFF for one in client.sock.context.get_ciphers()}
    assert cipher is not None
    assert scope["tls"]["cipher_suite"] == numbers[cipher[0]]


def test_an_application_below_a_path_knows_it(client: Client) -> None:
    scope = json.loads(client.request("GET", "/below/scope/x").body)
    assert (scope["root_path"], scope["path"]) == ("/below", "/below/scope/x")


def test_what_startup_made_is_there(client: Client) -> None:
    assert json.loads(client.request("GET", "/state").body) == {"opened": "at startup"}


def test_head_has_the_length_and_no_body(client: Client) -> None:
    answer = client.request("HEAD", "/file")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) == (HERE / "example_apps.py").stat().st_size
    assert client.request("GET", "/state").status == 200


def test_files_are_sent_by_path(client: Client) -> None:
    expected = (HERE / "example_apps.py").read_bytes()
    assert client.request("GET", "/file").body == expected
    answer = client.request("GET", "/file", {"range": "bytes=5-9"})
    assert (answer.status, answer.body) == (206, expected[5:10])


def test_fastapi_validates_json(client: Client, ask: Callable[[str], Any]) -> None:
    notified = times_seen(ask, "notified")
    body = json.dumps({"name": "Ä", "price": 1.5}).encode()
    answer = client.request("POST", "/api/items/7", {"content-type": "application/json"}, body)
    assert json.loads(answer.body) == {"id": 7, "total": 3.0, "name": "Ä", "price": 1.5, "tags": []}
    assert client.request("POST", "/api/items/x", {"content-type": "application/json"}, body).status == 422
    assert json.loads(client.request("GET", "/api/blocking").body) == {"ran": "in a thread"}
    assert client.request("GET", "/api/openapi.json").status == 200
    wait_until_seen(ask, "notified", notified + 1)


def test_early_hints_and_trailers(client: Client) -> None:
    answer = client.request("GET", "/trailers/", {"te": "trailers"})
    assert (answer.status, answer.body) == (200, b"data")
    assert answer.trailers == {"x-checksum": "42"}
    # 103 breaks some HTTP/1.1 clients: it is for HTTP/2 only.
    hints = [(103, {"link": "</style.css>; rel=preload; as=style"})] if client.protocol == "h2" else []
    assert answer.interim == hints
    assert client.request("GET", "/trailers/").trailers == {}


def test_an_echo_comes_back_while_it_goes_in(server: ServerProcess, certificates: TestCertificates) -> None:
    client = Http2(server.port, certificates.ca)
    stream = client.open("POST", "/echo", end=False)
    for number in range(1, 4):
        client.send_body(stream, b"ping ", end=False)
        while len(so_far(client, stream).body) < 5 * number:
            assert client.step()
    client.send_body(stream, b"", end=True)
    assert client.answer(stream).body == b"ping ping ping "
    client.close()


# Large bodies


def test_a_multipart_upload(curl: Curl, tmp_path: Path) -> None:
    content = os.urandom(6 << 20)
    (tmp_path / "big file.bin").write_bytes(content)
    answer = json.loads(curl("/upload", "--form", f"file=@{tmp_path / 'big file.bin'}"))
    assert answer == {"name": "big file.bin", "size": 6 << 20, "sha256": hashlib.sha256(content).hexdigest()}
    answer = json.loads(
        curl("/api/files", "--form", f"file=@{tmp_path / 'big file.bin'};filename=x", "--form", "note=a b")
    )
    assert answer == {"note": "a b", "name": "x", "size": 6 << 20}


def test_a_chunked_upload(curl: Curl, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"x" * (5 << 20))
    options = ("--header", "transfer-encoding: chunked", "--request", "POST", "--upload-file", tmp_path / "upload")
    assert curl("/count", *options) == str(5 << 20).encode()


def test_a_download_of_100_mb_in_constant_memory(curl: Curl, server: ServerProcess, tmp_path: Path) -> None:
    before = peak_memory_kb(server)
    curl("/download", "--output", tmp_path / "download")
    with (tmp_path / "download").open("rb") as file:
        chunks = iter(lambda: file.read(len(CHUNK)), b"")
        assert sum(chunk == CHUNK for chunk in chunks) == DOWNLOAD_CHUNKS
    assert peak_memory_kb(server) - before < MEMORY_KB


def test_an_upload_past_the_limit_is_refused_with_413(client: Client) -> None:
    """The application is reading it in a loop, and would answer something else."""
    answer: Answer
    if isinstance(client, Http1):
        client.send(b"POST /count HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n%s\r\n" % (1 << 20, b"x" * (1 << 20))
        try:
            for _ in range((BODY_LIMIT >> 20) + 1):
                client.send(chunk)
        except OSError:
            pass  # it need not take the rest
        answer = client.answer("POST")
    else:
        stream = client.open("POST", "/count", end=False)
        client.send_body(stream, b"x" * (BODY_LIMIT + 1), end=False)
        answer = client.answer(stream)
    assert answer.status == 413


def test_a_client_that_does_not_read_holds_the_application_back(
    server: ServerProcess, certificates: TestCertificates, ask: Callable[[str], Any]
) -> None:
    before = peak_memory_kb(server)
    client = Http1(server.port, certificates.ca)
    client.send(b"GET /download HTTP/1.1\r\nhost: x\r\n\r\n")
    assert client.sock.recv(1)
    for _ in range(50):  # requests of others go on meanwhile
        assert ask("/seen")["chunks"] < DOWNLOAD_CHUNKS / 2
    assert peak_memory_kb(server) - before < MEMORY_KB
    client.close()


def test_a_client_that_reads_as_fast_as_an_application_writes_does_not_keep_the_worker(
    server: ServerProcess, certificates: TestCertificates, ask: Callable[[str], Any]
) -> None:
    client = Http1(server.port, certificates.ca)
    client.send(b"GET /raw/stream HTTP/1.1\r\nhost: x\r\n\r\n")
    enough = threading.Event()

    def read() -> None:
        while not enough.is_set():
            assert client.sock.recv(1 << 20)

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            for _ in range(20):
                assert "chunks" in ask("/seen")
        finally:
            enough.set()
        reader.result(timeout=30)
    client.close()


# Clients that leave


def open_and_read(client: Client, path: str, text: bytes) -> None:
    """Ask for `path` and read until `text` has come."""
    if isinstance(client, Http1):
        client.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        data = b""
        while text not in data:
            data += client.sock.recv(65_536)
    else:
        stream = client.open("GET", path)
        while text not in so_far(client, stream).body:
            assert client.step()


def test_server_sent_events_end_when_the_client_leaves(
    client: Client, server: ServerProcess, ask: Callable[[str], Any]
) -> None:
    ended = times_seen(ask, "events ended")
    errors = len([one for one in server.events() if one["level"] == "error"])
    open_and_read(client, "/events", b"id: 3\ndata: tick\n\n")
    assert times_seen(ask, "events ended") == ended
    client.close()
    wait_until_seen(ask, "events ended", ended + 1)
    assert len([one for one in server.events() if one["level"] == "error"]) == errors


def test_an_application_that_waits_is_cancelled_when_the_client_leaves(
    client: Client, server: ServerProcess, ask: Callable[[str], Any]
) -> None:
    waiting, ended = times_seen(ask, "waiting"), times_seen(ask, "wait ended")
    if isinstance(client, Http1):
        client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
    else:
        client.open("GET", "/wait")
    wait_until_seen(ask, "waiting", waiting + 1)
    client.close()
    wait_until_seen(ask, "wait ended", ended + 1)


def test_a_stream_that_is_reset_is_cancelled_alone(
    server: ServerProcess, certificates: TestCertificates, ask: Callable[[str], Any]
) -> None:
    client = Http2(server.port, certificates.ca)
    waiting, ended = times_seen(ask, "waiting"), times_seen(ask, "wait ended")
    first, _second = client.open("GET", "/wait"), client.open("GET", "/wait")
    wait_until_seen(ask, "waiting", waiting + 2)
    client.h2.reset_stream(first)
    client.flush()
    wait_until_seen(ask, "wait ended", ended + 1)
    assert client.request("GET", "/state").status == 200
    assert times_seen(ask, "wait ended") == ended + 1
    client.close()


def test_work_in_the_background_goes_on_when_the_client_leaves(client: Client, ask: Callable[[str], Any]) -> None:
    done = times_seen(ask, "background done")
    client.sock.settimeout(15)  # nor does it hold the answer back
    assert client.request("GET", "/background").body == b"accepted"
    client.close()
    ask("/seen")  # the worker has had its turns to notice
    ask("/go-on")
    wait_until_seen(ask, "background done", done + 1)


# Applications that fail


def test_an_application_that_raises_gets_500_with_an_id_and_a_traceback_in_the_log(
    client: Client, server: ServerProcess
) -> None:
    answer = client.request("GET", "/bare")
    assert answer.status == 500
    assert b"a bug without a framework" not in answer.body
    identifier = re.search(rb"<code>(\w+)</code>", answer.body)
    assert identifier is not None
    name = identifier[1].decode()
    server.wait_for_count(1, id=name)
    (event,) = [one for one in server.events() if one.get("id") == name]
    assert "LookupError: a bug without a framework" in json.dumps(event)
    assert "example_apps.py" in json.dumps(event)
    assert client.request("GET", "/state").status == 200


def test_a_frameworks_own_500_is_kept_and_its_traceback_is_in_the_log(client: Client, server: ServerProcess) -> None:
    """Starlette answers, then raises on."""
    answer = client.request("GET", "/fail")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert client.request("GET", "/state").status == 200
    assert "LookupError: a bug in the application" in server.events_path.read_text()


def test_an_application_that_raises_in_its_body_ends_the_stream_with_an_error(
    client: Client, server: ServerProcess
) -> None:
    answer = client.request("GET", "/fail-in-stream")
    assert answer.reset is not None
    assert b"begun ".startswith(answer.body)
    assert "LookupError: a bug in the stream" in server.events_path.read_text()


def test_an_application_that_raises_after_its_answer_does_not_spoil_it(client: Client, server: ServerProcess) -> None:
    answer = client.request("GET", "/fail-in-background")
    assert (answer.status, answer.body, answer.reset) == (200, b"x" * 200_000, None)
    assert client.request("GET", "/state").status == 200
    assert "LookupError: a bug in the background" in server.events_path.read_text()


def test_a_field_with_a_line_end_in_it_is_a_500(client: Client, server: ServerProcess) -> None:
    attack = quote("x\r\nset-cookie: stolen=1\r\n\r\n<script>")
    answer = client.request("GET", f"/inject?value={attack}")
    assert answer.status == 500
    assert "set-cookie" not in answer.headers
    assert client.request("GET", "/inject?value=harmless").headers["x-value"] == "harmless"


def test_answers_with_the_same_head_keep_their_own_bodies(client: Client) -> None:
    """The head is serialised once, filters and all; the body never is part of it."""
    for body in ("one", "two", "one", "six"):
        answer = client.request("GET", f"/same-head?{body}")
        assert (answer.status, answer.body) == (200, body.encode())
        assert answer.headers["x-filtered"] == "first"
        assert answer.headers["strict-transport-security"].startswith("max-age=")
    answer = client.request("HEAD", "/same-head?two")
    assert (answer.headers["content-length"], answer.body) == ("3", b"")


# Start and stop


def test_shutdown_is_waited_for(tmp_path: Path, certificates: TestCertificates) -> None:
    write_config(tmp_path, certificates, SITE)
    with running(tmp_path, {"EXAMPLE_APPS_DIRECTORY": str(tmp_path)}) as process:
        assert process.stop() == 0
    assert (tmp_path / "shut-down").read_text() == "cleanly"


def test_an_application_that_fails_at_startup_stops_the_server_and_says_why(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    write_config(tmp_path, certificates, SITE.replace("example_apps:app", "example_apps:refuses_to_start"))
    done = subprocess.run(
        [sys.executable, "-m", "securelight", "run", "-c", tmp_path / "securelight.toml"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "the database is not there" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_body_comes_whole_in_pieces_that_are_bounded(client: Client) -> None:
    body = random.Random(3).randbytes(1_500_001)
    answer = client.request("POST", "/raw/pieces", body=body)
    digest, largest = answer.body.split()
    assert digest.decode() == hashlib.sha256(body).hexdigest()
    assert 0 < int(largest) <= 65_536
