"""Where servers are: URLs, names, and what a lookup that fails changes (nothing, once there was a good one)."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
import trio.testing

from securelight.upstream.address import Resolver, parse_address
from securelight.upstream.faults import ConnectFailed


@pytest.mark.parametrize(
    ("url", "authority", "port"),
    [
        ("http://app", "app", 80),
        ("http://App.example:8080/", "app.example:8080", 8080),
        ("https://app", "app", 443),
        ("https://app:80", "app:80", 80),
        ("http://[::1]:80", "[::1]", 80),
        ("h2c://app:50051", "app:50051", 50051),
        ("unix:/run/app.sock", "localhost", 0),
    ],
)
def test_what_a_url_stands_for(url: str, authority: str, port: int) -> None:
    address = parse_address(url)

    assert (address.authority, address.port) == (authority, port)


class Names(trio.abc.HostnameResolver):
    """Stands for the system's resolver."""

    def __init__(self) -> None:
        self.answers: list[str] | None = ["192.0.2.1"]
        self.asked = 0

    async def getaddrinfo(self, host: Any, port: Any, *_rest: Any, **_keys: Any) -> Any:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.answers is None:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port)) for answer in self.answers]

    async def getnameinfo(self, *_rest: Any) -> Any:
        raise NotImplementedError


async def untold(_name: str) -> None:
    """DNS says nothing of how long an answer counts."""


@pytest.mark.parametrize(("lifetime", "looked_up_after"), [(5.0, 5.0), (0.0, 1.0), (86_400.0, 30.0)])
async def test_an_answer_counts_as_long_as_dns_says_within_bounds(
    autojump_clock: trio.testing.MockClock, lifetime: float, looked_up_after: float
) -> None:
    async def told(name: str) -> float:
        assert name == "app"
        return lifetime

    names = Names()
    trio.socket.set_custom_hostname_resolver(names)
    resolver = Resolver(parse_address("http://app:80"), 30, told)
    await resolver.addresses()
    await trio.sleep(looked_up_after - 0.5)
    await resolver.addresses()
    assert names.asked == 1
    await trio.sleep(1)
    await resolver.addresses()
    assert names.asked == 2


async def test_a_name_is_looked_up_again_and_the_last_good_answer_stays(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names = Names()
    trio.socket.set_custom_hostname_resolver(names)
    resolver = Resolver(parse_address("http://app:80"), 30, untold)
    first = await resolver.addresses()
    await trio.sleep(29)
    assert await resolver.addresses() == first == [(socket.AF_INET, ("192.0.2.1", 80))]
    assert names.asked == 1
    names.answers = None
    await trio.sleep(2)
    assert await resolver.addresses() == first
    names.answers = ["192.0.2.2", "192.0.2.3"]
    await trio.sleep(2)
    both = [await resolver.addresses(), await resolver.addresses()]

    assert both[0] == both[1][::-1]
    assert {address for _family, address in both[0]} == {("192.0.2.2", 80), ("192.0.2.3", 80)}


async def test_a_name_that_was_never_found_is_no_connection() -> None:
    names = Names()
    names.answers = None
    trio.socket.set_custom_hostname_resolver(names)

    with pytest.raises(ConnectFailed, match="is not found"):
        await Resolver(parse_address("http://app:80"), 30, untold).addresses()


async def test_an_address_is_never_looked_up() -> None:
    names = Names()
    trio.socket.set_custom_hostname_resolver(names)
    for url in ("http://192.0.2.9:80", "http://[2001:db8::9]:80", "unix:/run/app.sock"):
        await Resolver(parse_address(url), 0.001, untold).addresses()

    assert names.asked == 0
