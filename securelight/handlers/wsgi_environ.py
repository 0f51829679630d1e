"""The environ of a WSGI request (PEP 3333): strings of bytes in latin-1, and nothing in it that a client could forge.

Left out: fields whose names hold an underscore, which would look like those with a hyphen, and `Proxy`, which would
become HTTP_PROXY, where programs look for a proxy of their own. Who the user is comes from the server's facts alone.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from securelight.model.request import Facts, Request
    from securelight.pipeline.compile import EventLog

LOGGED_CHARACTERS = 8_192
"""What of one write to wsgi.errors is logged."""

_NOT_HTTP = frozenset({b"content-type", b"content-length", b"transfer-encoding", b"proxy"})


def make_environ(request: Request, facts: Facts, root_path: str) -> dict[str, Any]:
    """The environ but for `wsgi.input` and `wsgi.errors`.

    Args:
        request, facts: as the pipeline saw them.
        root_path: what a proxy in front has taken off the path; stands before the route's path in SCRIPT_NAME.
    """
    peer = request.peer
    path = request.path.removeprefix(facts.route_path)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": _native(root_path + facts.route_path),
        "PATH_INFO": _native(path),
        "QUERY_STRING": request.query.decode("latin-1"),
        "REQUEST_URI": request.target.decode("latin-1"),
        "SERVER_NAME": request.host.strip("[]") or peer.local_address,
        "SERVER_PORT": str(peer.local_port or 443),  # a unix socket has none
        "SERVER_PROTOCOL": f"HTTP/{request.http_version}",
        "REMOTE_ADDR": facts.client_address,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    if facts.client_address == peer.address:
        environ["REMOTE_PORT"] = str(peer.port)
    if request.scheme == "https":
        environ["HTTPS"] = "on"
    if facts.user is not None:
        environ["REMOTE_USER"] = _native(facts.user)
    certificate = facts.certificate
    if certificate is not None:
        environ["SSL_CLIENT_VERIFY"] = "SUCCESS"
        environ["SSL_CLIENT_S_DN"] = _native(certificate.subject)
        environ["SSL_CLIENT_M_SERIAL"] = certificate.serial
        environ["SSL_CLIENT_FINGERPRINT"] = certificate.fingerprint
    headers = request.headers
    for name, _value in headers.fields:
        if name not in _NOT_HTTP and b"_" not in name:
            value = headers.get(name) or b""
            environ["HTTP_" + name.decode("latin-1").upper().replace("-", "_")] = value.decode("latin-1")
    media_type = headers.get(b"content-type")
    if media_type is not None:
        environ["CONTENT_TYPE"] = media_type.decode("latin-1")
    if request.content_length is not None:
        environ["CONTENT_LENGTH"] = str(request.content_length)
    return environ


def _native(text: str) -> str:
    """The bytes of `text`, one character each."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


class RequestBody(io.RawIOBase):
    """`wsgi.input` below its buffer: takes the body piece by piece, as the application asks.

    Args:
        receive: the next piece, waited for; b"" at the end. What it raises, the application sees.
    """

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._piece = memoryview(b"")
        self._whole = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """At most as much as fits; 0 at the end."""
        if not self._piece and not self._whole:
            self._piece = memoryview(self._receive())
            self._whole = not self._piece
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


class ErrorStream:
    """`wsgi.errors`: what the application writes goes to the event log.

    Args:
        events: the log.
        name: the application's.
    """

    def __init__(self, events: EventLog, name: str) -> None:
        self._events = events
        self._name = name

    def write(self, text: str) -> int:
        """Log it, cut at LOGGED_CHARACTERS."""
        if text.strip():
            self._events.warning("application wrote", application=self._name, text=text[:LOGGED_CHARACTERS].rstrip())
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Log each of them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is held back."""
