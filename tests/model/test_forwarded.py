"""Who the client is behind proxies, and how the next server is told: what can be believed, and what is a lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from securelight.model.forwarded import ForwardingFields, TrustedProxies, is_forwarding, parse_networks
from securelight.model.headers import Headers
from securelight.model.request import UNIX, Facts, Peer, Request

if TYPE_CHECKING:
    from securelight.model.headers import Field

TRUSTED = TrustedProxies(parse_networks(["10.0.0.0/8", "2001:db8::/32", "unix:"]))


def asked(peer: str, **fields: str) -> Request:
    headers = Headers((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())
    return Request("GET", "/", headers, peer=Peer(peer, 1), authority="a.test", host="a.test")


@pytest.mark.parametrize(
    ("peer", "line", "chain"),
    [
        ("192.0.2.1", "", ["192.0.2.1"]),
        ("192.0.2.1", "198.51.100.7", ["192.0.2.1"]),
        ("10.0.0.1", "", ["10.0.0.1"]),
        ("10.0.0.1", "198.51.100.7", ["198.51.100.7", "10.0.0.1"]),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7, 10.0.0.2", ["198.51.100.7", "10.0.0.2", "10.0.0.1"]),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", ["10.0.0.3", "10.0.0.2", "10.0.0.1"]),
        ("10.0.0.1", "198.51.100.7, rubbish", ["10.0.0.1"]),
        ("10.0.0.1", "rubbish, 198.51.100.7", ["198.51.100.7", "10.0.0.1"]),
        ("10.0.0.1", "unknown", ["10.0.0.1"]),
        ("10.0.0.1", "198.51.100.7:4711", ["198.51.100.7", "10.0.0.1"]),
        ("10.0.0.1", "[2001:db9::1]:80", ["2001:db9::1", "10.0.0.1"]),
        ("2001:db8::9", "2001:db9::1", ["2001:db9::1", "2001:db8::9"]),
        ("::ffff:10.0.0.1", "198.51.100.7", ["198.51.100.7", "::ffff:10.0.0.1"]),
        ("unix:", "198.51.100.7", ["198.51.100.7", "unix:"]),
        ("", "198.51.100.7", [""]),
        ("10.0.0.1", "unix:", ["10.0.0.1"]),
    ],
)
def test_the_chain_is_read_from_the_right(peer: str, line: str, chain: list[str]) -> None:
    request = asked(peer, x_forwarded_for=line) if line else asked(peer)

    assert TRUSTED.chain(request) == chain
    assert ForwardingFields(TRUSTED, "x").client_address(request, Facts(peer)) == chain[0]


def test_forwarded_is_read_where_there_is_no_x_forwarded_for() -> None:
    request = asked("10.0.0.1", forwarded='for=6.6.6.6, For="[2001:db9::1]:80";proto=http, for=10.0.0.2')

    assert TRUSTED.chain(request) == ["2001:db9::1", "10.0.0.2", "10.0.0.1"]


def test_a_list_without_end_is_read_for_a_bounded_number_of_hops() -> None:
    assert len(TRUSTED.chain(asked("10.0.0.1", x_forwarded_for=", ".join(["10.0.0.2"] * 10_000)))) < 50


def test_what_a_stage_found_out_stands() -> None:
    request = asked("10.0.0.1", x_forwarded_for="198.51.100.7")

    assert ForwardingFields(TRUSTED, "x").client_address(request, Facts("203.0.113.5")) == "203.0.113.5"


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("x", [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"a.test")]),
        ("rfc7239", [(b"forwarded", b'for=192.0.2.1;proto=https;host="a.test"')]),
        ("off", []),
    ],
)
def test_the_ways_to_tell(style: str, expected: list[Field]) -> None:
    fields: list[Field] = []
    lies = {"x_forwarded_proto": "http", "x_forwarded_host": "b.test", "forwarded": "for=6.6.6.6"}
    ForwardingFields(TRUSTED, style).add_to(fields, asked("192.0.2.1", **lies))

    assert fields == expected


def test_ipv6_and_unix_sockets_in_forwarded() -> None:
    six: list[Field] = []
    unix: list[Field] = []
    forwarding = ForwardingFields(TRUSTED, "both")
    forwarding.add_to(six, asked("2001:db9::1"))
    forwarding.add_to(unix, asked(UNIX))

    assert dict(six)[b"forwarded"].startswith(b'for="[2001:db9::1]";')
    assert dict(unix)[b"forwarded"].startswith(b"for=unknown;")
    assert b"x-forwarded-for" not in dict(unix)


@pytest.mark.parametrize("zone", ["eth0", '"]', "\u00ff", "1, for=6.6.6.6"])
def test_an_address_with_a_zone_is_not_believed(zone: str) -> None:
    for told in ({"x_forwarded_for": f"fe80::1%{zone}"}, {"forwarded": f'for="[fe80::1%{zone}]"'}):
        fields: list[Field] = []
        request = asked("10.0.0.1", **told)
        ForwardingFields(TRUSTED, "both").add_to(fields, request)

        assert "%" not in "".join(TRUSTED.chain(request))
        assert b"%" not in dict(fields)[b"forwarded"]


@pytest.mark.parametrize("host", ["a b", "a;b", 'a"b', "a,b", "a\\b", "\u00e4.test"])
def test_a_host_that_could_end_its_quotes_is_not_believed(host: str) -> None:
    fields: list[Field] = []
    ForwardingFields(TRUSTED, "both").add_to(fields, asked("10.0.0.1", x_forwarded_host=host))

    assert dict(fields)[b"x-forwarded-host"] == b"a.test"


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"x-forwarded-for", True), (b"x_forwarded_for", True), (b"x-forwarded_for", True), (b"x-real-ip", True),
     (b"x_real_ip", True), (b"user-agent", False), (b"x_other", False)],
)  # fmt: skip
def test_every_spelling_counts(name: bytes, *, expected: bool) -> None:
    assert is_forwarding(name) is expected


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0", "all", "", "10.0.0.0/33"])
def test_what_is_no_network_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address or network"):
        parse_networks([text])
