"""Answers requests by an application that speaks FastCGI, in the role of a responder, such as php-fpm.

Refused: paths that name no script below the root, TRACE and CONNECT, several requests at once on one connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from securelight.files.safe_path import DocumentRoot
from securelight.handlers.cgi_route import ScriptFinder, common_faults, gateway
from securelight.handlers.proxy_settings import ProxyConnections, ProxyTimeouts
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import BuildContext, Feature
from securelight.protocol.fastcgi_records import (
    END_OF_BODY,
    FastCgiFault,
    FastCgiResponses,
    begin_request,
    request_body,
)
from securelight.upstream.faults import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.handlers.cgi_variables import Variable
    from securelight.pipeline.compile import EventLog
    from securelight.pipeline.stage import Handler
    from securelight.upstream.stream import ByteStream

STANDARD_ERROR_BYTES = 8192
"""As much of what an application says on its standard error is logged for one request."""


class FastcgiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`fastcgi`: an application that speaks FastCGI, such as php-fpm."""

    upstream: str
    """Where it listens: `unix:/run/php/php-fpm.sock` or `127.0.0.1:9000`."""
    root: str = ""
    """The directory with the scripts; empty for an application that has none, which is given every path."""
    split: tuple[str, ...] = (".php",)
    """What the names of scripts end in; what follows such a name in a path is PATH_INFO."""
    index: str = "index.php"
    """The script of a directory; empty for none."""
    fallback: str = ""
    """The script for every path that names none, such as `/index.php`; empty for 404."""
    follow_symlinks: bool = False
    """Let symbolic links lead out of the root."""
    variables: dict[str, str] = {}
    """More variables; they win over our own."""
    timeouts: ProxyTimeouts = ProxyTimeouts()
    connections: ProxyConnections = ProxyConnections()


def check(settings: FastcgiConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = common_faults(settings.upstream, settings.variables)
    if settings.root and not (base / settings.root).is_dir():
        faults.append(f"root {settings.root!r} is not a directory")
    if settings.fallback and not settings.root:
        faults.append("fallback is of use with root only")
    faults += [
        f"split: {suffix!r} must be a dot and a name, such as '.php'"
        for suffix in settings.split
        if len(suffix) < 2 or suffix[0] != "." or "/" in suffix or "\0" in suffix
    ]
    if settings.root and not settings.split:
        faults.append("split must name what scripts end in, or every uploaded file is one")
    if settings.fallback and not settings.fallback.startswith("/"):
        faults.append(f"fallback {settings.fallback!r} must begin with a slash")
    if "/" in settings.index or "\0" in settings.index + settings.fallback:
        faults.append(f"index {settings.index!r} is not the name of a file")
    return faults


def build(settings: FastcgiConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    root = None
    if settings.root:
        root = DocumentRoot((context.base / settings.root).resolve(), follow_symlinks=settings.follow_symlinks)
    finder = ScriptFinder(root, settings.split, settings.index, settings.fallback, context.route_path)
    return gateway(
        settings.upstream,
        lambda stream: FastCgiConnection(stream, context.events, settings.upstream),
        finder,
        settings.timeouts,
        settings.connections,
        settings.variables,
        context,
    )


class FastCgiConnection:
    """One connection. Implements handlers.cgi_call.CgiConnection.

    Args:
        stream: connected.
        events: is told what the application says on its standard error.
        name: of the upstream, for the log.
    """

    __slots__ = ("_events", "_logged", "_name", "_responses", "_sent", "_stream", "_touched")

    def __init__(self, stream: ByteStream, events: EventLog, name: str) -> None:
        self._stream = stream
        self._events = events
        self._name = name
        self._responses = FastCgiResponses()
        self._sent = True
        self._touched = False
        self._logged = 0

    async def begin(self, variables: Sequence[Variable]) -> None:
        """Send the variables."""
        self._responses.begin()
        self._sent = self._touched = False
        self._logged = 0
        await self._send(begin_request(variables))

    async def send(self, data: bytes) -> None:
        """Send more of the body."""
        await self._send(request_body(data))

    async def finish(self) -> None:
        """Say that the body is whole."""
        await self._send(END_OF_BODY)
        self._sent = True

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except OSError as error:
            raise UpstreamBroken(f"sending: {error}", unread=not self._touched) from error

    async def receive(self) -> bytes:
        """More of the standard output; b"" at the end of the response."""
        while not self._responses.whole:
            try:
                data = await self._stream.receive()
            except OSError as error:
                raise UpstreamBroken(f"receiving: {error}", unread=not self._touched) from error
            if not data:
                raise UpstreamBroken("the connection ended before the answer did", unread=not self._touched)
            self._touched = True
            try:
                output, errors = self._responses.feed(data)
            except FastCgiFault as fault:
                raise UpstreamBroken(str(fault), unprocessed=fault.unprocessed) from fault
            if errors:
                self._log(errors)
            if output:
                return output
        return b""

    def _log(self, errors: bytes) -> None:
        part = errors[: STANDARD_ERROR_BYTES - self._logged]
        self._logged += len(part)
        if part:
            text = part.decode("utf-8", "backslashreplace").strip()
            self._events.warning("application error output", upstream=self._name, text=text)

    @property
    def reusable(self) -> bool:
        """Both sides have said all."""
        return self._sent and self._responses.whole

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for."""
        return self._stream.is_quiet()

    def close(self) -> None:
        """Close it at once."""
        self._stream.close()


FEATURE = Feature(name="fastcgi", kind="handler", config_class=FastcgiConfig, build=build, check=check)
