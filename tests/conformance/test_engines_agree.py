"""Both engines before every suite but the attacks, case by case: no verdict differs.

What each passes is in test_our_server; here it counts that the engines agree, also where both fail or have no question.
With SECURELIGHT_EVERY_CASE an application is asked as well, which reads all content.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securelight.conformance.suites import load_suite, suite_names
from securelight.protocol.engine import native_available
from tests.server.processes import make_site, securelight
from tests.wire.server_process import running, write_config

if TYPE_CHECKING:
    from tests.certificates import TestCertificates

SUITES = tuple(name for name in suite_names() if name != "abuse")
SITE = """
root = "{site}"

[[site.route]]
path = "/read"

[site.route.asgi]
app = "reading_app:app"
app_directory = "{here}"
"""
PAGE = b"<p>High water at noon.</p>" * 5_000
TOO_LATE = frozenset({"h2/6.9.1/padding-counts"})
"""Files are answered with 405 before the fault comes: one engine still sees it, and the other has no question. Both are
right, and with an application that reads the content both see it."""


PATHS = ("/", "/read") if os.environ.get("SECURELIGHT_EVERY_CASE") else ("/",)


@pytest.mark.parametrize("path", PATHS)
def test_no_verdict_differs_between_the_engines(tmp_path: Path, certificates: TestCertificates, path: str) -> None:
    if not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    directories = {engine: tmp_path / engine for engine in ("pure", "native")}
    for engine, directory in directories.items():
        directory.mkdir()
        site = SITE.format(site=make_site(directory, PAGE), here=Path(__file__).parent)
        write_config(directory, certificates, site, engine=engine, hosts='"localhost", "*"')
    report = tmp_path / "report.json"
    with running(directories["pure"]) as pure, running(directories["native"]) as native:
        done = securelight(
            "conform", "compare", *(f"https://localhost:{server.port}{path}" for server in (pure, native)),
            *(argument for suite in SUITES for argument in ("--suite", suite)),
            "--ca", certificates.ca, "--json", report, "--fail-on", "never", "--patience", "15", seconds=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (
        {case["id"]: case for case in run["cases"]} for run in json.loads(report.read_text())["runs"]
    )  # fmt: skip
    assert list(first) == list(second) == [case.id for suite in SUITES for case in load_suite(suite).cases]
    differ = {
        one: [f"{run[one]['outcome']}: {run[one]['words']}" for run in (first, second)]
        for one in first
        if first[one]["outcome"] != second[one]["outcome"]
    }
    allowed = TOO_LATE if path == "/" else frozenset()
    assert {one: words for one, words in differ.items() if one not in allowed} == {}
    assert not any(words.startswith("failed") for both in differ.values() for words in both)
