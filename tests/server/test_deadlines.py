from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from tests.certificates import TestCertificates
from tests.wire.clients import Http1
from tests.wire.server_process import running, write_config

LATE_SECONDS = 8.0
"""Less than the ten seconds between two looks at a connection that has no short limit, and far more than a tick."""


def test_a_short_limit_for_the_head_is_kept_when_it_is_the_only_short_one(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    write_config(tmp_path, certificates, 'respond = { body = "x" }', limits="request_head_seconds = 1")
    with running(tmp_path) as server, closing(Http1(server.port, certificates.ca)) as client:
        assert client.request("GET", "/").status == 200
        started = time.monotonic()
        client.sock.settimeout(LATE_SECONDS * 2)
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nA: ")
        assert client.answer().status == 408
        assert time.monotonic() - started < LATE_SECONDS


def test_a_short_limit_for_idleness_is_kept_when_it_is_the_only_short_one(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    write_config(tmp_path, certificates, 'respond = { body = "x" }', limits="idle_seconds = 1")
    with running(tmp_path) as server, closing(Http1(server.port, certificates.ca)) as client:
        assert client.request("GET", "/").status == 200
        started = time.monotonic()
        client.sock.settimeout(LATE_SECONDS * 2)
        assert client.ended()
        assert time.monotonic() - started < LATE_SECONDS
