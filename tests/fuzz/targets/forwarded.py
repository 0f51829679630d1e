"""X-Forwarded-For and Forwarded of a trusted proxy: every hop that is believed is an address, and what is told to the
next server can be written into a field."""

from __future__ import annotations

from ipaddress import ip_address

from securelight.model.forwarded import MAXIMUM_HOPS, ForwardingFields, TrustedProxies, parse_networks
from tests.helpers import PEER, make_facts, make_request

SEEDS = [
    b"\x00192.0.2.1, 10.0.0.1",
    b'\x01for="[2001:db8::1]:4711";proto=https, for=10.0.0.2',
    b"\x02https\nb.test",
    b"\x00" + b"10.0.0.1, " * 40,
]
WORDS = [b"for=", b"unknown", b'"[::1]:1"', b"10.0.0.1", b"::ffff:10.0.0.1", b"%eth0"]
TRUSTED = TrustedProxies(parse_networks([PEER.address, "10.0.0.0/8"]))
FIELDS = ForwardingFields(TRUSTED, "both")


def fuzz(data: bytes) -> None:
    value = data[1:].replace(b"\r", b"").replace(b"\0", b"")
    first, _, second = value.partition(b"\n")
    match data[:1]:
        case b"\x00":
            headers = {b"x-forwarded-for": first}
        case b"\x01":
            headers = {b"forwarded": first}
        case _:
            headers = {b"x-forwarded-proto": first, b"x-forwarded-host": second.replace(b"\n", b"")}
    request = make_request(headers=headers)
    chain = TRUSTED.chain(request)
    assert chain[-1] == PEER.address
    assert len(chain) <= MAXIMUM_HOPS + 1
    for hop in chain:
        ip_address(hop)
    assert FIELDS.client_address(request, make_facts()) == chain[0]
    fields: list[tuple[bytes, bytes]] = []
    FIELDS.add_to(fields, request)
    for _, told in fields:
        assert not set(told) & set(b"\r\n\0")
        assert told.isascii()
