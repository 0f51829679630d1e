"""What the settings of FastCGI, SCGI and uwsgi have in common: an application behind an address, or started by us."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import trio

from securelight.handlers.cgi_back_end import BackEnd, CgiConnection, CheckedBackEnd
from securelight.handlers.cgi_call import Application
from securelight.handlers.cgi_route import ScriptFinder, gateway, question_of
from securelight.handlers.proxy_settings import Count, ProxyConnections, ProxyTimeouts, Seconds
from securelight.handlers.sendfile import SendfileConfig, faults as sendfile_faults, make_sendfile
from securelight.handlers.upstream_group import UpstreamGroup
from securelight.handlers.upstream_settings import (
    BalanceConfig,
    balance_faults,
    check_rules,
    health_rules,
    key_of,
    reporter,
    sticky_cookie,
)
from securelight.model.errors import Refusal
from securelight.model.uri import parse_target
from securelight.upstream.address import Resolver
from securelight.upstream.balance import BALANCERS
from securelight.upstream.cgi_address import parse_upstream, variable_faults
from securelight.upstream.faults import ConnectFailed
from securelight.upstream.health import Health
from securelight.upstream.pool import Pool
from securelight.upstream.service import UpstreamService
from securelight.upstream.spawner import Spawner, SpawnRules
from securelight.upstream.spool import SpoolConfig, SpoolRoom, spool_faults
from securelight.upstream.stream import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from securelight.pipeline.compile import BuildContext, EventLog
    from securelight.pipeline.stage import Handler
    from securelight.upstream.stream import ByteStream

    Make = Callable[[ByteStream, Callable[[str], None]], CgiConnection]
    Connect = Callable[[], Awaitable[CgiConnection]]
    _Way = tuple[str, Connect, Pool[CgiConnection]]
    """The name of an application, what opens a connection to it, and those that it has."""

PATH = "/usr/local/bin:/usr/bin:/bin"
"""The search path of processes that we start, unless they are given another."""


class SpawnConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`spawn`: processes that each worker starts, with the listening socket as their standard input."""

    command: tuple[str, ...]
    """The program, an absolute path, and its arguments. There is no shell."""
    minimum: Count = 1
    """Processes that are always there, for each worker."""
    maximum: Count = 1
    """Processes of each worker when there is much to do."""
    requests: Count = 1
    """That one process takes at the same time."""
    idle_seconds: Seconds = 30.0
    """Without a request, after which there are `minimum` processes again."""
    directory: str = "."
    """Where they run, relative to the file that this stands in."""
    environment: dict[str, str] = {}
    """All that they get of one, beside PATH."""


class UpstreamConfig(BalanceConfig, frozen=True, forbid_unknown_fields=True):
    """The keys that each of them has."""

    upstream: str = ""
    """Where it listens: `unix:/run/app.sock` or `127.0.0.1:9000`."""
    upstreams: Annotated[tuple[str, ...], msgspec.Meta(max_length=256)] = ()
    """Instead of `upstream`: where several of the same application listen."""
    spawn: SpawnConfig | None = None
    """Instead of `upstream`: start it."""
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    """More variables; they win over our own."""
    timeouts: ProxyTimeouts = ProxyTimeouts()
    connections: ProxyConnections = ProxyConnections()
    sendfile: SendfileConfig = SendfileConfig()
    spool: SpoolConfig = SpoolConfig()


_WITHOUT: Final = BalanceConfig()
_OF_SEVERAL: Final = ("weights", "balance", "hash_name", "sticky_cookie", "sticky_secret_file", "health")
"""Of no use where the server starts the application: there is one, and its processes are seen to."""


def common_faults(settings: UpstreamConfig, base: Path) -> list[str]:
    """What is wrong with those keys, besides their types."""
    faults = variable_faults(settings.variables) + sendfile_faults(settings.sendfile, base)
    faults += spool_faults(settings.spool, base)
    spawn = settings.spawn
    if bool(settings.upstream) + bool(settings.upstreams) + (spawn is not None) != 1:
        faults.append(
            "name either upstream, the address of an application, or upstreams, those of several, "
            "or spawn, what starts one"
        )
    if spawn is not None:
        faults += _spawn_faults(spawn, base)
        faults += [
            f"{key} is of use with upstream and upstreams only, not with spawn"
            for key in _OF_SEVERAL
            if getattr(settings, key) != getattr(_WITHOUT, key)
        ]
        return faults
    for name in upstreams_of(settings):
        try:
            parse_upstream(name)
        except ValueError as error:
            faults.append(f"{'upstreams' if settings.upstreams else 'upstream'}: {error}")
    faults += balance_faults(settings, upstreams_of(settings), base)
    path = settings.health.path
    if path.startswith("/"):
        try:
            parse_target(path.encode())
        except Refusal:
            faults.append(f"health.path {path!r} can't be asked for: write it as clients do, such as '/ping'")
    return faults


def upstreams_of(settings: UpstreamConfig) -> tuple[str, ...]:
    """The addresses, however they were written; none for what is started here."""
    return settings.upstreams or ((settings.upstream,) if settings.upstream else ())


def _spawn_faults(spawn: SpawnConfig, base: Path) -> list[str]:
    faults = []
    program = spawn.command[0] if spawn.command else ""
    if not os.path.isabs(program) or not os.path.isfile(program) or not os.access(program, os.X_OK):
        faults.append(f"spawn.command: {program!r} is not the path of an executable file")
    if any("\0" in part for part in (*spawn.command, *spawn.environment, *spawn.environment.values())):
        faults.append("spawn: a zero byte")
    faults += [
        f"spawn.environment: {name!r} is not the name of a variable"
        for name in spawn.environment
        if not name or "=" in name
    ]
    if spawn.minimum > spawn.maximum:
        faults.append("spawn.minimum is more than spawn.maximum")
    if not (base / spawn.directory).is_dir():
        faults.append(f"spawn.directory {spawn.directory!r} is not a directory")
    return faults


def handler_of(settings: UpstreamConfig, make: Make, finder: ScriptFinder, context: BuildContext) -> Handler:
    """The handler of a route; appends what runs beside to `context.services`.

    Args:
        settings: without faults.
        make: turns a connected stream into a connection of the protocol; told where error output goes.
        finder: of scripts.
        context: of the route.
    """
    limits, events, health = context.limits, context.events, settings.health
    names = upstreams_of(settings)
    question = question_of(finder, settings.variables, context.route_path, context.in_thread)
    rules = health_rules(health, len(names))
    members = [
        CheckedBackEnd(
            name,
            pool,
            settings.weights.get(name, 1),
            Health(rules, reporter(events, name)),
            connect=connect_one,
            question=question,
            limits=limits,
        )
        for name, connect_one, pool in (
            [_spawned(settings, settings.spawn, make, context)]
            if settings.spawn is not None
            else [_listening(settings, name, make, context) for name in names]
        )
    ]
    group: UpstreamGroup[BackEnd] = UpstreamGroup(
        members,
        BALANCERS[settings.balance](),
        key_of(settings, lambda _request, facts: facts.client_address),
        sticky=sticky_cookie(settings, context.base, members),
        failure_statuses=health.failure_statuses,
        retries=settings.retries,
        try_seconds=settings.try_seconds,
        events=events,
    )
    context.services.append(UpstreamService(members, check_rules(health), settings.connections.idle_seconds))
    sendfile = make_sendfile(settings.sendfile, context.base, limits, events)
    spool = SpoolRoom(settings.spool, context.base) if settings.spool.when != "never" else None
    application = Application(members[0].name, settings.timeouts, limits, events, sendfile, spool=spool)
    return gateway(application, group, finder, settings.variables)


def _listening(settings: UpstreamConfig, name: str, make: Make, context: BuildContext) -> _Way:
    """An application at an address."""
    resolver = Resolver(parse_upstream(name), settings.connections.resolve_seconds)
    seconds, receive_bytes = settings.timeouts.connect_seconds, context.limits.upstream_buffer_bytes
    log = _log_of(context.events, name)

    async def connect_one() -> CgiConnection:
        with trio.move_on_after(seconds):
            return make(await connect(await resolver.addresses(), seconds, receive_bytes), log)
        raise ConnectFailed(f"no connection within {seconds:g} s", late=True)

    return name, connect_one, _pool(settings, connect_one, settings.connections.maximum)


def _spawned(settings: UpstreamConfig, spawn: SpawnConfig, make: Make, context: BuildContext) -> _Way:
    """One that is started here."""
    name = spawn.command[0]
    seconds, receive_bytes = settings.timeouts.connect_seconds, context.limits.upstream_buffer_bytes
    log = _log_of(context.events, name)

    async def connect_one() -> CgiConnection:
        return make(await spawner.connect(seconds, receive_bytes), log)

    pool = _pool(settings, connect_one, min(settings.connections.maximum, spawn.maximum * spawn.requests))
    rules = _spawn_rules(spawn, context.base)
    spawner = Spawner(rules, context.events.warning, lambda: -(-pool.active // spawn.requests), pool.drop_idle)
    context.services.append(spawner)
    return name, connect_one, pool


def _pool(settings: UpstreamConfig, connect_one: Connect, maximum: int) -> Pool[CgiConnection]:
    rules = settings.connections
    return Pool(
        connect_one,
        maximum=maximum,
        idle_maximum=rules.idle,
        idle_seconds=rules.idle_seconds,
        queue=rules.queue,
        queue_seconds=rules.queue_seconds,
    )


def _log_of(events: EventLog, name: str) -> Callable[[str], None]:
    return lambda text: events.warning("application error output", upstream=name, text=text)


def _spawn_rules(spawn: SpawnConfig, base: Path) -> SpawnRules:
    environment = {"PATH": PATH, **spawn.environment}
    return SpawnRules(
        spawn.command,
        spawn.minimum,
        spawn.maximum,
        spawn.idle_seconds,
        {os.fsencode(key): os.fsencode(value) for key, value in environment.items()},
        str((base / spawn.directory).absolute()),
    )
