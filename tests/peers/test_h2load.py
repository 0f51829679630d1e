"""h2load: many requests at a time, on many streams or connections, without one that fails."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.wire.server_process import ServerProcess

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not shutil.which("h2load"), reason="h2load is not installed (Debian: nghttp2-client)"),
]

TIMEOUT_SECONDS = 90


@pytest.fixture
def h2load(base: str, quiet_environment: dict[str, str]) -> Callable[..., str]:
    """Runs h2load on a path; every request must be answered with 2xx. Returns its report."""

    def run(requests: int, *options: str, path: str) -> str:
        done = subprocess.run(
            ["h2load", f"--requests={requests}", *options, base + path],
            capture_output=True,
            check=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env=quiet_environment,
        )
        expected = f"{requests} total, {requests} started, {requests} done, {requests} succeeded"
        assert f"requests: {expected}, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
        assert f"status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx" in done.stdout
        return done.stdout

    return run


def data_bytes(report: str) -> int:
    """What h2load counted of bodies, from e.g. `(42) headers (space savings ...), 1.20MB (1258291) data`."""
    found = re.search(r"\((\d+)\) data$", report, re.MULTILINE)
    assert found is not None, report
    return int(found[1])


def test_twenty_connections_with_twenty_streams(h2load: Callable[..., str]) -> None:
    report = h2load(10_000, "--clients=20", "--max-concurrent-streams=20", path="/small.txt")
    assert "Application protocol: h2" in report
    assert data_bytes(report) == 10_000 * 600


def test_two_hundred_connections_with_one_stream(h2load: Callable[..., str]) -> None:
    assert data_bytes(h2load(2_000, "--clients=200", "--max-concurrent-streams=1", path="/small.txt")) == 2_000 * 600


def test_http_1_keep_alive(h2load: Callable[..., str]) -> None:
    report = h2load(4_000, "--h1", "--clients=20", path="/small.txt")
    assert "Application protocol: http/1.1" in report
    assert data_bytes(report) == 4_000 * 600


def test_http_1_pipelining(h2load: Callable[..., str]) -> None:
    """Answers come in the order of requests, whatever their size: h2load would count other bytes."""
    report = h2load(2_000, "--h1", "--clients=5", "--max-concurrent-streams=10", path="/many/40.txt")
    assert data_bytes(report) == 2_000 * len("file 40\n") * 4_001


def test_an_application(h2load: Callable[..., str]) -> None:
    for options in (("--clients=10", "--max-concurrent-streams=10"), ("--clients=10", "--h1")):
        assert data_bytes(h2load(1_000, *options, path="/app/hello")) == 1_000 * len("Hello, world!\n")


def test_uploads(h2load: Callable[..., str], site: object) -> None:
    for options in (("--clients=4", "--max-concurrent-streams=4"), ("--clients=4", "--h1")):
        h2load(32, *options, f"--data={site}/medium.bin", path="/app/digest")


def test_large_files(h2load: Callable[..., str]) -> None:
    report = h2load(100, "--clients=5", "--max-concurrent-streams=4", "--window-bits=16", path="/medium.bin")
    assert data_bytes(report) == 100 << 20


@pytest.mark.parametrize("suite", ["AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"])
def test_every_suite_of_tls_1_3(h2load: Callable[..., str], suite: str) -> None:
    report = h2load(200, "--clients=4", "--max-concurrent-streams=4", f"--tls13-ciphers=TLS_{suite}", path="/small.txt")
    assert f"Cipher: TLS_{suite}" in report


def test_no_request_is_missing_in_the_access_log(h2load: Callable[..., str], server: ServerProcess) -> None:
    h2load(500, "--clients=10", "--max-concurrent-streams=10", path="/small.txt?counted")
    h2load(1, path="/small.txt?afterwards")
    server.wait_for_access("/small.txt?afterwards")  # the log is written in batches, in order
    assert sum("/small.txt?counted" in line for line in server.access_lines()) == 500
