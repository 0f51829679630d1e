"""An application that needs asyncio, by `event_loop = "asyncio"`; without it, the log says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securelight.handlers import asgi, asyncio_bridge
from tests.wire.clients import Http1, Http2
from tests.wire.server_process import ServerProcess, running, serving, write_config
from tests.wire.websocket_client import close, open_websocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client

HERE = Path(__file__).parent
SITE = f"""
[site.asgi]
app = "asyncio_apps:app"
app_directory = "{HERE}"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates) -> Iterator[ServerProcess]:
    """It, on its loop."""
    directory = tmp_path_factory.mktemp("asyncio")
    write_config(directory, certificates, SITE + 'event_loop = "asyncio"\n')
    with serving(directory) as process:
        yield process
    names = [event["event"] for event in process.events()]
    assert "application has no lifespan, serving without" not in names
    assert "application did not shut down in time" not in names


@pytest.fixture(params=[Http1, Http2])
def client(request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates) -> Iterator[Client]:
    """A connection to it."""
    made = request.param(server.port, certificates.ca)
    yield made
    made.close()


def test_tasks_and_queues_of_asyncio(client: Client) -> None:
    answer = client.request("GET", "/squares")
    assert (answer.status, answer.body) == (200, b"[0, 1, 4, 9, 16]")


def test_an_upload(client: Client) -> None:
    assert client.request("POST", "/body", body=b"x" * 300_000).body == b"300000"


def test_a_websocket(client: Client) -> None:
    socket = open_websocket(client, "/squares")
    assert [socket.ask(str(number)) for number in (2, 3, 12)] == ["4", "9", "144"]
    socket.send(close(1000))
    assert [one.code for one in socket.rest()] == [1000]
    socket.end()


def test_a_client_that_leaves(server: ServerProcess, certificates: TestCertificates, client: Client) -> None:
    other = Http1(server.port, certificates.ca)
    open_websocket(other, "/squares")
    other.sock.close()
    assert client.request("GET", "/squares").status == 200


def test_without_it_the_log_says_what_to_do(tmp_path: Path, certificates: TestCertificates) -> None:
    write_config(tmp_path, certificates, SITE)
    with running(tmp_path) as server:
        client = Http1(server.port, certificates.ca)
        assert client.request("GET", "/needs").status == 500
        client.close()
        server.wait_for_event("internal error")
        text = server.events_path.read_text()
        assert 'event_loop = \\"asyncio\\"' in text
        assert "securelight[asyncio]" in text


def test_check_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio_bridge, "available", lambda: False)
    settings = asgi.AsgiConfig(app="asyncio_apps:app", app_directory=".", event_loop="asyncio")
    assert asgi.check(settings, HERE) == [asyncio_bridge.MISSING]
    assert not asgi.check(asgi.AsgiConfig(app="asyncio_apps:app"), HERE)
