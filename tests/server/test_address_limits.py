from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from securelight.model.forwarded import TrustedProxies, parse_networks
from securelight.model.limits import Limits
from securelight.model.request import UNIX
from securelight.server.address_limits import (
    TOO_MANY_CONNECTIONS,
    TOO_MANY_HANDSHAKES,
    AddressLimits,
    counted_as,
)
from tests.certificates import TestCertificates
from tests.server.processes import wait_until
from tests.wire.clients import Http1
from tests.wire.server_process import ServerProcess, running, write_config

PATIENCE_SECONDS = 15


def address_limits(connections: int = 3, handshakes: int = 3, trusted: tuple[str, ...] = ()) -> AddressLimits:
    limits = Limits(connections_per_address=connections, handshakes_per_address=handshakes)
    return AddressLimits(limits, TrustedProxies(parse_networks(trusted)))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_which_addresses_are_one_client(one: str, other: str, same: bool) -> None:
    assert (counted_as(one) == counted_as(other)) is same


def test_a_client_at_its_limit_is_refused_and_others_are_not() -> None:
    limits = address_limits(connections=2)
    assert [limits.admit("2001:db8::1"), limits.admit("2001:db8::2")] == ["", ""]
    assert limits.admit("2001:db8::3") == TOO_MANY_CONNECTIONS
    assert limits.admit("2001:db8:0:1::1") == ""
    limits.release("2001:db8::1", opening=True)
    assert limits.admit("2001:db8::3") == ""


def test_handshakes_under_way_have_a_limit_of_their_own() -> None:
    limits = address_limits(connections=9, handshakes=2)
    assert [limits.admit("192.0.2.1") for _ in range(3)] == ["", "", TOO_MANY_HANDSHAKES]
    limits.opened("192.0.2.1")
    assert limits.admit("192.0.2.1") == ""
    limits.release("192.0.2.1", opening=False)  # the one that was open
    assert limits.admit("192.0.2.1") == TOO_MANY_HANDSHAKES
    limits.release("192.0.2.1", opening=True)
    assert limits.admit("192.0.2.1") == ""


def test_a_trusted_proxy_and_a_unix_socket_have_no_limit() -> None:
    limits = address_limits(1, 1, ("192.0.2.0/24",))
    assert {limits.admit("192.0.2.1") for _ in range(5)} == {""}
    assert {limits.admit(UNIX) for _ in range(5)} == {""}
    assert [limits.admit("198.51.100.1") for _ in range(2)] == ["", TOO_MANY_CONNECTIONS]


def test_clients_that_have_gone_leave_nothing_behind() -> None:
    limits = address_limits()
    addresses = [f"198.51.100.{number}" for number in range(200)] + [UNIX, "2001:db8::1"]
    for address in addresses:
        assert limits.admit(address) == ""
        limits.opened(address)
    for address in addresses:
        limits.release(address, opening=False)
    assert len(limits) == 0


# A server.


def silent(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)


def is_refused(sock: socket.socket) -> bool:
    """Whether the server hangs up without having been asked anything."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_flood_of_one_address_is_closed_logged_seldom_and_forgotten(
    tmp_path: Path, certificates: TestCertificates
) -> None:
    write_config(
        tmp_path, certificates, 'respond = { body = "x" }', limits="connections_per_address = 4\nhandshake_seconds = 60"
    )
    with running(tmp_path) as server, ExitStack() as stack:
        clients = [stack.enter_context(closing(Http1(server.port, certificates.ca))) for _ in range(3)]
        held = stack.enter_context(silent(server))
        for _ in range(30):
            with silent(server) as sock:
                assert is_refused(sock)
        assert [client.request("GET", "/").status for client in clients] == [200] * 3
        told = server.wait_for_event(TOO_MANY_CONNECTIONS)
        assert told["peer"] == "127.0.0.1"
        told_events = [event for event in server.events() if event["event"] == TOO_MANY_CONNECTIONS]
        assert len(told_events) < 10, "the log is not flooded too"
        held.close()

        def let_in_again() -> bool:
            try:
                client = Http1(server.port, certificates.ca)
            except OSError:
                return False
            with closing(client):
                return client.request("GET", "/").status == 200

        assert wait_until(let_in_again, PATIENCE_SECONDS)


def test_half_open_handshakes_of_one_address_do_not_pile_up(tmp_path: Path, certificates: TestCertificates) -> None:
    write_config(
        tmp_path, certificates, 'respond = { body = "x" }', limits="handshakes_per_address = 3\nhandshake_seconds = 60"
    )
    with running(tmp_path) as server, ExitStack() as stack:
        open_ones = [stack.enter_context(closing(Http1(server.port, certificates.ca))) for _ in range(5)]
        assert [client.request("GET", "/").status for client in open_ones] == [200] * 5, "these are not under way"
        for _ in range(3):
            stack.enter_context(silent(server))
        with silent(server) as sock:
            assert is_refused(sock)
        server.wait_for_event(TOO_MANY_HANDSHAKES)


def test_a_trusted_proxy_may_open_as_many_as_it_likes(tmp_path: Path, certificates: TestCertificates) -> None:
    site = 'trusted_proxies = ["127.0.0.0/8"]\nrespond = { body = "x" }'
    write_config(tmp_path, certificates, site, limits="connections_per_address = 1")
    with running(tmp_path) as server, ExitStack() as stack:
        clients = [stack.enter_context(closing(Http1(server.port, certificates.ca))) for _ in range(4)]
        assert [client.request("GET", "/").status for client in clients] == [200] * 4
