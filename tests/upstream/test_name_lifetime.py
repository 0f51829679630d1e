"""How long an answer of DNS counts, as a name server on loopback says it, in every way that is no answer as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import trio

from securelight.upstream.name_lifetime import lifetime_seconds

if TYPE_CHECKING:
    from collections.abc import Callable


def answer(**seconds: int) -> Callable[[dns.message.QueryMessage], bytes]:
    """A server with these lifetimes for A and AAAA."""

    def give(query: dns.message.QueryMessage) -> bytes:
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        response = dns.message.make_response(query)
        if kind in seconds:
            address = "192.0.2.1" if kind == "A" else "2001:db8::1"
            response.answer.append(dns.rrset.from_text(question.name, seconds[kind], "IN", kind, address))
        return response.to_wire()

    return give


def refuse(query: dns.message.QueryMessage) -> bytes:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.NXDOMAIN)
    return response.to_wire()


def garble(query: dns.message.QueryMessage) -> bytes:
    return query.id.to_bytes(2, "big") + b"\x81\x80\xff\xff\xff"


async def asked(give: Callable[[dns.message.QueryMessage], bytes] | None) -> float | None:
    """What becomes of a question to a server that answers so; None for one that never does."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))

        async def serve() -> None:
            while True:
                data, client = await sock.recvfrom(4096)
                if give is not None:
                    query = dns.message.from_wire(data)
                    assert isinstance(query, dns.message.QueryMessage)
                    await sock.sendto(give(query), client)

        resolver: Any = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], sock.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            found = await lifetime_seconds("app.example", resolver)
            nursery.cancel_scope.cancel()
    return found


@pytest.mark.parametrize(
    ("give", "seconds"),
    [
        (answer(A=60, AAAA=20), 20),
        (answer(A=60), 60),
        (answer(AAAA=7), 7),
        (answer(A=0), 0),
        (answer(), None),
        (refuse, None),
        (garble, None),
        (None, None),
    ],
)
async def test_the_shortest_lifetime_of_what_is_answered(
    give: Callable[[dns.message.QueryMessage], bytes] | None, seconds: float | None
) -> None:
    assert await asked(give) == seconds


async def test_names_of_this_machine_are_not_asked_for() -> None:
    class Noting:
        names: list[str] = []  # noqa: RUF012 - one instance

        async def resolve(self, name: str, *_rest: Any, **_keys: Any) -> None:
            self.names.append(name)

    for name in ("localhost", "app.localhost", "app.example"):
        await lifetime_seconds(name, Noting())
    assert Noting.names == ["app.example"]
