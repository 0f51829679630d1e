"""One worker process: drops privileges, imports applications, compiles the sites, then serves in one `trio.run`.

It is forked from the supervisor with the sockets bound and the TLS contexts made. It reports READY when it can serve,
accepts once it is told to, and lives until it is told to drain, is sent SIGTERM, or the supervisor is gone.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, TypeVar

import trio

from securelight.config.schema import Config, ListenConfig
from securelight.files.content_cache import ContentCache
from securelight.model.errors import ConfigError, SecurelightError
from securelight.model.forwarded import TrustedProxies, parse_networks
from securelight.model.request import Facts
from securelight.pipeline.compile import BuildContext, CompiledSites, Feature, Service as SideService, compile_sites
from securelight.pipeline.scoreboard import Scoreboard
from securelight.protocol.engine import Engines
from securelight.server import channel, process_hardening, signals
from securelight.server.access_log import AccessLog
from securelight.server.address_limits import AddressLimits
from securelight.server.confinement import Confinement
from securelight.server.deadlines import Wheel
from securelight.server.event_log import event_log
from securelight.server.fence import Fence
from securelight.server.geo_service import GeoService, geo_databases
from securelight.server.listener import Listener
from securelight.server.log_file import LogOutputs, close_log
from securelight.server.plain_http import redirecting_sites
from securelight.server.reactor import Reactor
from securelight.server.reporter import Counters, Reporter
from securelight.server.service import Service
from securelight.server.site_logs import LogTable
from securelight.server.sockets import port_of
from securelight.server.stream_runners import StreamRunners
from securelight.server.tcp_tunnel import TcpRoutes
from securelight.tls.identity import IdentityTable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """What a worker is to do; made by the supervisor before the fork.

    Attributes:
        config: what to serve.
        features: the feature table.
        engines: the adapters.
        listens: the bound sockets, each with its configuration.
        identities: the TLS contexts.
        logs: what access logs are written to.
        end: the worker's end of the channel.
        number: of the worker, from 1, for the log.
        scoreboard: with the worker's own slot.
    """

    config: Config
    features: Sequence[Feature]
    engines: Engines
    listens: Sequence[tuple[ListenConfig, socket.socket]]
    identities: IdentityTable
    logs: LogOutputs
    end: socket.socket
    number: int
    scoreboard: Scoreboard = field(default_factory=lambda: Scoreboard(1))


def main(task: WorkerTask, confinement: Confinement) -> NoReturn:
    """The life of a worker, in the forked child; ends the process."""
    code = 1
    try:
        signals.reset_in_worker()
        process_hardening.harden_worker(task.config.server)
        if confinement.runs_code:  # which could start a thread that is not confined
            _confine(confinement, task)
        worker = Worker(task)
        if not confinement.runs_code:  # our own code reads more while it is built than when it serves
            _confine(confinement, task)
        trio.run(worker.run)
        code = 0
    except BaseException as error:
        cause = _only_cause(error)
        if isinstance(cause, SecurelightError):
            channel.send(task.end, "failed", str(cause))
        else:
            event_log("worker").error("worker failed", worker=task.number, exc_info=error)
            channel.send(task.end, "failed", f"{type(cause).__name__}: {cause}")
    finally:
        os._exit(code)  # never back into the supervisor's stack


def _only_cause(error: BaseException) -> BaseException:
    """What is in the groups that Trio's nurseries have put around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _confine(confinement: Confinement, task: WorkerTask) -> None:
    """Give up the files that are not served.

    Errors: ConfigError if the kernel refuses, and the configuration requires it.
    """
    mode, why_not = task.config.server.sandbox.mode, confinement.why_not
    if not why_not:
        try:
            confinement.enforce()
        except OSError as error:
            why_not = error.strerror or str(error)
            if mode == "required":
                raise ConfigError("server.sandbox.mode", f"workers cannot be confined: {why_not}") from error
    if task.number != 1:
        return
    if why_not and mode != "off":
        event_log("worker").info("workers are not confined to what they serve", why=why_not)
    if os.geteuid() == 0:
        event_log("worker").warning(
            "workers run as root", cure="start it as another user, or name who they become in server.user"
        )


def _access_log(logs: LogOutputs) -> AccessLog:
    descriptor = logs.plain
    return LogTable(logs.logs, logs.descriptors) if descriptor is None else AccessLog(descriptor, logs.logs[""].form)


def _read_all(descriptor: int) -> bytes:
    """What a memory file holds, from its beginning (its offset is shared with the other workers)."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


class Worker:
    """Everything inside one worker's `trio.run`."""

    def __init__(self, task: WorkerTask) -> None:
        self._task = task
        self._limits = task.config.server.limits
        self._events = event_log("worker")
        self._fence = Fence(self._events)
        self._access_log = _access_log(task.logs)
        self._access_log.events = self._events
        self._engines = task.engines
        self._threads = trio.CapacityLimiter(self._limits.worker_threads)
        balancers = [text for listen, _sock in task.listens for text in listen.proxy_protocol_from]
        proxies = [text for site in task.config.sites for text in site.trusted_proxies]
        trusted = dict.fromkeys(balancers + proxies)
        self._tcp = TcpRoutes(task.config.tcp, self._limits) if task.config.tcp else None
        self._addresses = AddressLimits(self._limits, TrustedProxies(parse_networks(tuple(trusted))))
        self._starting = trio.CancelScope()
        self._serve_told = trio.Event()
        self._drain = trio.Event()
        context = BuildContext(
            self._limits,
            ContentCache(self._limits),
            self._events,
            in_thread=self._in_thread,
            sleep=trio.sleep,
            workers=task.config.server.workers,
            scoreboard=task.scoreboard,
        )
        if task.config.server.geoip.databases:
            context.geo = geo_databases(task.config.server.geoip.databases, self._events)
            Facts.find_place = context.geo.facts_of
            context.services.append(GeoService(context.geo, self._in_thread))
        self._sites = compile_sites(task.config, task.features, context)
        self._side_services = context.services
        self._listeners: Sequence[Listener] = ()
        self._content_cache = context.content_cache
        if task.scoreboard.wanted:
            self._access_log.counters = Counters()

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function, limiter=self._threads)

    async def run(self) -> None:
        """Start what runs beside the requests, say READY, wait to be told to serve, and serve until drained.

        Errors: whatever stops a side service before it is ready.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._access_log.run)
            nursery.start_soon(self._follow_supervisor)
            nursery.start_soon(self._follow_signals)
            if self._access_log.counters is not None:
                nursery.start_soon(self._report, self._access_log.counters)
            with self._starting:
                for service in self._side_services:
                    await nursery.start(self._run_side_service, service)
                channel.send(self._task.end, "ready")
                await self._serve_told.wait()
            if not self._drain.is_set():
                await self._serve()
            nursery.cancel_scope.cancel()

    async def _serve(self) -> None:
        self._listeners = listeners = [
            Listener(sock, self._service_maker(listen, port_of(sock))) for listen, sock in self._task.listens
        ]
        async with trio.open_nursery() as serving:
            for listener in listeners:
                serving.start_soon(listener.run)
            serving.start_soon(self._stop_when_told, listeners, serving.cancel_scope)

    async def _report(self, counters: Counters) -> None:
        task = self._task
        reporter = Reporter(task.scoreboard, task.number, counters, lambda: self._listeners, self._side_services)
        await reporter.run(self._fence, self._content_cache, self._threads)

    async def _run_side_service(
        self, service: SideService, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await service.run(task_status.started)

    def _service_maker(self, listen: ListenConfig, port: int) -> Callable[[Reactor, Wheel, trio.Nursery], Service]:
        plain = listen.plain_http == "redirect"
        balancers = TrustedProxies(parse_networks(listen.proxy_protocol_from))
        plain_sites: CompiledSites = redirecting_sites(self._limits, listen.redirect_port if plain else port)

        def make(reactor: Reactor, wheel: Wheel, nursery: trio.Nursery) -> Service:
            return Service(
                limits=self._limits,
                sites=self._sites,
                plain_sites=plain_sites,
                engines=self._engines,
                identities=None if plain else self._task.identities,
                access_log=self._access_log,
                fence=self._fence,
                reactor=reactor,
                wheel=wheel,
                nursery=nursery,
                runners=StreamRunners(nursery, self._fence, reactor),
                threads=self._threads,
                addresses=self._addresses,
                proxied_from=balancers if balancers else None,
                tcp=self._tcp,
            )

        return make

    async def _stop_when_told(self, listeners: Sequence[Listener], serving: trio.CancelScope) -> None:
        await self._drain.wait()
        for listener in listeners:
            listener.drain()
        for _listen, sock in self._task.listens:
            sock.close()  # where nobody else listens, clients are refused at once instead of left to wait
        channel.send(self._task.end, "closed")
        with trio.move_on_after(self._limits.graceful_stop_seconds) as limit:
            for listener in listeners:
                await listener.ended.wait()
        if limit.cancelled_caught:
            cut = sum(listener.connections for listener in listeners)
            self._events.warning("connections cut at the end of the graceful stop", connections=cut)
        serving.cancel()

    def _begin_drain(self) -> None:
        self._task.scoreboard.draining = True
        self._drain.set()
        self._starting.cancel()

    async def _follow_supervisor(self) -> None:
        end = self._task.end
        while True:
            await trio.lowlevel.wait_readable(end)
            try:
                message = channel.receive(end)
            except BlockingIOError:
                continue
            if message is None:
                self._begin_drain()
                return
            self._act_on(message)

    def _act_on(self, message: channel.Message) -> None:
        if message.kind == "serve":
            self._serve_told.set()
        elif message.kind == "drain":
            self._begin_drain()
        elif message.kind == "reopen":
            close_log(self._access_log.reopen(message.descriptors[0], int(message.text)))
            return
        elif message.kind == "certificate":
            try:
                identities = self._task.identities
                chain, key = (_read_all(descriptor) for descriptor in message.descriptors)
                identities.replace(identities.pairs[int(message.text)], chain, key)
            except SecurelightError as error:  # the supervisor proved it; if it fails here the old pair stays
                self._events.error("certificate not taken over", why=str(error))
        channel.close_all(message.descriptors)

    async def _follow_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as received:
            async for _number in received:
                channel.send(self._task.end, "leaving")
                self._begin_drain()
