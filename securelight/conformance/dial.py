"""What a case gets: a way to make connections to the server that is judged, all of them recorded and closed for it."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from securelight.conformance.case import Failed, Skipped
from securelight.conformance.http2_client import Http2Client
from securelight.conformance.transcript import Transcript
from securelight.conformance.wire import HandshakeFailed, Unreachable, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from securelight.conformance.target import Target

Connect = Callable[["Target"], Awaitable[trio.abc.Stream]]


ANSWER_SECONDS = 5.0
SLOW_SECONDS = 66.0
"""The longest deadline of a careful server is a minute (nginx); Apache has 20 to 40 seconds."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one waits, in seconds.

    Attributes:
        connect: for TCP and the TLS handshake, each.
        answer: for something that has to come.
        silence: for something that should not come, or may.
        slow: for a server to end a connection that makes hardly any progress.
        noise: what a busy machine may add to the time of an answer.
    """

    connect: float = ANSWER_SECONDS
    answer: float = ANSWER_SECONDS
    silence: float = ANSWER_SECONDS / 10
    slow: float = SLOW_SECONDS
    noise: float = ANSWER_SECONDS / 100

    @classmethod
    def of(cls, seconds: float) -> Patience:
        """So many for an answer, and the others in proportion; silence is heard for at most a second."""
        return cls(seconds, seconds, min(seconds / 10, 1.0), noise=seconds / 100)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a plain GET of the target's path is answered with; cases compare with it.

    Attributes:
        status: of the answer; 0 if no plain request was answered.
        body_bytes: its length.
    """

    status: int = 0
    body_bytes: int = 0


async def connect_tcp(target: Target) -> trio.abc.Stream:
    """A TCP connection to the target.

    Errors: OSError.
    """
    return await trio.open_tcp_stream(target.host, target.port)


def connect_only_to(addresses: Sequence[str], source: str | None = None) -> Connect:
    """Connect to one of these addresses, whatever the target's name may mean by then.

    Args:
        addresses: tried in order.
        source: our own address; used where the other one is of IPv4.
    """

    async def connect(target: Target) -> trio.abc.Stream:
        refusal: OSError | None = None
        for address in addresses:
            ours = source if "." in address else None
            try:
                return await trio.open_tcp_stream(address, target.port, local_address=ours)
            except OSError as error:
                refusal = error
        raise refusal or OSError("no address")

    return connect


def lenient_context(alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """A client that trusts everybody: whether the certificate is good is one question, asked once, not of each case."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


@functools.lru_cache
def _shared_context(alpn: tuple[str, ...]) -> ssl.SSLContext:
    return lenient_context(alpn)


@dataclass(slots=True)
class Dial:
    """Makes connections for one case.

    Attributes:
        target: the server.
        baseline: see Baseline.
        patience: see Patience.
        connect: how connections are made.
        transcript: what went over all connections.
        bystander: how somebody else connects, who has another address where that can be.
    """

    target: Target
    baseline: Baseline = Baseline()
    patience: Patience = Patience()
    connect: Connect = connect_tcp
    transcript: Transcript = field(default_factory=Transcript)
    bystander: Connect | None = None
    _wires: list[Wire] = field(default_factory=list)

    async def tcp(self) -> Wire:
        """A bare TCP connection.

        Errors: Unreachable.
        """
        try:
            with trio.fail_after(self.patience.connect):
                stream = await self.connect(self.target)
        except (OSError, trio.TooSlowError) as error:
            reason = "no answer" if isinstance(error, trio.TooSlowError) else str(error)
            raise Unreachable(f"{self.target.host} port {self.target.port} cannot be reached: {reason}") from None
        wire = Wire(stream, self.transcript, len(self._wires) + 1)
        self._wires.append(wire)
        return wire

    async def tls(
        self, alpn: Sequence[str] = ("h2",), *, context: ssl.SSLContext | None = None, server_name: str | None = ""
    ) -> Wire:
        """A connection with TLS; for an `http://` target one without.

        Args:
            alpn: what is offered, for the lenient context.
            context: instead of the lenient one; then `alpn` is not used.
            server_name: SNI; the target's host if empty, none if None.

        Errors: Unreachable, HandshakeFailed; Failed if the handshake takes too long.
        """
        wire = await self.tcp()
        if not self.target.tls:
            return wire
        if context is None:
            context = _shared_context(tuple(alpn))
        try:
            with trio.fail_after(self.patience.connect):
                await wire.start_tls(context, self.target.host if server_name == "" else server_name)
        except trio.TooSlowError:
            raise Failed(f"the TLS handshake was not done within {self.patience.connect:g} s") from None
        return wire

    async def http2(self, settings: Mapping[int, int] | None = None, *, handshake: bool = True) -> Http2Client:
        """An HTTP/2 connection.

        Args:
            settings: our SETTINGS; empty if None.
            handshake: False if the case sends the preface itself.

        Errors: as `tls`; Skipped if the server does not choose h2; Failed if it does not send its SETTINGS.
        """
        try:
            wire = await self.tls(("h2",))
        except HandshakeFailed as failed:
            if "no application protocol" not in str(failed).lower().replace("_", " "):  # Python has no name for it
                raise
            raise Skipped("the server does not speak HTTP/2: it refuses an offer of h2 alone") from None
        if self.target.tls and wire.alpn != "h2":
            raise Skipped(f"the server does not speak HTTP/2: ALPN chose {wire.alpn or 'nothing'}")
        client = Http2Client(wire, self.target, self.baseline.status, self.patience.answer, self.patience.silence)
        if handshake:
            await client.handshake(settings)
        return client

    def another(self) -> Dial:
        """One with the same target and transcript, whose connections are closed apart from these."""
        return Dial(self.target, self.baseline, self.patience, self.connect, self.transcript, bystander=self.bystander)

    async def close(self) -> None:
        """Close all of them, side by side: a server that reads nothing more holds each for a moment."""
        wires, self._wires = self._wires, []
        async with trio.open_nursery() as nursery:
            for wire in wires:
                nursery.start_soon(wire.close)
