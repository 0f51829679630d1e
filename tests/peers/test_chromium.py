"""Chromium loads the example site: it trusts our authority, speaks HTTP/2, and finds nothing to complain about.

The browser is Debian's, headless, driven by Playwright; it gets a home of its own, in whose certificate store the
authority is, as a person would import it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.engine import native_available
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Playwright

    from tests.certificates import TestCertificates

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PAGE_SECONDS = 30
SITE = """
root = "{root}"

[site.set_headers.set]
content-security-policy = "default-src 'self'; frame-ancestors 'none'"
"""

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: dev)")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed (Debian: chromium)"),
    pytest.mark.skipif(not shutil.which("certutil"), reason="certutil is not installed (Debian: libnss3-tools)"),
]


@pytest.fixture(scope="module", params=["native", "pure"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """The example site, its long page freshly made, under a strict Content-Security-Policy."""
    if request.param == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    directory = tmp_path_factory.mktemp(f"chromium-{request.param}")
    site = directory / "site"
    shutil.copytree(EXAMPLES / "site", site)
    subprocess.run([sys.executable, EXAMPLES / "build_long_page.py", site / "long.html"], check=True)
    write_config(directory, certificates, SITE.format(root=site), engine=request.param)
    with serving(directory) as running:
        yield running


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """The driver."""
    with sync_api.sync_playwright() as driver:
        yield driver


def launch(playwright: Playwright, home: Path) -> Browser:
    """A browser that lives in `home`, and asks nobody but our server for anything."""
    options = ("--disable-quic", "--disable-component-update", "--no-proxy-server")
    return playwright.chromium.launch(
        executable_path=CHROMIUM, env={**os.environ, "HOME": str(home)}, args=options, chromium_sandbox=False
    )


@pytest.fixture(scope="module")
def browser(
    playwright: Playwright, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[Browser]:
    """A browser that knows our authority."""
    home = tmp_path_factory.mktemp("home")
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    subprocess.run(["certutil", "-d", f"sql:{store}", "-N", "--empty-password"], check=True)
    command = ["certutil", "-d", f"sql:{store}", "-A", "-t", "C,,", "-n", "securelight", "-i", str(certificates.ca)]
    subprocess.run(command, check=True)
    launched = launch(playwright, home)
    yield launched
    launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new tab; what the browser complains of fails the test."""
    context = browser.new_context(viewport={"width": 390, "height": 800})
    context.set_default_timeout(PAGE_SECONDS * 1000)
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
    yield tab
    context.close()
    assert complaints == []


def test_the_site_loads_over_http2_with_every_file(server: ServerProcess, page: Page) -> None:
    statuses: dict[str, int] = {}
    page.on("response", lambda answer: statuses.update({answer.url.rpartition("/")[2]: answer.status}))

    page.goto(f"https://localhost:{server.port}/", wait_until="networkidle")

    assert statuses == dict.fromkeys(("", "style.css", "lights.js", "night.png", "fresnel.svg", "favicon.svg"), 200)
    protocols = page.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".map(entry => entry.nextHopProtocol)"
    )
    assert set(protocols) == {"h2"}
    page.get_by_text("HTTP/2 over TLS").wait_for()
    assert page.locator(".night img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [560, 260]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than a telephone"


def test_the_padlock_is_real(server: ServerProcess, page: Page) -> None:
    """The certificate is verified against the store, not waved through: what Chromium shows behind the padlock."""
    answer = page.goto(f"https://localhost:{server.port}/")
    assert answer is not None
    details = answer.security_details()
    assert details is not None
    assert details["protocol"] == "TLS 1.3"
    assert (details["issuer"] or "").startswith("securelight local CA")
    assert details["subjectName"] == "localhost"
    assert (details["validFrom"] or 0) < time.time() < (details["validTo"] or 0)
    assert page.evaluate("isSecureContext")


def test_a_reload_sends_no_file_twice(server: ServerProcess, page: Page) -> None:
    page.goto(f"https://localhost:{server.port}/", wait_until="networkidle")
    page.reload(wait_until="networkidle")
    sizes = page.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".map(entry => [entry.name, entry.transferSize, entry.encodedBodySize])"
    )
    assert len(sizes) >= 4
    # 304 is some 300 bytes of head, the cache nothing; what is sent again is its head and its body.
    assert [name for name, transferred, body in sizes if transferred > body] == []


def test_the_lamp_keeps_the_time_of_the_light_that_is_chosen(server: ServerProcess, page: Page) -> None:
    page.goto(f"https://localhost:{server.port}/")

    page.get_by_role("button", name=re.compile("Alternating")).click()

    page.locator("[data-now]", has_text="Al WR 10s").wait_for()
    page.locator("[data-lamp].red").wait_for()


def test_a_page_of_a_megabyte_arrives_whole_and_is_not_sent_twice(server: ServerProcess, page: Page) -> None:
    url = f"https://localhost:{server.port}/long.html"
    size = (server.directory / "site" / "long.html").stat().st_size

    page.goto(url)
    assert page.evaluate("performance.getEntriesByType('navigation')[0].encodedBodySize") == size
    assert page.locator("section.latitude").count() == 66
    page.reload()

    assert page.locator("section.latitude").count() == 66
    assert '"GET /long.html HTTP/2" 304 0' in server.wait_for_access('"GET /long.html HTTP/2" 304')


def test_what_is_not_there_is_an_error_page(server: ServerProcess, browser: Browser) -> None:
    with browser.new_page() as tab:
        answer = tab.goto(f"https://localhost:{server.port}/nothing-is-here")

        assert answer is not None
        assert answer.status == 404
        assert "404" in tab.inner_text("body")


def test_a_browser_that_does_not_know_the_authority_refuses(
    server: ServerProcess, playwright: Playwright, tmp_path: Path
) -> None:
    with launch(playwright, tmp_path) as stranger, pytest.raises(sync_api.Error, match="ERR_CERT_AUTHORITY_INVALID"):
        stranger.new_page().goto(f"https://localhost:{server.port}/")
