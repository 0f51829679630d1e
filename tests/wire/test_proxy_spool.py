"""Uploads that are collected before the server behind sees them, and connections that say who the client is."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

from securelight.protocol.proxy_protocol import ProxyHeader, ProxyHeaderReader
from tests.server.processes import wait_until
from tests.wire.clients import Http1, Http2
from tests.wire.raw_upstream import Conversation, RawUpstream, Seen
from tests.wire.server_process import ServerProcess, running, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import TestCertificates


def count(_upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    body = conversation.read_body(seen)
    conversation.answer(str(len(body)).encode() + b" " + str(sum(body)).encode())
    return True


def fail_once(upstream: RawUpstream, conversation: Conversation, seen: Seen) -> bool:
    """Ends the first connection without an answer, after the body."""
    conversation.read_body(seen)
    if len([one for one in upstream.requests if one.path == "/once"]) == 1:
        return False
    conversation.answer(seen.body)
    return True


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    made = RawUpstream({"/": count, "/once": fail_once})
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates, upstream: RawUpstream
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("spooling")
    (directory / "spool").mkdir()
    site = f"""
[site.proxy]
upstreams = ["{upstream.url}"]
[site.proxy.spool]
when = "always"
directory = "spool"
body_bytes = 3000000
"""
    write_config(directory, certificates, site)
    with serving(directory) as process:
        yield process


@pytest.fixture(params=[Http1, Http2])
def client(
    request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates
) -> Iterator[Http1 | Http2]:
    made = request.param(server.port, certificates.ca)
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 1, 65_536, 2_000_000])
def test_a_body_arrives_whole_with_its_length(client: Http1 | Http2, upstream: RawUpstream, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"\x01" * (size % 256)
    assert client.request("POST", "/", body=body).body == f"{size} {sum(body)}".encode()
    assert upstream.requests[-1].get("content-length") == str(size)
    assert upstream.requests[-1].get("transfer-encoding") is None


def test_a_body_of_unknown_length_gets_one(
    server: ServerProcess, certificates: TestCertificates, upstream: RawUpstream
) -> None:
    client = Http1(server.port, certificates.ca)
    chunks = b"".join(b"5\r\nhello\r\n" for _ in range(20_000)) + b"0\r\n\r\n"
    assert client.request("POST", "/", {"transfer-encoding": "chunked"}, chunks).body.startswith(b"100000 ")
    assert upstream.requests[-1].get("content-length") == "100000"
    client.close()


def test_nobody_behind_waits_for_a_slow_client(
    server: ServerProcess, certificates: TestCertificates, upstream: RawUpstream
) -> None:
    client = Http1(server.port, certificates.ca)
    before = len(upstream.requests)
    client.send(
        f"POST /slow HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: 200000\r\n\r\n".encode() + bytes(150_000)
    )
    other = Http1(server.port, certificates.ca)
    assert other.request("POST", "/other", body=b"x").status == 200
    assert [one.path for one in upstream.requests[before:]] == ["/other"]
    client.send(bytes(50_000))
    assert client.answer("POST").body == b"200000 0"
    client.close()
    other.close()


def test_what_is_kept_can_be_sent_again(client: Http1 | Http2, upstream: RawUpstream) -> None:
    upstream.requests.clear()
    body = os.urandom(300_000)
    assert client.request("PUT", "/once", body=body).body == body
    assert [one.whole for one in upstream.requests] == [True, True]


def test_more_than_the_bound_is_413_and_the_server_behind_never_hears_of_it(
    server: ServerProcess, certificates: TestCertificates, upstream: RawUpstream
) -> None:
    before = len(upstream.requests)
    client = Http1(server.port, certificates.ca)
    client.send(f"POST / HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: 3000001\r\n\r\n".encode())
    assert client.answer("POST").status == 413
    client.close()
    assert len(upstream.requests) == before


def test_clients_that_vanish_leave_nothing_on_the_disk(server: ServerProcess, certificates: TestCertificates) -> None:
    (worker,) = server.workers()
    files = f"/proc/{worker}/fd"

    def spooled() -> list[str]:
        found = []
        for name in os.listdir(files):
            with contextlib.suppress(OSError):
                target = os.readlink(f"{files}/{name}")
                if str(server.directory / "spool") in target:
                    found.append(target)
        return found

    clients = [Http1(server.port, certificates.ca) for _ in range(8)]
    for one in clients:
        one.send(f"POST / HTTP/1.1\r\nHost: {one.host}\r\nContent-Length: 900000\r\n\r\n".encode() + bytes(400_000))
    wait_until(lambda: len(spooled()) == 8)
    for one in clients:
        one.close()
    wait_until(lambda: not spooled())
    assert os.listdir(server.directory / "spool") == []


# Who the client is, told by a PROXY header.


class Told(RawUpstream):
    """Reads a PROXY header at the beginning of each connection."""

    headers: list[ProxyHeader]

    def _serve(self, sock: socket.socket, number: int) -> None:
        reader, header = ProxyHeaderReader(4096), None
        while header is None and (data := sock.recv(1)):
            header = reader.feed(data)
        if header is not None:
            self.headers.append(header)
            super()._serve(sock, number)


@pytest.mark.parametrize("kind", ["v1", "v2"])
@pytest.mark.parametrize("client_kind", [Http1, Http2])
def test_each_request_has_a_connection_that_begins_with_its_client(
    tmp_path: Path, certificates: TestCertificates, kind: str, client_kind: type[Http1 | Http2]
) -> None:
    upstream = Told({"/": count})
    upstream.headers = []
    table = f"""
[site.proxy]
upstreams = ["{upstream.url}"]
send_proxy_protocol = "{kind}"
trusted_proxies = ["127.0.0.1"]
health.path = "/check"
"""
    write_config(tmp_path, certificates, table)
    try:
        with running(tmp_path) as server:
            wait_until(lambda: upstream.headers)
            assert upstream.headers[0] == ProxyHeader(None, None)  # a check is nobody's
            client = client_kind(server.port, certificates.ca)
            for forwarded in ("", "192.0.2.9"):
                fields = {"x-forwarded-for": forwarded} if forwarded else {}
                assert client.request("POST", "/asked", fields, b"x").status == 200
            own = client.sock.getsockname()
            told = [header for header in upstream.headers if header.source is not None]
            assert [header.source for header in told] == [own, ("192.0.2.9", 0)]
            assert {header.destination for header in told} == {("127.0.0.1", server.port)}
            assert len({one.connection for one in upstream.requests if one.path == "/asked"}) == 2
            if kind == "v2":
                tls = told[0].tls
                assert tls is not None
                assert (tls.version, told[0].authority) == ("TLSv1.3", "localhost")
                assert told[0].alpn.decode() == client.protocol
            client.close()
    finally:
        upstream.close()
