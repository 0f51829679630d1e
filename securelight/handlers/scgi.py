"""Answers requests by an application that speaks SCGI: one request on each connection, whose end ends the answer.

That end says little: an application that dies in the middle looks like one that has finished, unless it announced a
Content-Length or its connection was reset. Where that matters, choose FastCGI. Refused: what handlers/cgi_call refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from securelight.handlers.cgi_route import ScriptFinder, common_faults, gateway
from securelight.handlers.proxy_settings import ProxyConnections, ProxyTimeouts
from securelight.model.errors import ConfigError
from securelight.pipeline.compile import BuildContext, Feature
from securelight.upstream.faults import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.pipeline.stage import Handler
    from securelight.upstream.cgi_variables import Variable
    from securelight.upstream.stream import ByteStream


class ScgiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`scgi`: an application that speaks SCGI."""

    upstream: str
    """Where it listens: `unix:/run/app.sock` or `127.0.0.1:4000`."""
    variables: dict[str, str] = {}
    """More variables; they win over our own."""
    timeouts: ProxyTimeouts = ProxyTimeouts()
    connections: ProxyConnections = ProxyConnections()


def check(settings: ScgiConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    return common_faults(settings.upstream, settings.variables)


def build(settings: ScgiConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    finder = ScriptFinder(None, (), "", "", context.route_path)
    return gateway(
        settings.upstream,
        ScgiConnection,
        finder,
        settings.timeouts,
        settings.connections,
        settings.variables,
        context,
    )


def request_head(variables: Sequence[Variable]) -> bytes:
    """The netstring that begins a request: CONTENT_LENGTH first, which is never empty, and SCGI."""
    values = dict(variables)
    length = values.pop(b"CONTENT_LENGTH") or b"0"
    pairs = [(b"CONTENT_LENGTH", length), (b"SCGI", b"1"), *values.items()]
    text = b"".join(name + b"\0" + value + b"\0" for name, value in pairs)
    return b"%d:%s," % (len(text), text)


class ScgiConnection:
    """One connection. Implements handlers.cgi_call.CgiConnection.

    Args:
        stream: connected.
    """

    __slots__ = ("_stream",)
    reusable = False

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def begin(self, variables: Sequence[Variable]) -> None:
        """Send the variables."""
        await self.send(request_head(variables))

    async def send(self, data: bytes) -> None:
        """Send more of the body."""
        try:
            await self._stream.send(data)
        except OSError as error:
            raise UpstreamBroken(f"sending: {error}") from error

    async def finish(self) -> None:
        """The length has told already where the body ends."""

    async def receive(self) -> bytes:
        """More of the answer; b"" at the end of the connection."""
        try:
            return await self._stream.receive()
        except OSError as error:
            raise UpstreamBroken(f"receiving: {error}") from error

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for."""
        return self._stream.is_quiet()

    def close(self) -> None:
        """Close it at once."""
        self._stream.close()


FEATURE = Feature(name="scgi", kind="handler", config_class=ScgiConfig, build=build, check=check)
