"""SCGI: a small application on a socket, its good answers and its broken ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from securelight.handlers.scgi import FEATURE, ScgiConfig, request_head
from tests.handlers.accepting import Accepting
from tests.wire.clients import Http1, Http2
from tests.wire.server_process import ServerProcess, running, write_config

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates

ANSWERS = {
    b"/short": b"Status: 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    b"/long": b"Status: 200 OK\r\nContent-Length: 2\r\n\r\nhalf",
    b"/junk": b"junk\r\n\r\n",
    b"/nothing": b"",
    b"/split": b"Content-Type: a\rSet-Cookie: b\r\n\r\n",
    b"/local": b"Location: /a?from=local\r\n\r\n",
    b"/loop": b"Location: /loop\r\n\r\n",
}


class Application:
    """Answers with the length of the body, or as ANSWERS says for the path."""

    def __init__(self, path: Path) -> None:
        self.seen: list[list[bytes]] = []
        self.accepting = Accepting(path, self._serve)

    def _serve(self, sock: socket.socket) -> None:
        with sock.makefile("rb") as file:
            size = b""
            while (digit := file.read(1)).isdigit():
                size += digit
            parts = file.read(int(size)).split(b"\0")
            assert file.read(1) == b","
            variables = dict(zip(parts[::2], parts[1::2], strict=False))
            self.seen.append(parts)
            body = file.read(int(variables[b"CONTENT_LENGTH"]))
        plain = b"Content-Type: text/plain\n\n%d" % len(body)
        sock.sendall(ANSWERS.get(variables[b"PATH_INFO"], plain))


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The application."""
    path = tmp_path_factory.getbasetemp() / "scgi.sock"
    made = Application(path)
    yield made
    made.accepting.close()


@pytest.fixture(scope="module")
def server(
    application: Application, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server in front of it."""
    assert application is not None
    directory = tmp_path_factory.mktemp("scgi")
    path = tmp_path_factory.getbasetemp() / "scgi.sock"
    write_config(directory, certificates, f'scgi.upstream = "unix:{path}"')
    with running(directory) as process:
        yield process


def test_requests_with_and_without_a_body(
    server: ServerProcess, application: Application, certificates: TestCertificates
) -> None:
    for kind in (Http1, Http2):
        client = kind(server.port, certificates.ca)
        try:
            assert client.request("GET", "/a", {"proxy": "http://evil"}).body == b"0"
            fields = {"content-length": "200000"}
            assert client.request("POST", "/a", fields, b"x" * 200_000).body == b"200000"
        finally:
            client.close()
    for parts in application.seen:
        assert parts[0] == b"CONTENT_LENGTH"
        assert parts[2:4] == [b"SCGI", b"1"]
        assert b"HTTP_PROXY" not in parts


@pytest.mark.parametrize(
    ("path", "statuses"), [("/junk", (502,)), ("/nothing", (502,)), ("/split", (502,)), ("/short", ()), ("/long", ())]
)
def test_a_broken_answer_never_looks_whole(
    server: ServerProcess, certificates: TestCertificates, path: str, statuses: tuple[int, ...]
) -> None:
    client = Http2(server.port, certificates.ca)
    try:
        found = client.request("GET", path)
        assert found.status in statuses if statuses else found.reset is not None
    finally:
        client.close()


def test_local_redirects_are_followed_as_often_as_rewrites_may_be(
    server: ServerProcess, application: Application, certificates: TestCertificates
) -> None:
    client = Http2(server.port, certificates.ca)
    try:
        found = client.request("POST", "/local", {"content-length": "3"}, b"abc")
        assert (found.status, found.body) == (200, b"0")
        before = len(application.seen)
        assert client.request("GET", "/loop").status == 500
        assert len(application.seen) - before == 11
    finally:
        client.close()


def test_the_head_is_a_netstring() -> None:
    assert (
        request_head([(b"A", b"b"), (b"CONTENT_LENGTH", b"")]) == b"28:CONTENT_LENGTH\x000\x00SCGI\x001\x00A\x00b\x00,"
    )


def test_faults_of_the_settings(tmp_path: Path) -> None:
    def fault(**keys: object) -> str:
        (found,) = FEATURE.check(msgspec.convert(keys, ScgiConfig), tmp_path)
        return found

    assert "is not the address of an application" in fault(upstream="relative")
    assert "name either upstream" in fault()
    assert "name either upstream" in fault(upstream="127.0.0.1:1", upstreams=["127.0.0.1:2"])
    assert "hash_name must name" in fault(upstreams=["127.0.0.1:1", "127.0.0.1:2"], balance="hash_header")
