from __future__ import annotations

import os
import socket

import pytest

from securelight.config.schema import ListenConfig
from securelight.model.errors import ConfigError
from securelight.server.sockets import BoundSockets, bind, parse_address, who_listens
from tests.helpers import open_descriptors


def close_all(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("localhost:8443", ("localhost", 8443)), ("[::1]:443", ("::1", 443)), ("*:0", ("", 0))],
)
def test_addresses(text: str, parsed: tuple[str, int]) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize("text", ["8443", "localhost", "localhost:", "localhost:65536", "localhost:-1", "a:b", ""])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not host:port, \[v6\]:port or \*:port"):
        parse_address(text)


def test_a_name_is_bound_on_all_its_addresses_with_one_port() -> None:
    sockets = bind("localhost:0", 10)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        for sock in sockets:
            socket.create_connection(sock.getsockname()[:2], 5).close()
    finally:
        close_all(sockets)


def test_a_name_that_nobody_knows_and_an_address_of_another_machine() -> None:
    with pytest.raises(ConfigError, match="cannot be resolved"):
        bind("nobody.invalid:0", 10)
    with pytest.raises(ConfigError, match=r"listen 192\.0\.2\.1:0: cannot be used"):
        BoundSockets({}).bind_all([ListenConfig("192.0.2.1:0")])


def test_who_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert who_listens(sock.getsockname()[1]).endswith(f" (process {os.getpid()})")
        port = sock.getsockname()[1]
    assert who_listens(port) == ""


def test_all_addresses_are_bound_or_none() -> None:
    before = open_descriptors()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bound = BoundSockets({})
        listens = [ListenConfig("127.0.0.1:0"), ListenConfig(f"127.0.0.1:{taken.getsockname()[1]}")]
        with pytest.raises(ConfigError):
            bound.bind_all(listens)
        assert open_descriptors() == before + 1
        ((_listen, sock),) = bound.bind_all(listens[:1])
        assert bound.bind_all(listens[:1])[0][1] is sock  # the same again, not another one
        bound.keep({"127.0.0.1:0"})
        assert sock.fileno() >= 0
        bound.close()
        assert sock.fileno() < 0
    assert open_descriptors() == before
