"""Which server is judged: a URL, taken apart. Refused is what could not be sent as SNI, Host or :authority."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from securelight.model.errors import SecurelightError

MAXIMUM_NAME_CHARACTERS = 253
"""RFC 1035, section 2.3.4, without the dots at both ends."""
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
"""Of a name in DNS, and the underscore that many have."""


class TargetError(SecurelightError):
    """The URL cannot be judged, or nobody answers there."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go.

    Attributes:
        scheme: `https`, or `http` for HTTP/2 with prior knowledge and HTTP/1.1 without TLS.
        host: a name or an IP address, without brackets.
        port: TCP.
        path: what is asked for, with its query; begins with a slash.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.scheme == "https"

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address, which is never sent as SNI."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def authority(self) -> str:
        """What stands in :authority and Host; without the scheme's own port, as clients do."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole of it."""
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_target(url: str) -> Target:
    """Read `https://host[:port][/path]`; `https://` may be left out.

    Errors: TargetError.
    """
    text = url if "://" in url else f"https://{url}"
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        raise TargetError(
            f"{url!r} is no URL: it may only hold visible ASCII characters (names as xn--..., bytes as %XX)"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise TargetError(f"{url} is no URL: {error}") from error
    if parts.scheme not in ("https", "http"):
        raise TargetError(f"{parts.scheme}://: only https:// (and http:// without TLS) can be judged")
    if parts.username is not None:  # the password is not shown again: this may stand in the log of a CI system
        raise TargetError(f"{parts.scheme}://...: user names and passwords in URLs are not used; leave them out")
    if not parts.hostname:
        raise TargetError(f"{url}: it names no host; write https://localhost:8443/")
    if port == 0:
        raise TargetError(f"{url}: nobody listens on port 0; write https://localhost:8443/")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    default = 443 if parts.scheme == "https" else 80
    return Target(parts.scheme, _host(url, parts.hostname), default if port is None else port, path)


def _host(url: str, host: str) -> str:
    """The address, or the name without the dot at its end, which SNI does not have (RFC 6066, section 3)."""
    if "%" in host and ":" in host:
        raise TargetError(f"{url}: addresses with a zone cannot be judged; take another address of the server")
    if ":" in host:
        return host  # urlsplit has looked at what stands in brackets
    name = host.removesuffix(".")
    labels = name.split(".")
    if len(name) > MAXIMUM_NAME_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetError(f"{url}: its host is no name of DNS; write https://localhost:8443/")
    if labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise TargetError(f"{url}: its host looks like an address and is none; write four numbers") from None
    return name
