"""Asks a server behind us about a request before it goes on: a question without a body, an answer of a bounded size.

Owns the connections and the time; what the answer means is for who asked. A question is asked again only where the
connection was an old one that had ended before anybody could see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from securelight.upstream.endpoint import Endpoint
from securelight.upstream.faults import UpstreamBroken, UpstreamLate
from securelight.upstream.health import CheckRules, HealthRules
from securelight.upstream.service import UpstreamService

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.model.headers import Field, Fields
    from securelight.model.limits import Limits
    from securelight.upstream.address import Address
    from securelight.upstream.endpoint import ConnectionRules
    from securelight.upstream.exchange import UpstreamExchange


class SubResponse(NamedTuple):
    """What was answered.

    Attributes:
        status: final, 200 to 599.
        fields: all of them, names in lower case.
        body: whole; empty for 2xx, of which nobody needs it.
    """

    status: int
    fields: Fields
    body: bytes


class SubRequests:
    """One server that is asked.

    Args:
        address: of the server.
        rules: of the connections.
        seconds: for one answer, a place among the connections included.
        limits: the server's bounds.

    Attributes:
        service: keeps the connections; one of the worker's services.
    """

    def __init__(self, address: Address, rules: ConnectionRules, seconds: float, limits: Limits) -> None:
        self._endpoint = Endpoint(address, 1, rules, HealthRules(failures=0), limits, lambda _change, _why: None)
        self._seconds = seconds
        self._most = limits.upstream_buffer_bytes
        self.service = UpstreamService([self._endpoint], CheckRules(), rules.idle_seconds)

    async def ask(self, target: bytes, fields: Sequence[Field]) -> SubResponse:
        """The answer to a GET of `target`.

        Args:
            target: path and query.
            fields: without Host, which names the server itself.

        Errors: UpstreamFault: ConnectFailed, PoolFull, UpstreamBroken, UpstreamLate.
        """
        with trio.move_on_after(self._seconds):
            exchange, reused = await self._endpoint.acquire()
            try:
                return await self._ask_one(exchange, target, fields)
            except UpstreamBroken as fault:
                if not reused or not (fault.unread or fault.unprocessed):
                    raise
            exchange, _reused = await self._endpoint.acquire(fresh=True)
            return await self._ask_one(exchange, target, fields)
        raise UpstreamLate(f"no answer within {self._seconds:g} s")

    async def _ask_one(self, exchange: UpstreamExchange, target: bytes, fields: Sequence[Field]) -> SubResponse:
        host = self._endpoint.address.authority.encode("ascii")
        try:
            await exchange.send_head("GET", target, [(b"host", host), *fields], length=None, has_body=False)
            head = await exchange.receive_head()
            while head.status < 200:
                head = await exchange.receive_head()
            needed = head.status >= 300
            body = bytearray(exchange.take())
            size = len(body)
            while not exchange.whole:
                if size > self._most:
                    if needed:
                        raise UpstreamBroken(f"an answer of more than {self._most} bytes")
                    break
                data = await exchange.receive()
                size += len(data)
                if needed:
                    body += data
            if needed and size > self._most:
                raise UpstreamBroken(f"an answer of more than {self._most} bytes")
        finally:
            self._endpoint.release(exchange)
        return SubResponse(head.status, head.fields, bytes(body) if needed else b"")
