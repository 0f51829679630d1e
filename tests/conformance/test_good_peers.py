"""nginx before the judge: what it fails is known and argued, line by line, and it fails nothing else."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.reading_app import PAGE
from tests.server.processes import make_site, securelight, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates

EXPECTED = Path(__file__).parent / "expected" / "nginx.txt"
VERSION = "1.22"
"""What the table was made with."""

CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {here}/nginx.pid;
error_log {here}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {here}/1; proxy_temp_path {here}/2; fastcgi_temp_path {here}/3;
  uwsgi_temp_path {here}/4; scgi_temp_path {here}/5;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    root {site};
    ssl_certificate {certificates.chain};
    ssl_certificate_key {certificates.key};
  }}
}}
"""

pytestmark = pytest.mark.peer


def _nginx() -> str:
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    shown = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\d+\.\d+)", shown)
    if found is None or found[1] != VERSION:
        pytest.skip(f"the table was made with nginx {VERSION}, this is {shown.strip()}")
    return program


@pytest.fixture
def nginx_port(tmp_path: Path, certificates: TestCertificates) -> Iterator[int]:
    program = _nginx()
    site = make_site(tmp_path, PAGE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    config = tmp_path / "nginx.conf"
    user = "user root;" if Path("/proc/self").stat().st_uid == 0 else ""
    config.write_text(CONFIG.format(user=user, here=tmp_path, site=site, port=port, certificates=certificates))
    log = (tmp_path / "out.log").open("wb")
    process = subprocess.Popen([program, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "out.log").read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, 30.0)
        yield port
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def test_nginx_fails_what_is_known_and_nothing_else(
    nginx_port: int, tmp_path: Path, certificates: TestCertificates
) -> None:
    report = tmp_path / "report.json"
    done = securelight(
        "conform", f"https://localhost:{nginx_port}/", "--suite", "h2", "--suite", "hpack", "--fail-on", "should",
        "--ca", certificates.ca, "--baseline", EXPECTED, "--json", report, "--patience", "10", seconds=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "The baseline can be shortened" not in done.stdout
    failed = [case for case in json.loads(report.read_text())["cases"] if case["outcome"] == "failed"]
    assert len(failed) > 40
    assert all(case["known"] for case in failed)
