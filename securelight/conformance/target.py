"""Which server is judged: a URL, taken apart."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from securelight.model.errors import SecurelightError


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
        raise TargetError(f"{url!r} is no URL: it may only hold visible ASCII characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise TargetError(f"{url} is no URL: {error}") from error
    if parts.scheme not in ("https", "http"):
        raise TargetError(f"{url}: only https:// (and http:// without TLS) can be judged")
    if not parts.hostname:
        raise TargetError(f"{url}: it names no host; write https://localhost:8443/")
    if parts.username is not None:
        raise TargetError(f"{url}: user names and passwords in URLs are not used")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    default = 443 if parts.scheme == "https" else 80
    return Target(parts.scheme, parts.hostname, default if port is None else port, path)
