"""What the settings of FastCGI, SCGI and uwsgi have in common: an application behind an address, or started by us."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from securelight.handlers.cgi_call import Application, CgiConnection
from securelight.handlers.cgi_route import IdleConnections
from securelight.handlers.proxy_settings import Count, ProxyConnections, ProxyTimeouts, Seconds
from securelight.handlers.sendfile import SendfileConfig, faults as sendfile_faults, make_sendfile
from securelight.upstream.address import Resolver
from securelight.upstream.cgi_address import parse_upstream, variable_faults
from securelight.upstream.pool import Pool
from securelight.upstream.spawner import Spawner, SpawnRules
from securelight.upstream.spool import SpoolConfig, SpoolRoom, spool_faults
from securelight.upstream.stream import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from securelight.pipeline.compile import BuildContext
    from securelight.upstream.stream import ByteStream

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


class UpstreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that each of them has."""

    upstream: str = ""
    """Where it listens: `unix:/run/app.sock` or `127.0.0.1:9000`."""
    spawn: SpawnConfig | None = None
    """Instead of `upstream`: start it."""
    variables: dict[str, str] = {}
    """More variables; they win over our own."""
    timeouts: ProxyTimeouts = ProxyTimeouts()
    connections: ProxyConnections = ProxyConnections()
    sendfile: SendfileConfig = SendfileConfig()
    spool: SpoolConfig = SpoolConfig()


def common_faults(settings: UpstreamConfig, base: Path) -> list[str]:
    """What is wrong with those keys, besides their types."""
    faults = variable_faults(settings.variables) + sendfile_faults(settings.sendfile, base)
    faults += spool_faults(settings.spool, base)
    spawn = settings.spawn
    if bool(settings.upstream) == (spawn is not None):
        faults.append("name either upstream, the address of an application, or spawn, what starts one")
    elif spawn is not None:
        faults += _spawn_faults(spawn, base)
    else:
        try:
            parse_upstream(settings.upstream)
        except ValueError as error:
            faults.append(f"upstream: {error}")
    return faults


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


def back_end(
    settings: UpstreamConfig, make: Callable[[ByteStream, Callable[[str], None]], CgiConnection], context: BuildContext
) -> tuple[Application, Pool[CgiConnection]]:
    """The application of a route, and the connections to it; appends what runs beside to `context.services`.

    Args:
        settings: without faults.
        make: turns a connected stream into a connection of the protocol; told where error output goes.
        context: of the route.
    """
    timeouts, rules, limits, events = settings.timeouts, settings.connections, context.limits, context.events
    spawn = settings.spawn
    name = settings.upstream if spawn is None else spawn.command[0]
    open_stream: Callable[[float, int], Awaitable[ByteStream]]

    def log(text: str) -> None:
        events.warning("application error output", upstream=name, text=text)

    async def open_connection() -> CgiConnection:
        return make(await open_stream(timeouts.connect_seconds, limits.upstream_buffer_bytes), log)

    pool: Pool[CgiConnection] = Pool(
        open_connection,
        maximum=rules.maximum if spawn is None else min(rules.maximum, spawn.maximum * spawn.requests),
        idle_maximum=rules.idle,
        idle_seconds=rules.idle_seconds,
        queue=rules.queue,
        queue_seconds=rules.queue_seconds,
    )
    if spawn is None:
        open_stream = _connector(settings)
    else:
        requests = spawn.requests
        spawn_rules = _spawn_rules(spawn, context.base)
        spawner = Spawner(spawn_rules, events.warning, lambda: -(-pool.active // requests), pool.drop_idle)
        context.services.append(spawner)
        open_stream = spawner.connect
    context.services.append(IdleConnections(pool, rules.idle_seconds))
    sendfile = make_sendfile(settings.sendfile, context.base, limits, events)
    spool = SpoolRoom(settings.spool, context.base) if settings.spool.when != "never" else None
    return Application(name, timeouts, limits, events, sendfile, spool=spool), pool


def _connector(settings: UpstreamConfig) -> Callable[[float, int], Awaitable[ByteStream]]:
    resolver = Resolver(parse_upstream(settings.upstream), settings.connections.resolve_seconds)

    async def open_stream(seconds: float, receive_bytes: int) -> ByteStream:
        return await connect(await resolver.addresses(), seconds, receive_bytes)

    return open_stream


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
