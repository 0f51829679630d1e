"""Bandwidth: how many bytes a second go to, and come from, one connection, one stream, or everybody on a site together.

Token buckets: `burst_bytes` go at once, then `bytes_per_second`. An answer for which there is enough goes out as it is,
without a detour. Others are sent in pieces, each of which books its place in every bucket and then waits for its time;
so the streams of a site take turns, and nobody is asked twice. What a client uploads is asked for no faster than that,
and the protocol's own back-pressure does the rest.

The bytes are those of bodies after compression, without heads and TLS. Each worker has its share of the site's rate.
Tunnels (WebSocket) are not slowed down.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec

from securelight.model.body import AsyncBody, ChangedPush, FileSlice, Parts, PushedBody
from securelight.model.errors import BodyAborted, ConfigError
from securelight.model.response import BODYLESS_STATUSES, Response
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Peer, Request
    from securelight.pipeline.compile import InThread
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Filter, Handler

LEAST_PIECE_BYTES = 1_024
MOST_PIECE_BYTES = 65_536
PIECES_A_SECOND = 8
"""How smooth it is, between the two: a piece costs a wait."""


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast."""

    bytes_per_second: Annotated[int, msgspec.Meta(ge=100)]
    burst_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    """What goes at once before that; by default what goes in one second."""


class BandwidthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`bandwidth`: how fast answers go out, and request bodies come in. Where several are set, the slowest counts."""

    connection: Rate | None = None
    """For each TCP connection, all its streams together."""
    stream: Rate | None = None
    """For each answer by itself."""
    site: Rate | None = None
    """For all clients together, of the site or route where it stands."""
    upload_connection: Rate | None = None
    upload_stream: Rate | None = None
    upload_site: Rate | None = None


class Bucket:
    """One token bucket, in which bytes are booked ahead.

    Args:
        rate: its settings.
        clock: monotonic seconds.
        share: into how many of its kind the rate is divided.
    """

    __slots__ = ("_burst", "_clock", "_level", "_rate", "_seen", "piece_bytes")

    def __init__(self, rate: Rate, clock: Callable[[], float], share: int = 1) -> None:
        self._rate = rate.bytes_per_second / share
        self._burst = (rate.burst_bytes or rate.bytes_per_second) / share
        self._clock = clock
        self._level = self._burst
        self._seen = clock()
        self.piece_bytes = max(LEAST_PIECE_BYTES, min(MOST_PIECE_BYTES, int(self._rate / PIECES_A_SECOND)))

    def has(self, count: int) -> bool:
        """Whether `count` bytes may go now."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._seen) * self._rate)
        self._seen = now
        return self._level >= count

    def book(self, count: int) -> float:
        """Take `count` bytes, ahead if they are not there; returns the seconds until they may go."""
        self.has(count)
        self._level -= count
        return max(0.0, -self._level / self._rate)

    def give_back(self, count: int) -> None:
        """What was booked is not sent."""
        self._level = min(self._burst, self._level + count)


class Buckets:
    """Those that one body goes through.

    Args:
        buckets: at least one.
        sleep: waits.
    """

    __slots__ = ("_buckets", "_sleep", "piece_bytes")

    def __init__(self, buckets: Sequence[Bucket], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._buckets = buckets
        self._sleep = sleep
        self.piece_bytes = min(bucket.piece_bytes for bucket in buckets)

    def take(self, count: int) -> bool:
        """Take `count` bytes if all of them may go now."""
        if not all(bucket.has(count) for bucket in self._buckets):
            return False
        for bucket in self._buckets:
            bucket.book(count)
        return True

    async def wait_for(self, count: int) -> None:
        """Return when `count` bytes may go."""
        seconds = max(bucket.book(count) for bucket in self._buckets)
        if seconds <= 0:
            return
        try:
            await self._sleep(seconds)
        except BaseException:
            # Streams that are opened and reset again and again must not use up what a site grants to others.
            for bucket in self._buckets:
                bucket.give_back(count)
            raise


class Limits:
    """The buckets of one direction, of one place in the configuration.

    Args:
        connection, stream, site: their settings; at least one is there.
        context: has the worker's clock, and how many workers there are.
    """

    def __init__(self, connection: Rate | None, stream: Rate | None, site: Rate | None, context: BuildContext) -> None:
        self._connection = connection
        self._stream = stream
        self._sleep = context.sleep
        self._clock = context.clock
        self._site = Bucket(site, self._clock, context.workers) if site is not None else None
        self._by_peer: dict[tuple[str, int, str, int], Bucket] = {}
        self._most_peers = context.limits.connections

    def of(self, request: Request) -> Buckets:
        """The buckets that a body of `request` goes through."""
        buckets = [] if self._site is None else [self._site]
        if self._connection is not None:
            buckets.append(self._of_connection(request.peer, self._connection))
        if self._stream is not None:
            buckets.append(Bucket(self._stream, self._clock))
        return Buckets(buckets, self._sleep)

    def _of_connection(self, peer: Peer, rate: Rate) -> Bucket:
        key = (peer.address, peer.port, peer.local_address, peer.local_port)
        bucket = self._by_peer.pop(key, None) or Bucket(rate, self._clock)
        self._by_peer[key] = bucket  # at the end: the order is that of their last request
        if len(self._by_peer) > self._most_peers:
            del self._by_peer[next(iter(self._by_peer))]
        return bucket


class PacedBody(AsyncBody):
    """A body in memory or in files, sent in pieces.

    Args:
        parts: of the body; holds of files are owned from now on.
        buckets: that it goes through.
        in_thread: reads files.
    """

    made = True

    def __init__(self, parts: Sequence[bytes | FileSlice], buckets: Buckets, in_thread: InThread) -> None:
        self._parts = parts
        self._buckets = buckets
        self._in_thread = in_thread

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        Errors: BodyAborted if a file becomes shorter or cannot be read.
        """
        most = self._buckets.piece_bytes
        try:
            for part in self._parts:
                length = len(part) if isinstance(part, bytes) else part.length
                for offset in range(0, length, most):
                    count = min(most, length - offset)
                    await self._buckets.wait_for(count)
                    yield (
                        part[offset : offset + count]
                        if isinstance(part, bytes)
                        else await self._read(part, offset, count)
                    )
        finally:
            self._close()

    async def _read(self, part: FileSlice, offset: int, count: int) -> bytes:
        held = part.file.acquire()  # the thread goes on when the stream is cancelled

        def read() -> bytes:
            try:
                return os.pread(held.descriptor, count, part.offset + offset)
            except OSError as error:
                raise BodyAborted(f"the file cannot be read: {error.strerror}") from error

        try:
            data = await self._in_thread(read)
        finally:
            held.release()
        if len(data) < count:
            raise BodyAborted("the file has become shorter while it was sent")
        return data

    def _close(self) -> None:
        parts, self._parts = self._parts, ()
        for part in parts:
            if isinstance(part, FileSlice):
                part.file.release()

    def __del__(self) -> None:
        self._close()  # nobody may have asked for the chunks


class PacedChunks(AsyncBody):
    """An AsyncBody whose pieces wait for their time."""

    def __init__(self, inner: AsyncBody, buckets: Buckets) -> None:
        self._inner = inner
        self._buckets = buckets
        self.made = inner.made

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        Errors: as the inner body's.
        """
        most = self._buckets.piece_bytes
        chunks = self._inner.chunks()
        try:
            async for chunk in chunks:
                for offset in range(0, len(chunk), most):
                    piece = chunk[offset : offset + most]
                    await self._buckets.wait_for(len(piece))
                    yield piece
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    def trailers(self) -> Fields:
        """Those of the inner body."""
        return self._inner.trailers()


class PacedPush(ChangedPush):
    """Pushed bytes that wait for their time, after what another filter makes of them."""

    def __init__(self, inner: PushedBody, buckets: Buckets) -> None:
        self._inner = inner if isinstance(inner, ChangedPush) else None
        self._buckets = buckets
        self.piece_bytes = buckets.piece_bytes

    async def change(self, data: bytes) -> bytes:
        """See model.body.ChangedPush."""
        if self._inner is not None:
            data = await self._inner.change(data)
        await self._buckets.wait_for(len(data))
        return data

    async def last(self) -> bytes:
        """See model.body.ChangedPush."""
        return b"" if self._inner is None else await self._inner.last()

    def close(self) -> None:
        """See model.body.ChangedPush."""
        if self._inner is not None:
            self._inner.close()


class PacedExchange:
    """An Exchange whose request body comes no faster than its buckets let it."""

    def __init__(self, inner: Exchange, buckets: Buckets) -> None:
        self._inner: Any = inner
        self._buckets = buckets
        self._tunnel = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def receive(self, *, ahead: bool = False) -> bytes:
        """See Exchange. What came waits until as much may have come; so no more may come ahead of that."""
        data: bytes = await self._inner.receive()
        if data and not self._tunnel:
            await self._buckets.wait_for(len(data))
        return data

    async def upgrade(self, protocol: bytes, fields: Fields) -> None:
        """See Exchange."""
        await self._inner.upgrade(protocol, fields)
        self._tunnel = True


def check(settings: BandwidthConfig, _base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    names = [name for name in settings.__struct_fields__ if getattr(settings, name) is not None]
    return () if names else ["limits nothing; set connection, stream or site, or the same for uploads"]


def build(settings: BandwidthConfig, context: BuildContext) -> Filter | None:
    """The filter; what slows uploads down goes around the handler.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    down, up = context.shared(settings, lambda: _limits(settings, context))
    if up is not None:
        context.around.append(lambda handler: _uploads(handler, up))
    return None if down is None else _downloads(down, context.in_thread)


def _limits(settings: BandwidthConfig, context: BuildContext) -> tuple[Limits | None, Limits | None]:
    def limits(connection: Rate | None, stream: Rate | None, site: Rate | None) -> Limits | None:
        return Limits(connection, stream, site, context) if connection or stream or site else None

    return (
        limits(settings.connection, settings.stream, settings.site),
        limits(settings.upload_connection, settings.upload_stream, settings.upload_site),
    )


def _downloads(limits: Limits, in_thread: InThread) -> Filter:
    def bandwidth(request: Request, _facts: Facts, response: Response) -> Response:
        body = response.body
        if request.method == "HEAD" or response.status in BODYLESS_STATUSES or not body:
            return response
        buckets = limits.of(request)
        paced: AsyncBody
        if isinstance(body, PushedBody):
            paced = PacedPush(body, buckets)
        elif isinstance(body, AsyncBody):
            paced = PacedChunks(body, buckets)
        elif buckets.take(len(body) if isinstance(body, bytes) else body.length):
            return response
        else:
            paced = PacedBody(body.parts if isinstance(body, Parts) else (body,), buckets, in_thread)
        return Response(response.status, response.fields, paced, content_length=response.content_length)

    return bandwidth


def _uploads(handler: Handler, limits: Limits) -> Handler:
    def paced(request: Request, facts: Facts) -> Response | Deferred:
        answer = handler(request, facts)
        if not isinstance(answer, Deferred) or not request.has_body:
            return answer
        run = answer.run
        buckets = limits.of(request)
        return Deferred(lambda exchange: run(cast("Exchange", PacedExchange(exchange, buckets))))

    return paced


FEATURE = Feature(name="bandwidth", kind="filter", config_class=BandwidthConfig, build=build, check=check)
