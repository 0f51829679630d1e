"""Our own server before the judge's HTTP/1.1 suite, on both engines: a real process, over TLS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.engine import native_available
from tests.server.processes import make_site, securelight
from tests.wire.server_process import running, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import TestCertificates


@pytest.mark.parametrize("engine", ["pure", "native"])
def test_http1_passes_whole(engine: str, tmp_path: Path, certificates: TestCertificates) -> None:
    if engine == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    site = f'root = "{make_site(tmp_path, b"<p>High water at noon.</p>" * 300)}"\n'
    write_config(tmp_path, certificates, site, engine=engine)
    report = tmp_path / "report.json"
    with running(tmp_path) as server:
        securelight(
            "conform", f"https://localhost:{server.port}/", "--suite", "h1", "--ca", certificates.ca, "--json", report,
            "--patience", "15", seconds=180,
        )  # fmt: skip
    found = json.loads(report.read_text())
    assert [case["id"] for case in found["cases"] if case["outcome"] == "failed"] == []
    skipped = [case["id"] for case in found["cases"] if case["outcome"] == "skipped"]
    assert len(skipped) <= 2, skipped
