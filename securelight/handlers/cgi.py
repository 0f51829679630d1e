"""Answers requests by CGI programs (RFC 3875): a process for each request.

Owns which program a path names and under which limits it runs; the process is in cgi_process, what goes over it in
cgi_call. Refused: paths that name no executable file below the root, running as root without being told to, TRACE and
CONNECT. Programs never see a shell, our environment or our descriptors.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from securelight.files.safe_path import DocumentRoot
from securelight.handlers.cgi_back_end import CgiConnection, alone
from securelight.handlers.cgi_call import Application
from securelight.handlers.cgi_process import CgiProcess, CgiPrograms, CgiRules
from securelight.handlers.cgi_route import gateway
from securelight.handlers.proxy_settings import Count, ProxyTimeouts, Seconds
from securelight.handlers.sendfile import SendfileConfig, faults as sendfile_faults, make_sendfile
from securelight.model.errors import ConfigError, Refusal
from securelight.pipeline.compile import BuildContext, Feature
from securelight.upstream.cgi_address import variable_faults
from securelight.upstream.cgi_variables import Script, find_script
from securelight.upstream.pool import Pool
from securelight.upstream.spool import SpoolConfig, SpoolRoom, spool_faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.pipeline.stage import Handler

PATH = "/usr/local/bin:/usr/bin:/bin"
"""The search path that programs get, unless `variables` has one."""
_OURS = frozenset({"SCRIPT_FILENAME", "GATEWAY_INTERFACE"})


class CgiLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cgi.limits`: what programs may use, for each worker."""

    processes: Count = 16
    """At the same time. What comes on top waits."""
    queue: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 64
    """Requests that may wait; 503 for more."""
    queue_seconds: Seconds = 5.0
    """For so long; then 503."""
    first_byte_seconds: Seconds = 60.0
    """From the end of the request to the head of the answer; then 504."""
    idle_seconds: Seconds = 60.0
    """Between two pieces of an answer, and until the program takes more of a request body."""
    total_seconds: Seconds = 600.0
    """For one request in all; then the program is killed."""
    memory_bytes: Annotated[int, msgspec.Meta(ge=0)] = 1 << 30
    """Address space of each process (RLIMIT_AS); 0 for no bound."""
    output_bytes: Annotated[int, msgspec.Meta(ge=0)] = 1 << 32
    """Of one answer; 0 for no bound."""


class CgiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cgi`: programs that are run for each request."""

    root: str = ""
    """The directory with the programs."""
    program: str = ""
    """Instead of `root`: one program that is given every path."""
    interpreters: dict[str, str] = {}
    """Programs that run scripts, by what the names of those end in, such as `".pl" = "/usr/bin/perl"`. All other files
    must be executable."""
    index: str = ""
    """The program of a directory; empty for none."""
    follow_symlinks: bool = False
    """Let symbolic links lead out of the root."""
    variables: dict[str, str] = {}
    """More of the environment; they win over our own."""
    bodies_without_length: Literal["gather", "stream"] = "gather"
    """`gather` keeps up to `upstream_buffer_bytes` of a request body whose length was not announced, 411 for more
    (`spool` takes more); `stream` passes it on without CONTENT_LENGTH, to programs that read to the end."""
    run_as_root: bool = False
    """Run programs although the worker runs as root. Better: set `server.user`."""
    limits: CgiLimits = CgiLimits()
    sendfile: SendfileConfig = SendfileConfig()
    spool: SpoolConfig = SpoolConfig()


def check(settings: CgiConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = variable_faults(settings.variables) + sendfile_faults(settings.sendfile, base)
    faults += spool_faults(settings.spool, base)
    faults += [f"variables: {name} says which program runs" for name in settings.variables if name in _OURS]
    if bool(settings.root) == bool(settings.program):
        faults.append("name either root, a directory with programs, or program, a single one")
    elif settings.root and not (base / settings.root).is_dir():
        faults.append(f"root {settings.root!r} is not a directory")
    elif settings.program:
        faults += _program_faults("program", str(base / settings.program))
    for suffix, program in settings.interpreters.items():
        if len(suffix) < 2 or suffix[0] != "." or "/" in suffix or "\0" in suffix:
            faults.append(f"interpreters: {suffix!r} must be a dot and a name, such as '.pl'")
        faults += _program_faults(f"interpreters: {suffix}", program)
    if "/" in settings.index or "\0" in settings.index:
        faults.append(f"index {settings.index!r} is not the name of a file")
    if settings.limits.memory_bytes and shutil.which("prlimit") is None:
        faults.append("limits.memory_bytes needs the program prlimit (util-linux); install it, or write 0")
    return faults


def _program_faults(key: str, program: str) -> list[str]:
    if not os.path.isabs(program) or not os.path.isfile(program) or not os.access(program, os.X_OK):
        return [f"{key}: {program!r} is not the path of an executable file"]
    return []


class ProgramFinder:
    """Finds the program of a request. Implements handlers.cgi_route.Finder.

    Args:
        root: where programs are.
        interpreted: what the names of scripts end in that an interpreter runs.
        index: the program of a directory; empty for none.
        prefix: the path of the route.
    """

    def __init__(self, root: DocumentRoot, interpreted: Sequence[str], index: str, prefix: str) -> None:
        self.root: DocumentRoot | None = root
        self._directory = root
        self._interpreted = tuple(interpreted)
        self._index = index
        self._prefix = "" if prefix == "/" else prefix

    def known(self, path: str) -> Script | None:
        """Nothing: beside what it costs to start a program, a look for it is little."""

    def find(self, path: str) -> Script:
        """The program for the request path `path`. Blocks: for a thread.

        Errors: Refusal 404.
        """
        rest = path[len(self._prefix) :]
        script = find_script(self._directory, rest, None, self._prefix)
        if script is None and self._index and rest.endswith("/"):
            script = find_script(self._directory, rest + self._index, None, self._prefix)
        if script is None:
            raise Refusal(404, "There is nothing here.", "no program below the root")
        if not os.fsdecode(script.file).endswith(self._interpreted or "\0") and not os.access(script.file, os.X_OK):
            raise Refusal(404, "There is nothing here.", f"{os.fsdecode(script.file)!r} is not executable")
        return script


class OneProgram:
    """One program for every path. Implements handlers.cgi_route.Finder.

    Args:
        program: its path.
        prefix: the path of the route.
    """

    def __init__(self, program: Path, prefix: str) -> None:
        self.root: DocumentRoot | None = None
        self._program = os.fsencode(program)
        self._prefix = "" if prefix == "/" else prefix

    def known(self, path: str) -> Script:
        """The program, whatever `path` is."""
        return Script(self._prefix, self._program, path[len(self._prefix) :])

    find = known


def build(settings: CgiConfig, context: BuildContext) -> Handler:
    """The handler.

    Errors: ConfigError for what `check` reports, and where programs would run as root.
    """
    faults = list(check(settings, context.base))
    if os.geteuid() == 0 and not settings.run_as_root:
        faults.append("programs would run as root: set server.user, or write run_as_root = true")
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    limits = settings.limits
    prefix: tuple[str, ...] = ()
    if limits.memory_bytes:
        prefix = (shutil.which("prlimit") or "prlimit", f"--as={limits.memory_bytes}", "--")
    rules = CgiRules(
        settings.interpreters,
        PATH,
        prefix,
        limits.output_bytes,
        context.limits.upstream_buffer_bytes,
        context.events,
        context.in_thread,
    )
    programs = CgiPrograms()
    context.services.append(programs)

    async def new_process() -> CgiConnection:
        return CgiProcess(rules, programs)

    pool: Pool[CgiConnection] = Pool(
        new_process,
        maximum=limits.processes,
        idle_maximum=0,
        idle_seconds=1.0,
        queue=limits.queue,
        queue_seconds=limits.queue_seconds,
    )
    finder: ProgramFinder | OneProgram
    if settings.root:
        root = DocumentRoot((context.base / settings.root).resolve(), follow_symlinks=settings.follow_symlinks)
        finder = ProgramFinder(root, tuple(settings.interpreters), settings.index, context.route_path)
    else:
        finder = OneProgram((context.base / settings.program).absolute(), context.route_path)
    name = settings.root or settings.program
    application = Application(
        name,
        ProxyTimeouts(
            first_byte_seconds=limits.first_byte_seconds,
            idle_seconds=limits.idle_seconds,
            total_seconds=limits.total_seconds,
        ),
        context.limits,
        context.events,
        make_sendfile(settings.sendfile, context.base, context.limits, context.events),
        unknown_length=settings.bodies_without_length == "stream",
        spool=SpoolRoom(settings.spool, context.base) if settings.spool.when != "never" else None,
    )
    return gateway(application, alone(name, pool, context.events), finder, settings.variables)


FEATURE = Feature(name="cgi", kind="handler", config_class=CgiConfig, build=build, check=check)
