"""Which files the workers of a configuration may open once they serve, and that they may open no others (Landlock).

What is served has to be named in the configuration anyway, so a worker can give up the rest: whoever took it over could
read neither keys, nor other sites of the machine, nor the home of its user, nor write anywhere, nor listen on a port.
What is open already (sockets, logs, the channel to the supervisor) is not concerned, and certificates that are renewed
come from the supervisor as descriptors.

Code of users is another matter: what an application or a CGI program opens is known to nobody here. Workers that run
some are confined only if `[server.sandbox]` lists what it needs. A feature that is not in the tables below is treated
the same, so that a new one is never broken by this.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import securelight
from securelight.config.conditions import conditions_in
from securelight.config.logs import logs_of
from securelight.model.errors import ConfigError
from securelight.server import landlock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from securelight.config.schema import Config, FeatureConfig

_OPENS_NOTHING: Final = frozenset(
    {"maintenance", "access", "rate_limit", "redirect", "rewrite", "early_hints", "request_headers", "respond"}
    | {"signed_links", "referer", "log", "bandwidth"}
    | {"status_page", "metrics", "health", "error_pages", "expires", "cors", "security_headers", "set_headers", "hsts"}
)
"""Once it is built; what such a feature reads when a worker starts is read before the rest is given up."""
_READS: Final = frozenset({"static_file", "directory_listing", "server_side_includes", "basic_auth", "digest_auth"})
_CONNECTS: Final = frozenset({"proxy", "fastcgi", "scgi", "uwsgi", "authorizer", "forward_auth"})
_RUNS_CODE: Final = frozenset({"asgi", "wsgi", "cgi"})
_WRITES: Final = frozenset({"compress", "cache", "webdav"})
_KNOWN: Final = _OPENS_NOTHING | _READS | _CONNECTS | _RUNS_CODE | _WRITES

_SYSTEM: Final = (
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/ld.so.cache",
)
"""What the interpreter and its libraries open late, beside /dev/urandom."""
_NETWORK: Final = (
    *(f"/etc/{name}" for name in ("resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "services")),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/ca-certificates"),
    *("/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/run/systemd/resolve"),
)
"""What looking up a name, and judging the certificate of a server behind us, reads."""
_PROGRAMS: Final = ("/usr", "/bin", "/sbin", "/etc/alternatives", "/etc/passwd", "/etc/group")
"""What programs that are started need beside what is listed."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """What workers may still do.

    Attributes:
        read, write: files, and folders with all that is below them.
        runs_code: whether they run applications or programs.
        connects: whether they open connections to other servers.
        why_not: why they are not confined; empty if they are.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    runs_code: bool = False
    connects: bool = False
    why_not: str = ""

    def identities(self) -> tuple[tuple[int, int] | None, ...]:
        """What is at the paths to read now: a folder that was replaced by another one is not the one that was named."""
        return tuple(_identity(path) for path in self.read)

    def enforce(self) -> None:
        """Give up the rest, in this thread and all that it starts, for good.

        Errors: OSError if the kernel refuses.
        """
        ours = landlock.RUN if self.runs_code else landlock.READ
        system = [*_SYSTEM, *(_NETWORK if self.connects else ()), *(_PROGRAMS if self.runs_code else ())]
        rules = [(path, ours) for path in (*self.read, *map(Path, system), *_python_paths())]
        rules += [(Path(path), landlock.READ) for path in ("/proc/self", "/dev/urandom")]
        rules += [(Path("/dev/null"), landlock.WRITE)]
        rules += [(path, landlock.WRITE) for path in self.write]
        landlock.restrict(rules, connects=self.connects)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _python_paths() -> set[Path]:
    """Where modules are imported from late; never the working directory, which may hold anything."""
    packages = [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    ours = [os.path.dirname(os.__file__), *packages, *securelight.__path__]
    return {Path(sys.base_prefix) / "lib", Path(sys.prefix) / "lib", *map(Path, ours)}


def plan(config: Config) -> Confinement:
    """How the workers of `config` are confined.

    Errors: ConfigError if they cannot be although the configuration requires it.
    """
    sandbox, base = config.server.sandbox, config.base
    listed = bool(sandbox.read or sandbox.write)
    read, write = [base / path for path in sandbox.read], [base / path for path in sandbox.write]
    connects, runs_code = bool(config.tcp), False
    why_not = "server.sandbox.mode is off" if sandbox.mode == "off" else ""
    read += [base / path for path in config.server.geoip.databases]
    for item, item_base in _features(config):
        settings: Any = item.settings
        runs = item.name in _RUNS_CODE or getattr(settings, "spawn", None) is not None
        if not (listed or why_not):
            why_not = _unknowable(item, settings, runs)
        runs_code |= runs
        connects |= runs or item.name in _CONNECTS or item.name not in _KNOWN
        read += [item_base / _fixed_part(text) for text in _read_by(item.name, settings)]
        write += [item_base / text for text in _written_by(item.name, settings)]
    for site in config.sites:
        conditions = [(route.when, [item.settings for item in route.features]) for route in site.routes]
        read += [site.base / one.file_exists for one in conditions_in(conditions) if one.file_exists]
    outputs = [log.output for log in logs_of(config).values() if log.output is not None]
    connects |= any(output.kind == "syslog" and output.target[0].startswith("tcp:") for output in outputs)
    if not why_not and not landlock.version():
        why_not = "this kernel has no Landlock, or it is switched off"
    if why_not and sandbox.mode == "required":
        raise ConfigError("server.sandbox.mode", f"workers cannot be confined: {why_not}")
    if why_not:
        return Confinement(why_not=why_not)
    return Confinement(tuple(dict.fromkeys(read)), tuple(dict.fromkeys(write)), runs_code, connects)


def _features(config: Config) -> Iterator[tuple[FeatureConfig, Path]]:
    for site in config.sites:
        for route in site.routes:
            for item in route.features:
                yield item, site.base


def _unknowable(item: FeatureConfig, settings: Any, runs: bool) -> str:
    """Why it is not known what `item` opens; empty if it is."""
    cure = "list in server.sandbox what it may read and write"
    if runs:
        return f"{item.where} runs a program of yours; {cure}"
    if item.name not in _KNOWN:
        return f"what {item.where} opens is not known; {cure}"
    if getattr(settings, "follow_symlinks", False):
        return f"{item.where} follows symbolic links out of its root; {cure}"
    return ""


def _read_by(name: str, settings: Any) -> Iterator[str]:
    """The paths that a feature's settings name for reading while it serves."""
    for key in ("root", "app_directory"):
        if path := getattr(settings, key, ""):
            yield path
    if name in ("basic_auth", "digest_auth"):
        yield settings.file
    sendfile = getattr(settings, "sendfile", None)
    if sendfile is not None:
        yield from (*sendfile.roots, *sendfile.locations.values())


def _written_by(name: str, settings: Any) -> Iterator[str]:
    """The folders that a feature's settings name for writing."""
    if name == "webdav":
        yield from (path for path in (settings.root, settings.state) if path and settings.writable)
    elif name in _WRITES and settings.directory:
        yield settings.directory
    spool = getattr(settings, "spool", None)
    if spool is not None and spool.directory:
        yield spool.directory


def _fixed_part(path: str) -> str:
    """Of a folder that depends on the request (`/srv/{host}`), the one that does not."""
    return os.path.dirname(path.partition("{")[0]) if "{" in path else path
