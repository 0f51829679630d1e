"""Chromium's WebSocket: over the HTTP/2 connection that it has (RFC 8441), and over HTTP/1.1, compressed, to an
application and through the proxy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peers.test_chromium import (
    CHROMIUM,
    browser,  # noqa: F401 - a fixture
    page,  # noqa: F401 - a fixture
    playwright,  # noqa: F401 - a fixture
)
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.certificates import TestCertificates

APPS = Path(__file__).parent.parent / "wire"
SITE = f"""
[[site.route]]
path = "/page"
[site.route.respond]
status = 200
body = "<!doctype html><link rel=icon href=data:,><title>page</title>"
content_type = "text/html"

[[site.route]]
path = "/bare"
[site.route.asgi]
app = "websocket_apps:bare"
app_directory = "{APPS}"
"""
ECHO = """
async (url) => {
    const socket = new WebSocket(url);
    const messages = [];
    return await new Promise((resolve, reject) => {
        socket.onmessage = (message) => {
            messages.push(message.data);
            if (messages.length == 2) socket.close(3210, "done");
        };
        socket.onopen = () => { socket.send("x".repeat(50000)); socket.send("grüße"); };
        socket.onclose = (end) => resolve({
            lengths: messages.map((one) => one.length), last: messages[1], code: end.code, reason: end.reason,
            clean: end.wasClean, extensions: socket.extensions, protocol: socket.protocol,
        });
    });
}
"""
SCOPE = """
async (url) => {
    const socket = new WebSocket(url);
    return await new Promise((resolve) => { socket.onmessage = (message) => resolve(message.data); });
}
"""

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed (Debian: chromium)"),
    pytest.mark.skipif(not shutil.which("certutil"), reason="certutil is not installed (Debian: libnss3-tools)"),
]


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates) -> Iterator[ServerProcess]:
    """A page, and WebSockets."""
    directory = tmp_path_factory.mktemp("chromium-websocket")
    write_config(directory, certificates, SITE)
    with serving(directory) as running:
        yield running


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates, application: ServerProcess
) -> Iterator[ServerProcess]:
    """Another server in front of it."""
    directory = tmp_path_factory.mktemp("chromium-proxied")
    site = f"""
[site.proxy]
upstreams = ["https://localhost:{application.port}"]
tls = {{ ca = "{certificates.ca}", name = "localhost" }}

[site.proxy.upgrade]
protocols = ["websocket"]
"""
    write_config(directory, certificates, site)
    with serving(directory) as running:
        yield running


@pytest.mark.parametrize("which", ["application", "proxied"])
def test_a_page_opens_a_websocket(
    which: str,
    request: pytest.FixtureRequest,
    page: Page,  # noqa: F811 - the fixture
) -> None:
    server: ServerProcess = request.getfixturevalue(which)
    page.goto(f"https://localhost:{server.port}/page")
    found = page.evaluate(ECHO, f"wss://localhost:{server.port}/bare/echo")
    assert found["lengths"] == [50_000, 5]
    assert found["last"] == "grüße"
    assert (found["code"], found["reason"], found["clean"]) == (3210, "done", True)
    assert "permessage-deflate" in found["extensions"]
    if which == "application":
        scope = json.loads(page.evaluate(SCOPE, f"wss://localhost:{server.port}/bare/scope"))
        assert scope["http_version"] == "2", "it is a stream of the connection that the page came over"
    assert "CONNECT /bare/echo HTTP/2" in server.wait_for_access("/bare/echo")
