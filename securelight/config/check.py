"""What the types of a configuration cannot say: which host patterns, addresses and route paths are valid.

Each function gives the normal form of a text, or raises ValueError with what is wrong and what would cure it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

from securelight.config.faults import quoted

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_ZONE = re.compile(r"[A-Za-z0-9._-]{1,32}")
_MAXIMUM_HOST_CHARACTERS: Final = 253
_MAXIMUM_PORT: Final = 65_535
_MAXIMUM_UNIX_PATH_BYTES: Final = 107
"""What fits into sockaddr_un beside its last zero (unix(7))."""
_MAXIMUM_PATH_CHARACTERS: Final = 1_024


class Address(NamedTuple):
    """Where to listen."""

    host: str
    """A name, an IP address without brackets, or `*` for all addresses of both families."""
    port: int
    """0 lets the system choose a free one."""
    path: str = ""
    """Of a unix socket, instead of host and port."""


def parse_address(text: str) -> Address:
    """Take the address of a `[[listen]]` apart.

    Errors: ValueError, worded for the operator.
    """
    if text.startswith("unix:"):
        return Address("", 0, _unix_path(text))
    if "://" in text:
        raise ValueError(f"{quoted(text)} is a URL; write only host and port, such as localhost:8443")
    host, colon, port = text.rpartition(":")
    if not colon:
        cure = f"localhost:{text}" if text.isdigit() else f"{text or 'localhost'}:8443"
        raise ValueError(f"{quoted(text)} is not host and port; write {quoted(cure)}")
    if not (port.isascii() and port.isdigit()):
        raise ValueError(f"the port {quoted(port)} is not a number from 1 to {_MAXIMUM_PORT}")
    if len(port) > 5 or int(port) > _MAXIMUM_PORT:
        raise ValueError(f"port {port[:12]} is out of range; ports go from 1 to {_MAXIMUM_PORT}")
    if not host:
        raise ValueError(f'{quoted(text)} has no host; write "*:{port}" to listen on all addresses')
    return Address(_listen_host(host, port), int(port))


def _unix_path(text: str) -> str:
    path = text.removeprefix("unix:")
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise ValueError(f"{quoted(text)} is not the path of a unix socket, such as unix:/run/securelight/web.sock")
    if len(path.encode()) > _MAXIMUM_UNIX_PATH_BYTES:
        raise ValueError(f"the path of a unix socket has at most {_MAXIMUM_UNIX_PATH_BYTES} bytes, {quoted(path)} more")
    return path


def _listen_host(host: str, port: str) -> str:
    if host == "*":
        return host
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in host:
        try:
            address, percent, zone = bare.partition("%")
            compressed = ipaddress.IPv6Address(address).compressed
            if percent and not _ZONE.fullmatch(zone):
                raise ValueError(zone)
        except ValueError:
            raise ValueError(f"{quoted(host)} is not an IPv6 address; write it in brackets: [::1]:{port}") from None
        if bare is host:
            raise ValueError(f'an IPv6 address stands in brackets: "[{bare}]:{port}"')
        return compressed + percent + zone
    return _name_or_ipv4(host)


def normalise_host(text: str) -> str:
    """The form in which requests are compared with the host pattern `text`: lower case, IPv6 in brackets.

    Valid are a name, an IP address, `*.` and a name, and `*`.

    Errors: ValueError, worded for the operator.
    """
    if "://" in text or "/" in text:
        raise ValueError(f"{quoted(text)} is a URL; write only the host name")
    if text == "*":
        return text
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare.count(":") >= 2:
        try:
            return f"[{ipaddress.IPv6Address(bare).compressed}]"
        except ValueError:
            raise ValueError(f"{quoted(text)} is not an IPv6 address") from None
    name, colon, port = text.rpartition(":")
    if colon:
        raise ValueError(f"{quoted(text)} has a port; write {quoted(name)}, the port {quoted(port)} goes to [[listen]]")
    if text.startswith("*."):
        return "*." + _name_or_ipv4(text[2:], pattern=text)
    return _name_or_ipv4(text)


def _name_or_ipv4(text: str, pattern: str = "") -> str:
    shown = quoted(pattern or text)
    if not text.isascii():
        raise ValueError(f"{shown} has letters beyond ASCII; write its xn-- form{_ascii_form(text)}")
    name = text.lower().removesuffix(".")
    if "*" in name:
        raise ValueError(f'{shown} has a * inside; a wildcard is "*.example.org", or "*" for every other name')
    if len(name) > _MAXIMUM_HOST_CHARACTERS or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(f"{shown} is not a host name")
    if name.rpartition(".")[2].isdigit():
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise ValueError(f"{shown} is not an IPv4 address") from None
        if pattern:
            raise ValueError(f"{shown} is a wildcard of an IP address, which does not exist")
    return name


def _ascii_form(text: str) -> str:
    try:
        return f": {quoted(text[:_MAXIMUM_HOST_CHARACTERS].lower().encode('idna').decode('ascii'))}"
    except UnicodeError:
        return ""


def normalise_route_path(text: str) -> str:
    """The route prefix `text` without a slash at its end (but `/` itself).

    Errors: ValueError, worded for the operator.
    """
    if not text.startswith("/"):
        raise ValueError(f"{quoted(text)} has to begin with a slash: {quoted('/' + text)}")
    if len(text) > _MAXIMUM_PATH_CHARACTERS:
        raise ValueError(f"is longer than {_MAXIMUM_PATH_CHARACTERS} characters")
    for character in "?#*%\\":
        if character in text:
            raise ValueError(f"{quoted(text)} has a {character} in it; a route is a plain path prefix, such as /api")
    if not text.isprintable():
        raise ValueError(f"{quoted(text)} has characters in it that do not print")
    path = text.removesuffix("/")
    if any(segment in ("", ".", "..") for segment in path.split("/")[1:]):
        raise ValueError(f"{quoted(text)} has empty, . or .. segments, which no request has")
    return path or "/"
