from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from securelight.config.check import Address, normalise_host, normalise_route_path, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8443", Address("localhost", 8443)),
        ("127.0.0.1:443", Address("127.0.0.1", 443)),
        ("*:443", Address("*", 443)),
        ("[::1]:8443", Address("::1", 8443)),
        ("[fe80::1%eth0]:443", Address("fe80::1%eth0", 443)),
        ("[0:0:0::1]:1", Address("::1", 1)),
        ("Example.ORG:65535", Address("example.org", 65535)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("localhost", '"localhost" is not host and port; write "localhost:8443"'),
        ("", '"" is not host and port; write "localhost:8443"'),
        ("443", '"443" is not host and port; write "localhost:443"'),
        (":8443", '":8443" has no host; write "*:8443" to listen on all addresses'),
        ("localhost:https", 'the port "https" is not a number from 1 to 65535'),
        ("localhost:", 'the port "" is not a number from 1 to 65535'),
        ("localhost:-1", 'the port "-1" is not a number from 1 to 65535'),
        ("localhost:٣", 'the port "٣" is not a number from 1 to 65535'),
        ("localhost:65536", "port 65536 is out of range; ports go from 1 to 65535"),
        ("localhost:" + "9" * 5_000, "port 999999999999 is out of range; ports go from 1 to 65535"),
        ("::1:8443", 'an IPv6 address stands in brackets: "[::1]:8443"'),
        ("::g:8443", '"::g" is not an IPv6 address; write it in brackets: [::1]:8443'),
        ("[::g]:8443", '"[::g]" is not an IPv6 address; write it in brackets: [::1]:8443'),
        ("[::1%\x1b]:1", '"[::1%\\x1b]" is not an IPv6 address; write it in brackets: [::1]:1'),
        ("https://localhost:8443",
         '"https://localhost:8443" is a URL; write only host and port, such as localhost:8443'),
        ("local host:1", '"local host" is not a host name'),
        ("256.0.0.1:1", '"256.0.0.1" is not an IPv4 address'),
        *((text, f'"{text}" is not the path of a unix socket, such as unix:/run/securelight/web.sock')
          for text in ("unix:web.sock", "unix:/run/", "unix:@abstract", "unix:")),
        ("unix:/" + "a" * 107, f'the path of a unix socket has at most 107 bytes, "/{"a" * 107}" more'),
    ],
)  # fmt: skip
def test_what_is_no_address(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_address(text)
    assert str(caught.value) == what


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.org", "example.org"),
        ("Example.ORG.", "example.org"),
        ("*.example.org", "*.example.org"),
        ("*", "*"),
        ("localhost", "localhost"),
        ("my_host", "my_host"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::0:1", "[2001:db8::1]"),
        ("[::1]", "[::1]"),
    ],
)
def test_hosts(text: str, host: str) -> None:
    assert normalise_host(text) == host


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("https://example.org", '"https://example.org" is a URL; write only the host name'),
        ("example.org/shop", '"example.org/shop" is a URL; write only the host name'),
        ("example.org:8443", '"example.org:8443" has a port; write "example.org", the port "8443" goes to [[listen]]'),
        ("www.*", '"www.*" has a * inside; a wildcard is "*.example.org", or "*" for every other name'),
        ("*.*.org", '"*.*.org" has a * inside; a wildcard is "*.example.org", or "*" for every other name'),
        ("*.", '"*." is not a host name'),
        ("", '"" is not a host name'),
        ("-a.org", '"-a.org" is not a host name'),
        ("a..org", '"a..org" is not a host name'),
        ("a b", '"a b" is not a host name'),
        ("192.0.2.256", '"192.0.2.256" is not an IPv4 address'),
        ("*.0.0.1.2", '"*.0.0.1.2" is a wildcard of an IP address, which does not exist'),
        ("bücher.example", '"bücher.example" has letters beyond ASCII; write its xn-- form: "xn--bcher-kva.example"'),
        ("1:2:3", '"1:2:3" is not an IPv6 address'),
        ("a\x1b[2J", '"a\\x1b[2J" is not a host name'),
    ],
)
def test_what_is_no_host(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        normalise_host(text)
    assert str(caught.value) == what


@pytest.mark.parametrize(("text", "path"), [("/", "/"), ("/api", "/api"), ("/api/", "/api"), ("/é/x y", "/é/x y")])
def test_route_paths(text: str, path: str) -> None:
    assert normalise_route_path(text) == path


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("api", '"api" has to begin with a slash: "/api"'),
        ("", '"" has to begin with a slash: "/"'),
        ("//", '"//" has empty, . or .. segments, which no request has'),
        ("/a//b", '"/a//b" has empty, . or .. segments, which no request has'),
        ("/a/../b", '"/a/../b" has empty, . or .. segments, which no request has'),
        ("/a?b", '"/a?b" has a ? in it; a route is a plain path prefix, such as /api'),
        ("/a/*", '"/a/*" has a * in it; a route is a plain path prefix, such as /api'),
        ("/%41", '"/%41" has a % in it; a route is a plain path prefix, such as /api'),
        ("/a\n", '"/a\\n" has characters in it that do not print'),
        ("/" + "a" * 1_024, "is longer than 1024 characters"),
    ],
)
def test_what_is_no_route_path(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        normalise_route_path(text)
    assert str(caught.value) == what


def outcome(function: Callable[[str], object], text: str) -> object:
    """What `function` gives, or the message with which it refuses."""
    try:
        return function(text)
    except ValueError as error:
        return error


HOSTILE = st.text(max_size=40) | st.text("0123456789abcf.:*[]-%/\x1b", max_size=40)


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_a_normal_form_stays_as_it_is(text: str) -> None:
    for normalise in (normalise_host, normalise_route_path):
        normal = outcome(normalise, text)
        assert isinstance(normal, ValueError) or normalise(str(normal)) == normal


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_no_message_has_characters_that_a_terminal_obeys(text: str) -> None:
    for function in (normalise_host, normalise_route_path, parse_address):
        assert str(outcome(function, text)).isprintable()
