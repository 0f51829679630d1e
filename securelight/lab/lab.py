"""The running lab: its listeners, and the way of a connection to the case that it is for.

One TLS port is shared by all cases that a certificate decides: the ClientHello's server name says which one is meant,
and without a name, or with one that nobody knows, the index page answers. Cases whose fault lies below have a port of
their own. Endpoints are built when they are first asked for, in a thread, and anew each day, so nothing goes stale.
"""

from __future__ import annotations

import dataclasses
import ssl
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final

import trio

from securelight.lab.case import Case, Endpoint, Verdict
from securelight.lab.catalogue import OFFERED
from securelight.lab.endpoints import HTTP1, ContextSettings, Https
from securelight.lab.families.http import ANSWERS
from securelight.lab.http import head_of, parse_head
from securelight.lab.old_tls import load
from securelight.lab.page import case_page, index_page, list_json
from securelight.lab.visit import Answer, Places, Request, Visit
from securelight.lab.world import World
from securelight.model.errors import SecurelightError
from securelight.pki.forge import forged_pem
from securelight.tls.client_hello import ClientHello, ClientHelloReader, NeedMore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INDEX_HOST: Final = "lab.localhost"
DEFAULT_PORT: Final = 9443
MAXIMUM_CONNECTIONS: Final = 256
"""At a time, on all ports together; more wait."""

CONNECTION_SECONDS: Final = 90.0
"""For one connection; cases that hang do so for 60."""

HELLO_BYTES: Final = 64 * 1024
HELLO_SECONDS: Final = 15.0
MAXIMUM_HEAD_BYTES: Final = 16_384
BUILD_AGAIN_SECONDS: Final = 86_400.0


class LabError(SecurelightError):
    """The lab cannot be started as it was asked for."""


@dataclass(slots=True)
class _Built:
    """An endpoint, and when it was built."""

    endpoint: Endpoint
    at: float


@dataclass(slots=True)
class _Workshop:
    """Builds endpoints, each once a day and not twice at once."""

    world: World
    _built: dict[str, _Built] = field(default_factory=dict)
    _locks: dict[str, trio.Lock] = field(default_factory=dict)

    async def endpoint(self, case: Case) -> Endpoint:
        """Of a case."""
        async with self._locks.setdefault(case.id, trio.Lock()):
            built = self._built.get(case.id)
            if built is None or monotonic() - built.at > BUILD_AGAIN_SECONDS:
                built = _Built(await trio.to_thread.run_sync(self._build, case), monotonic())
                self._built[case.id] = built
            return built.endpoint

    def _build(self, case: Case) -> Endpoint:
        endpoint = case.build(self.world, case.host_name)
        if isinstance(endpoint, Https):
            endpoint.prepare()
        return endpoint


class Lab:
    """See the module. Use `open`, then `run`.

    Args:
        world: authorities and keys.
        cases: what is offered.

    Attributes:
        report: told of our own errors.
    """

    def __init__(self, world: World | None = None, cases: Sequence[Case] = OFFERED) -> None:
        load()
        self.world = world or World()
        self.cases = tuple(case for case in cases if not case.not_offered)
        self.places = Places("127.0.0.1", 0, 0)
        self._shared = {case.host_name: case for case in self.cases if not case.own_port}
        self._workshop = _Workshop(self.world)
        self._index = Case("lab/index", "the list of all cases", Verdict.ACCEPT, "", _index_endpoint, host=INDEX_HOST)
        self._connections = trio.CapacityLimiter(MAXIMUM_CONNECTIONS)
        self.report: Callable[[str], None] = lambda _: None
        self._listeners: list[tuple[trio.SocketListener, Case | None, bool]] = []

    @property
    def ca_pem(self) -> bytes:
        """The root that clients have to trust."""
        return forged_pem(self.world.root.certificate)

    @property
    def url(self) -> str:
        """Of the index page."""
        return self.places.url(self._index)

    @property
    def check_url(self) -> str:
        """Of an empty page, from which a browser can be made to fetch the cases."""
        return f"{self.url}check"

    async def open(self, address: str = "127.0.0.1", port: int = DEFAULT_PORT) -> None:
        """Listen: on `port` for TLS, on the next one for plain HTTP, and on those behind for cases with their own.

        Port 0 takes any free ones. Errors: LabError if one of them is taken; then none stays open.
        """
        own = [case for case in self.cases if case.own_port]
        wanted = [port + offset if port else 0 for offset in range(2 + len(own))]
        if wanted[-1] > 65_535:
            raise LabError(f"The lab needs {len(wanted)} ports, and there are not as many above {port}.")
        ports: list[int] = []
        try:
            for number, case in zip(wanted, [None, None, *own], strict=True):
                listener = await _listen(address, number)
                self._listeners.append((listener, case, len(ports) == 1))
                ports.append(listener.socket.getsockname()[1])
        except LabError:
            await self.close()
            raise
        self.places = Places(
            address, ports[0], ports[1], {case.id: number for case, number in zip(own, ports[2:], strict=True)}
        )

    async def build(self, case: Case) -> None:
        """Build a case's endpoint now, so that its first connection does not wait for it."""
        await self._workshop.endpoint(case)

    async def close(self) -> None:
        """Stop listening."""
        for listener, _, _ in self._listeners:
            with trio.CancelScope(shield=True):
                await listener.aclose()
        self._listeners.clear()

    async def run(self) -> None:
        """Serve until cancelled, then close everything."""
        try:
            async with trio.open_nursery() as nursery:
                for listener, case, plain in self._listeners:
                    nursery.start_soon(self._accept, listener, case, plain, nursery)
        finally:
            await self.close()

    async def _accept(
        self, listener: trio.SocketListener, case: Case | None, plain: bool, nursery: trio.Nursery
    ) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError:
                await trio.sleep(0.1)  # no descriptors or memory left: others have to end first
                continue
            nursery.start_soon(self._serve, stream, case, plain)

    async def _serve(self, stream: trio.SocketStream, case: Case | None, plain: bool) -> None:
        """One connection, whatever becomes of it."""
        async with self._connections, stream:
            with trio.move_on_after(CONNECTION_SECONDS):
                try:
                    if plain:
                        await self._serve_plain(stream)
                    else:
                        await self._serve_tls(stream, case)
                except (OSError, ssl.SSLError, SecurelightError, trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # that clients leave in the middle is what most cases are about
                except Exception as error:  # ours; one connection must not end the lab
                    self.report(f"{case.id if case is not None else 'the shared port'}: {error!r}")

    async def _serve_tls(self, stream: trio.SocketStream, case: Case | None) -> None:
        first = b""
        if case is None:
            case, first = await self._case_of(stream)
        endpoint = await self._workshop.endpoint(case)
        await endpoint.serve(stream, first, Visit(case, self.places, self._answer))

    async def _case_of(self, stream: trio.SocketStream) -> tuple[Case, bytes]:
        """The case that the ClientHello names, and what was read of it."""
        reader, received = ClientHelloReader(HELLO_BYTES), b""
        with trio.move_on_after(HELLO_SECONDS):
            while True:
                data = await stream.receive_some(16_384)
                received += data
                hello = reader.feed(data)
                if isinstance(hello, ClientHello):
                    return self._shared.get(hello.server_name, self._index), received
                if not data or not isinstance(hello, NeedMore):
                    break
        return self._index, received

    def _answer(self, request: Request, visit: Visit) -> Answer:
        assert visit.case is not None
        if request.path == "/favicon.ico":
            return Answer(b"", 404)
        if visit.case is self._index:
            return self._answer_index(request)
        make = ANSWERS.get(visit.case.id)
        answer = make(request, visit) if make is not None else case_page(visit, self.url)
        # Nothing here is private, and a page that checks a browser reads answers to their end.
        return dataclasses.replace(answer, fields=[*answer.fields, ("Access-Control-Allow-Origin", "*")])

    def _answer_index(self, request: Request) -> Answer:
        if request.path == "/ca.pem":
            return Answer(self.ca_pem, fields=[("Content-Type", "application/x-pem-file")])
        if request.path == "/cases.json":
            body = list_json(self.cases, self.places).encode()
            return Answer(body, fields=[("Content-Type", "application/json")])
        if request.path == "/check":
            return Answer(b"<!doctype html><title>TLS lab</title>", fields=[("Content-Type", "text/html")])
        if request.path == "/":
            return index_page(self.places)
        return Answer(b"There is nothing here.\n", 404, [("Content-Type", "text/plain")])

    async def _serve_plain(self, stream: trio.SocketStream) -> None:
        """HTTP without TLS: where redirects away from TLS lead, and CONNECT (see check)."""
        received = b""
        while b"\r\n\r\n" not in received:
            data = await stream.receive_some(4096)
            received += data
            if not data or len(received) > MAXIMUM_HEAD_BYTES:
                return
        request = parse_head(received)
        if request is None:
            return
        if request.method == "CONNECT":
            await self._tunnel(stream, request.path)
            return
        if request.path == "/":
            answer = Answer(b"This page came without TLS.\n", fields=[("Content-Type", "text/plain")])
        else:
            answer = Answer(b"There is nothing here.\n", 404, [("Content-Type", "text/plain")])
        await stream.send_all(head_of(answer) + answer.body)

    async def _tunnel(self, stream: trio.SocketStream, target: str) -> None:
        """CONNECT to a port of the lab and to nothing else, for clients that cannot look up `*.localhost`."""
        number = target.rpartition(":")[2]
        if not number.isdecimal() or int(number) not in {self.places.tls_port, *self.places.case_ports.values()}:
            await stream.send_all(head_of(Answer(b"", 403)))
            return
        async with await trio.open_tcp_stream(self.places.address, int(number)) as inner:
            await stream.send_all(b"HTTP/1.1 200 Lab\r\n\r\n")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pipe, stream, inner, nursery.cancel_scope)
                await _pipe(inner, stream, nursery.cancel_scope)


async def _pipe(source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope) -> None:
    """Copy until the end of `source`; a broken side ends both."""
    try:
        while data := await source.receive_some(65_536):
            await sink.send_all(data)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        both.cancel()


async def _listen(address: str, port: int) -> trio.SocketListener:
    try:
        [listener] = await trio.open_tcp_listeners(port, host=address)
    except OSError as error:
        raise LabError(f"{address}:{port} cannot be listened on: {error.strerror}. Choose another --port.") from error
    return listener


def _index_endpoint(world: World, host: str) -> Endpoint:
    return Https(world.leaf(host, "localhost", "127.0.0.1"), ContextSettings(alpn=(HTTP1,)))
