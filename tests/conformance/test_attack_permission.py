"""Whom attacks may be tried on: this machine, or a host whose owner names it. Nothing is sent before."""

from __future__ import annotations

import pytest
import trio
from click.testing import CliRunner

from securelight.cli import conform
from securelight.conformance.attack_permission import ATTACKER, permission
from securelight.conformance.dial import connect_tcp
from securelight.conformance.suites import load_suite, suite_names
from securelight.conformance.target import parse_target

Address = tuple[int, int, int, str, tuple[str, int]]


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Names mean these addresses; what was asked for is in the list."""
    asked = []

    async def getaddrinfo(host: str, *_: object) -> list[Address]:
        asked.append(host)
        return [(10 if ":" in address else 2, 1, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    ("addresses", "granted"),
    [
        (("127.0.0.1",), True),
        (("::1", "127.0.0.1"), True),
        (("127.0.0.1", "192.0.2.1"), False),
        (("192.0.2.1", "127.0.0.1"), False),
        (("0.0.0.0",), False),
        (("::ffff:192.0.2.1",), False),
        (("fe80::1%lo",), False),
        ((), False),
    ],
)
async def test_every_address_of_a_name_has_to_be_loopback(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...], granted: bool
) -> None:
    resolving(monkeypatch, *addresses)
    found = await permission(parse_target("https://tide.test:8443/"), frozenset())
    assert found.granted is granted


async def test_a_name_without_an_address_has_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object) -> list[Address]:
        raise OSError("unknown name")

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    assert not (await permission(parse_target("https://tide.test/"), frozenset())).granted


@pytest.mark.parametrize(("owned", "granted"), [("tide.test", True), ("Tide.Test", True), ("high.tide.test", False)])
async def test_an_owner_names_the_host_itself(monkeypatch: pytest.MonkeyPatch, owned: str, granted: bool) -> None:
    resolving(monkeypatch, "192.0.2.1")
    assert (await permission(parse_target("https://tide.test/"), frozenset({owned}))).granted is granted


async def test_attackers_connect_to_what_was_looked_at_and_come_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, trio.aclose_forcefully, listeners)
        port = listeners[0].socket.getsockname()[1]
        allowed = await permission(parse_target(f"https://localhost:{port}/"), frozenset())
        resolving(monkeypatch, "192.0.2.1")  # the name means something else now
        attack, polite = allowed.connects(connect_tcp)
        for connect, source in ((attack, ATTACKER), (polite, "127.0.0.1")):
            stream = await connect(parse_target(f"https://localhost:{port}/"))
            assert isinstance(stream, trio.SocketStream)
            assert stream.socket.getsockname()[0] == source
            await stream.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "arguments",
    [
        ("https://tide.test/", "--suite", "abuse"),
        ("https://tide.test/", "--only", "abuse/CVE-2023-44487"),
        ("compare", "https://tide.test/", "https://192.0.2.1/", "--suite", "abuse"),
        ("https://tide.test/", "--suite", "abuse", "--i-own-this-host", "other.test"),
    ],
)
def test_attacks_that_were_asked_for_are_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    resolving(monkeypatch, "192.0.2.1")
    connections = []

    async def open_tcp_stream(*where: object, **_: object) -> None:
        connections.append(where)
        raise OSError("not in a test")

    monkeypatch.setattr(trio, "open_tcp_stream", open_tcp_stream)
    done = CliRunner().invoke(conform.command, list(arguments))
    assert done.exit_code == 2
    assert "attacks are tried on loopback only; if tide.test is yours, add --i-own-this-host tide.test" in done.output
    assert connections == []


def test_each_attack_says_that_it_is_one() -> None:
    for suite in suite_names():
        for case in load_suite(suite).cases:
            assert case.abuse == (suite == "abuse"), case.id
            assert not case.abuse or case.alone != case.slow, case.id
    assert len(load_suite("abuse").cases) >= 40
