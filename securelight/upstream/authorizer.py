"""Asks an application that speaks FastCGI, in the role of an authorizer, whether a request may pass.

Source: the FastCGI specification, section 6.3. Status 200 lets it pass; `Variable-NAME` fields of that answer are what
the application behind is told. Whatever else it says goes to the client, up to one buffer. Nothing passes because
something broke.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from securelight.model.errors import Refusal
from securelight.model.response import Response
from securelight.protocol.fastcgi_records import Role
from securelight.upstream.address import Resolver
from securelight.upstream.cgi_address import parse_upstream, variable_fault
from securelight.upstream.cgi_response import CgiHead, split_head
from securelight.upstream.cgi_variables import Script, variables_of
from securelight.upstream.fastcgi_connection import FastCgiConnection
from securelight.upstream.faults import PoolFull, UpstreamBroken, UpstreamFault
from securelight.upstream.pool import Pool
from securelight.upstream.stream import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from securelight.model.limits import Limits
    from securelight.model.request import Facts, Request
    from securelight.upstream.cgi_variables import Variable

IDLE_SECONDS = 30.0
QUEUE = 256
_NOT_TOLD = frozenset({b"CONTENT_LENGTH", b"PATH_INFO", b"PATH_TRANSLATED", b"SCRIPT_NAME"})
"""Section 6.3: nobody knows yet what will answer, and its body is not for the authorizer."""
_NOT_BELIEVED = frozenset({"SCRIPT_FILENAME", "DOCUMENT_ROOT", "GATEWAY_INTERFACE"})
_VARIABLE = b"variable-"


class Authorizer:
    """One authorizer and the connections to it (a pipeline.compile.Service).

    Args:
        upstream: where it listens.
        connections: to it, at the same time.
        seconds: for one answer, a place among the connections included.
        variables: the operator's own.
        limits: the server's bounds.
        log: is told what it says on its standard error.
    """

    def __init__(
        self,
        upstream: str,
        connections: int,
        seconds: float,
        variables: Mapping[str, str],
        limits: Limits,
        log: Callable[[str], None],
    ) -> None:
        self._name = upstream
        self._seconds = seconds
        self._variables = variables
        self._limits = limits
        resolver = Resolver(parse_upstream(upstream), IDLE_SECONDS)

        async def open_connection() -> FastCgiConnection:
            stream = await connect(await resolver.addresses(), seconds, limits.upstream_buffer_bytes)
            return FastCgiConnection(stream, log, Role.AUTHORIZER)

        self._pool = Pool(
            open_connection,
            maximum=connections,
            idle_maximum=connections,
            idle_seconds=IDLE_SECONDS,
            queue=QUEUE,
            queue_seconds=seconds,
        )

    async def run(self, ready: Callable[[], None]) -> None:
        """Close connections that nobody needs, until cancelled."""
        ready()
        try:
            while True:
                await trio.sleep(IDLE_SECONDS / 2)
                self._pool.sweep()
        finally:
            self._pool.close()

    async def ask(self, request: Request, facts: Facts) -> Response | None:
        """None if the request may pass: `facts` then has what the authorizer has found out. Else the answer.

        Errors: Refusal 502, 503 and 504.
        """
        described = variables_of(request, facts, Script("", b"", ""), b"", None, self._variables)
        told = [(name, value) for name, value in described if name not in _NOT_TOLD]
        late = True
        with trio.move_on_after(self._seconds):
            try:
                head, body = await self._answer(told)
            except PoolFull as fault:
                raise self._failed(503, str(fault)) from fault
            except UpstreamFault as fault:
                raise self._failed(502, str(fault)) from fault
            late = False
        if late:
            raise self._failed(504, "no answer in time")
        if head.status != 200:
            return Response(head.status, tuple(head.fields), body)
        for name, value in head.fields:
            if name.startswith(_VARIABLE):
                self._believe(facts, name[len(_VARIABLE) :], value)
        return None

    def _failed(self, status: int, detail: str) -> Refusal:
        return Refusal(status, "Whether this is allowed could not be found out.", f"authorizer {self._name}: {detail}")

    def _believe(self, facts: Facts, lower_name: bytes, raw: bytes) -> None:
        name = lower_name.decode("ascii").replace("-", "_").upper()
        value = raw.decode("utf-8", "surrogateescape")
        if name == "REMOTE_USER":
            facts.user = value
        elif name not in _NOT_BELIEVED and not variable_fault(name, value):
            if facts.variables is None:
                facts.variables = {}
            facts.variables[name] = value

    async def _answer(self, told: Sequence[Variable]) -> tuple[CgiHead, bytes]:
        connection, reused = await self._pool.acquire()
        try:
            return await self._ask_one(connection, told)
        except UpstreamBroken as fault:
            if not reused or not (fault.unread or fault.unprocessed):
                raise
            connection, _reused = await self._pool.acquire(fresh=True)
            return await self._ask_one(connection, told)

    async def _ask_one(self, connection: FastCgiConnection, told: Sequence[Variable]) -> tuple[CgiHead, bytes]:
        most = self._limits.upstream_buffer_bytes
        answer = bytearray()
        try:
            await connection.begin(told)
            await connection.finish()
            while data := await connection.receive():
                answer += data
                if len(answer) > most:
                    raise UpstreamBroken(f"an answer of more than {most} bytes")
        finally:
            self._pool.release(connection, reusable=connection.reusable)
        try:
            split = split_head(answer, self._limits)
        except ValueError as error:
            raise UpstreamBroken(f"the head of the answer: {error}") from error
        if split is None:
            raise UpstreamBroken("the answer ended before its head did")
        head, body = split
        if head.length is not None and head.length != len(body):
            raise UpstreamBroken("the answer is not as long as announced")
        return split
