"""Files that applications name, over TLS on both protocols and both engines: behind the proxy, in WSGI, behind SCGI."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.handlers.accepting import Accepting
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.certificates import TestCertificates
    from tests.wire.clients import Client
    from tests.wire.conftest import Dial

CONTENT = bytes(range(256)) * 3000
APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/x-tide"), ("X-Accel-Redirect", environ["PATH_INFO"])])
    if environ["QUERY_STRING"] == "stream":
        return (b"dropped" for _ in range(3))
    return [b"dropped"]
"""


def name_a_file(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    conversation.read_body(seen)
    path = seen.path.partition("?")[0].removeprefix("/proxy")
    conversation.answer(b"dropped", "Content-Type: text/x-tide", f"X-Accel-Redirect: {path}")
    return True


def serve_scgi(sock: socket.socket) -> None:
    with sock.makefile("rb") as file:
        size = b""
        while (digit := file.read(1)).isdigit():
            size += digit
        parts = file.read(int(size)).split(b"\0")
        file.read(1 + int(parts[parts.index(b"CONTENT_LENGTH") + 1]))  # a comma, and the body: else closing is a reset
    path = parts[parts.index(b"PATH_INFO") + 1]
    sock.sendall(b"Content-Type: text/x-tide\r\nX-Accel-Redirect: " + path + b"\r\n\r\ndropped")


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server in front of applications that name the file of their path."""
    directory = tmp_path_factory.mktemp(f"sendfile-{engine}")
    (directory / "files").mkdir()
    (directory / "files/tide.bin").write_bytes(CONTENT)
    (directory / "secret").write_bytes(b"secret")
    (directory / "files/leads-out").symlink_to(directory / "secret")
    (directory / "naming_application.py").write_text(APPLICATION)
    with contextlib.ExitStack() as stack:
        upstream = RawUpstream({"/": name_a_file})
        stack.callback(upstream.close)
        scgi = Accepting(directory / "scgi.sock", serve_scgi)
        stack.callback(scgi.close)
        sendfile = f'sendfile = {{ locations = {{ "/files" = "{directory}/files" }} }}'
        site = f"""
[[site.route]]
path = "/proxy"
[site.route.proxy]
upstreams = ["{upstream.url}"]
{sendfile}
[[site.route]]
path = "/scgi"
[site.route.scgi]
upstream = "unix:{directory}/scgi.sock"
{sendfile}
[[site.route]]
path = "/wsgi"
[site.route.wsgi]
app = "naming_application:application"
app_directory = "{directory}"
{sendfile}
"""
        write_config(directory, certificates, site, engine=engine)
        yield stack.enter_context(serving(directory))


@pytest.mark.parametrize("kind", ["proxy", "scgi", "wsgi"])
def test_the_file_is_the_answer(client: Client, kind: str) -> None:
    path = f"/{kind}/files/tide.bin"
    for query in ("", "?stream"):
        found = client.request("GET", path + query)
        assert (found.status, found.body) == (200, CONTENT)
        assert found.headers["content-type"] == "text/x-tide"
        assert found.headers["content-length"] == str(len(CONTENT))
        assert "x-accel-redirect" not in found.headers
    part = client.request("GET", path, {"range": "bytes=1000-1999"})
    assert (part.status, part.body) == (206, CONTENT[1000:2000])
    assert client.request("GET", path, {"if-none-match": found.headers["etag"]}).status == 304
    head = client.request("HEAD", path)
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(CONTENT)), b"")
    posted = client.request("POST", path, {"content-length": "3"}, b"abc")
    assert (posted.status, posted.body) == (200, CONTENT)


@pytest.mark.parametrize("kind", ["proxy", "scgi", "wsgi"])
def test_no_other_file_is(client: Client, kind: str, dial: Dial) -> None:
    for path in ("files/none", "files/leads-out", "secret", "files/%252e%252e/secret"):
        found = client.request("GET", f"/{kind}/{path}")
        assert found.status == 404
        assert b"secret" not in found.body
    assert dial.h2().request("GET", f"/{kind}/files/tide.bin").body == CONTENT
