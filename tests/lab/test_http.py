"""HTTP over TLS: the answers are what their cases say, and Chromium does with them what it has to."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securelight.lab.catalogue import OFFERED
from securelight.lab.check.chromium import make_home
from securelight.lab.page import list_json
from tests.lab.running import BY_ID, RunningLab, dialogue

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""

ANSWERS = {
    "hsts": r"Strict-Transport-Security: max-age=31536000\r\n",
    "hsts-preload": r"Strict-Transport-Security: max-age=63072000; includeSubDomains; preload\r\n",
    "hsts-zero": r"Strict-Transport-Security: max-age=0\r\n",
    "hsts-invalid": r"Strict-Transport-Security: max-age=one year\r\n",
    "hsts-twice": r"Strict-Transport-Security: max-age=31536000\r\nStrict-Transport-Security: max-age=0\r\n",
    "hsts-address": r"Strict-Transport-Security: max-age=31536000\r\n",
    "csp-violation": r"(?s)script-src 'nonce-lab'.*<script>document",
    "redirect-to-http": r"HTTP/1.1 302 [^\n]*\nLocation: http://redirect-to-http.localhost:\d+/\r\n",
    "redirect-loop": r"HTTP/1.1 302 [^\n]*\nLocation: https://redirect-loop.localhost:\d+/\r\n",
    "insecure-cookie": r"Set-Cookie: session=1; Path=/\r\n",
    "host-prefix-cookie": r"Set-Cookie: __Host-session=1; Path=/\r\n",
    "secure-prefix-cookie": r"Set-Cookie: __Secure-session=1; Path=/\r\n",
    "good-cookie": r"Set-Cookie: __Host-good=1; Path=/; Secure; HttpOnly; SameSite=Lax\r\n",
}
NO_SCRIPT = {"redirect-to-http", "redirect-loop"}


@pytest.mark.parametrize(("name", "pattern"), ANSWERS.items())
def test_what_is_answered(running: RunningLab, name: str, pattern: str) -> None:
    with dialogue(running, BY_ID[f"http/{name}"]) as talk:
        assert re.search(pattern, talk.get().decode())


def test_no_case_is_left_out() -> None:
    assert {case.name for case in OFFERED if case.family == "http"} == set(ANSWERS)


@pytest.fixture(scope="module")
def browser(running: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: dev)")
    if not CHROMIUM or not shutil.which("certutil"):
        pytest.skip("Chromium or certutil is not installed (Debian: chromium, libnss3-tools)")
    home = tmp_path_factory.mktemp("home")
    make_home(home, Path(running.directory / "ca.pem"))
    with sync_api.sync_playwright() as driver:
        options = ("--disable-quic", "--disable-component-update", "--no-proxy-server")
        started = driver.chromium.launch(
            executable_path=CHROMIUM, env={**os.environ, "HOME": str(home)}, args=options, chromium_sandbox=False
        )
        context = started.new_context()
        context.set_default_timeout(30_000)
        yield context
        started.close()


@pytest.mark.peer
@pytest.mark.parametrize("name", sorted(set(ANSWERS) - NO_SCRIPT))
def test_chromium_does_it_right(running: RunningLab, browser: BrowserContext, name: str) -> None:
    page = browser.new_page()
    page.goto(running.lab.places.url(BY_ID[f"http/{name}"]))
    page.wait_for_selector("html[data-result]", state="attached")
    assert page.locator("html").get_attribute("data-result") == "right"
    page.close()


@pytest.mark.peer
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_index_lists_all_cases_over_good_tls(running: RunningLab, browser: BrowserContext, scheme: str) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(running.lab.url)
    links = page.eval_on_selector_all("td a", "all => all.map(one => one.href)")
    assert links == [running.lab.places.url(case) for case in OFFERED]
    assert complaints == []
    page.close()


def test_the_list_for_programs_has_urls(running: RunningLab) -> None:
    text = list_json(OFFERED, running.lab.places)
    assert f'"url": "https://expired.localhost:{running.lab.places.tls_port}/"' in text
