"""Our own server before the judge, on both engines: a real process, over TLS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.engine import native_available
from tests.conformance.reading_app import PAGE
from tests.server.processes import make_site, securelight
from tests.wire.server_process import running, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.server_process import ServerProcess

SITE = """
root = "{site}"

[[site.route]]
path = "/read"

[site.route.asgi]
app = "reading_app:app"
app_directory = "{here}"
"""


@pytest.fixture(scope="module", params=["pure", "native"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    if request.param == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    directory = tmp_path_factory.mktemp(f"judged-{request.param}")
    site = SITE.format(site=make_site(directory, PAGE), here=Path(__file__).parent)
    write_config(directory, certificates, site, engine=str(request.param), hosts='"localhost", "*"')
    with running(directory) as started:
        yield started


@pytest.mark.parametrize(("path", "most_skipped"), [("/", 3), ("/read", 0)], ids=["files", "application"])
def test_http2_and_hpack_pass_whole(
    server: ServerProcess, certificates: TestCertificates, tmp_path: Path, path: str, most_skipped: int
) -> None:
    report = tmp_path / "report.json"
    page = tmp_path / "report.html"
    done = securelight(
        "conform", f"https://localhost:{server.port}{path}", "--suite", "h2", "--suite", "hpack", "--fail-on", "should",
        "--ca", certificates.ca, "--json", report, "--html", page, "--patience", "15", seconds=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    found = json.loads(report.read_text())
    assert [case["id"] for case in found["cases"] if case["outcome"] == "failed"] == []
    assert [suite["score"] for suite in found["suites"]] == [100, 100]
    assert found["notes"] == []  # neither an untrusted certificate nor a server that went away
    skipped = [case["id"] for case in found["cases"] if case["outcome"] == "skipped"]
    assert len(skipped) <= most_skipped, skipped
    assert "Nothing failed." in page.read_text()
    assert not [event for event in server.events() if event.get("level") in ("error", "critical")]


def test_tls_passes_whole(server: ServerProcess, certificates: TestCertificates, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = securelight(
        "conform", f"https://localhost:{server.port}/", "--suite", "tls", "--suite", "headers", "--ca", certificates.ca,
        "--json", report, "--patience", "15", seconds=180,
    )  # fmt: skip
    found = json.loads(report.read_text())
    failed = [case["id"] for case in found["cases"] if case["outcome"] == "failed" and case["id"].startswith("tls/")]
    assert failed == [], done.stdout
    must = [case["id"] for case in found["cases"] if case["outcome"] == "failed" and case["level"] == "MUST"]
    assert must == [], done.stdout
    skipped = [case["id"] for case in found["cases"] if case["outcome"] == "skipped" and case["id"].startswith("tls/")]
    assert skipped == ["tls/9112-9.8/cut-request"]  # files are answered with 405 before any content has come
    assert any(note.startswith("Headers: grade") for note in found["notes"])
    assert not [event for event in server.events() if event.get("level") in ("error", "critical")]


def test_one_case_with_its_bytes_and_an_untrusted_certificate(server: ServerProcess) -> None:
    done = securelight(
        "conform", f"https://localhost:{server.port}/", "--only", "h2/6.9.1/window-overflow", "--fail-on", "should"
    )
    assert done.returncode == 0
    assert "1 cases in" in done.stdout
    assert "The certificate is not trusted here" in done.stdout


def test_two_servers_in_one_table(server: ServerProcess) -> None:
    url = f"https://127.0.0.1:{server.port}/"
    done = securelight("conform", "compare", url, url, "--only", "h2/6.7")
    assert done.returncode == 0
    assert done.stdout.startswith("| suite |")
    assert done.stdout.count("100 %") == 2
