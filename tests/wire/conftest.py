"""What the wire tests share: both engines, both protocols, and clients that are closed at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from securelight.protocol.engine import native_available
from tests.wire.clients import Client, Http1, Http2
from tests.wire.raw_http2 import RawHttp2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.server_process import ServerProcess


@pytest.fixture(scope="module", params=["pure", "native"])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine of the module's server."""
    if request.param == "native" and not native_available():
        pytest.skip("the native engine is not installed (extra: fast)")
    return str(request.param)


class Dial:
    """Connects clients to the module's server; they are closed at the end of the test."""

    def __init__(self, server: ServerProcess, certificates: TestCertificates) -> None:
        self.server = server
        self._certificates = certificates
        self.opened: list[Client | RawHttp2] = []

    def h1(self, name: str = "localhost") -> Http1:
        """A new connection that speaks HTTP/1.1."""
        client = Http1(self.server.port, self._certificates.ca, name)
        self.opened.append(client)
        return client

    def h2(self, name: str = "localhost") -> Http2:
        """A new connection that speaks HTTP/2."""
        client = Http2(self.server.port, self._certificates.ca, name)
        self.opened.append(client)
        return client

    def raw(self, values: dict[int, int] | None = None) -> RawHttp2:
        """A new connection that speaks HTTP/2 frame by frame; `values` are its SETTINGS."""
        client = RawHttp2(self.server.port, self._certificates.ca, values=values)
        self.opened.append(client)
        return client

    def close(self) -> None:
        """Close all of them."""
        for client in self.opened:
            client.close()


@pytest.fixture
def dial(server: ServerProcess, certificates: TestCertificates) -> Iterator[Dial]:
    """Makes connections to `server`, the fixture of the module."""
    made = Dial(server, certificates)
    yield made
    made.close()


@pytest.fixture(params=["h1", "h2"])
def client(request: pytest.FixtureRequest, dial: Dial) -> Client:
    """One connection to `server`, for each protocol."""
    return dial.h1() if request.param == "h1" else dial.h2()
