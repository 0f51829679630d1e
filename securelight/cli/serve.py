"""`securelight serve`: a folder or an application over HTTPS at once, with a certificate of this machine's own.

Makes what is missing (a local authority, a certificate) in a child process, chooses a free port, serves, and says at
the end where to click. Nothing is configured and nothing but the certificate folder is written.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import click

from securelight import __version__
from securelight.cli.watch_files import reloading
from securelight.config.log_settings import AccessLogConfig
from securelight.config.schema import (
    CertificateFiles,
    Config,
    Engine,
    FeatureConfig,
    ListenConfig,
    RouteConfig,
    ServerConfig,
    SiteConfig,
)
from securelight.features import FEATURES
from securelight.model.errors import CertificateError, ConfigError
from securelight.protocol.engine import choose
from securelight.server import event_log
from securelight.server.sockets import bind, parse_address, who_listens
from securelight.server.supervisor import Supervisor

PORTS_TRIED = 50
"""How many ports after a taken one are tried."""

CAREFUL = {"preset": "balanced", "hsts_seconds": 0, "cross_origin_resource_policy": "same-site"}
"""What browsers are told with files: what breaks hardly anything. No HSTS: it would count for every port."""

EXPIRING_DAYS = 30

EXAMPLES = """\b
Examples:
  securelight serve                        this folder on https://localhost:8443/
  securelight serve site                   the folder `site`
  securelight serve --app shop:app         an ASGI or WSGI application (module:attribute)
  securelight serve --app shop:app --reload    the same, loaded anew when its files change
  securelight serve --listen '*:8443'      for the whole network, both families
  securelight serve --workers 2 --access-log access.log

Exit codes: 0 stopped as asked, 1 could not start, 2 wrong usage.
"""


@click.command(epilog=EXAMPLES, short_help="Serve a folder or an application over HTTPS, without any configuration.")
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--listen", metavar="HOST:PORT", default="localhost:8443", show_default=True, help="Where to listen.")
@click.option(
    "--app", metavar="MODULE:ATTR", help="An ASGI or WSGI application instead of (or, with DIR, beside) files."
)
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that serve.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "native", "pure"]),
    default="auto",
    show_default=True,
    help="Protocol engines: native (ngh2, httptools), pure (h2, h11), or native where it is installed.",
)
@click.option("--certs", type=click.Path(path_type=Path), default=Path("certs"), show_default=True,
              help="Where the authority, certificate and keys are, or will be.")  # fmt: skip
@click.option("--access-log", metavar="FILE", default="-", show_default=True,
              help="Where requests are logged: a file, - for standard output, or off.")  # fmt: skip
@click.option("--log-format", type=click.Choice(["combined", "json"]), default="combined", show_default=True,
              help="The form of the access log.")  # fmt: skip
@click.option("--reload", is_flag=True, help="For development: load the application anew when its files change.")
def command(
    directory: Path | None,
    listen: str,
    app: str | None,
    workers: int,
    engine: str,
    certs: Path,
    access_log: str,
    log_format: str,
    *,
    reload: bool,
) -> None:
    """Serve DIRECTORY (by default this one) over HTTPS, with HTTP/2 and HTTP/1.1.

    Makes a local certificate authority and a certificate under certs/ if there are none.
    """
    event_log.configure()
    root = directory if directory is not None else Path()
    if app is None and not root.is_dir():
        raise click.UsageError(f"{root} is not a folder. Name the folder to serve: securelight serve FOLDER")
    if reload and app is None:
        raise click.UsageError("--reload is for --app: changed files of a folder are served without it")
    names = _names(listen)
    certificates = make_certificates(certs, names)
    address, sockets = _bind_near(listen)

    def load() -> Config:
        chain, key = certificates["leaf"]["chain"], certificates["leaf"]["key"]
        return zero_config(
            root=None if app is not None and directory is None else root,
            app=app,
            address=address,
            server=ServerConfig(
                workers=workers,
                engine=cast(Engine, engine),
                access_log=AccessLogConfig(
                    format="off" if access_log == "off" else log_format,
                    file=access_log if access_log != "off" else "-",
                ),
            ),
            certificate=CertificateFiles(str(Path(chain).absolute()), str(Path(key).absolute())),
            names=[name for name in certificates["leaf"]["names"] if name[-1].isalpha() and ":" not in name],
        )

    def ready(config: Config, bound: Sequence[socket.socket]) -> None:
        what = app if app is not None else str(root)
        if app is not None and directory is not None:
            what = f"{app} and {root}"
        click.echo(report(certificates, what, config, bound, moved_from=listen if address != listen else ""))

    port = parse_address(address)[1]
    supervisor = Supervisor(load, FEATURES, certs / f"serve-{port}.sock", ready, {address: sockets})
    with reloading([Path.cwd()]) if reload else contextlib.nullcontext():
        code = supervisor.run()
    sys.exit(code)


def _names(listen: str) -> list[str]:
    try:
        host, _port = parse_address(listen)
    except ConfigError as error:
        raise click.UsageError(f"--listen: {error.what}") from error
    return [] if host in ("", "0.0.0.0", "::", "localhost") else [host]  # noqa: S104 - compared, not bound


def make_certificates(directory: Path, names: Sequence[str]) -> dict[str, Any]:
    """Make or find the authority and certificate in `directory`, in a child process: what makes certificates (9 MB) is
    never loaded by a process that serves. Returns the child's report.

    Errors: CertificateError with the child's one line.
    """
    arguments = [sys.executable, "-m", "securelight.cli.make_certificates", "--json", "--directory", str(directory)]
    for name in names:
        arguments += ["--name", name]
    done = subprocess.run(  # noqa: S603 - our own module; names are arguments, no shell reads them
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        message = done.stderr.strip().splitlines()
        where, _, what = (message[-1] if message else "certificates: could not be made").partition(": ")
        raise CertificateError(where, what)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _bind_near(listen: str) -> tuple[str, list[socket.socket]]:
    """Bind `listen`, or the next free port after it; says on standard error who has the taken one.

    Errors: ConfigError.
    """
    _host, port = parse_address(listen)
    prefix = listen.rpartition(":")[0]
    for candidate in range(port, min(port + PORTS_TRIED, 65_536) if port else 1):
        address = f"{prefix}:{candidate}"
        try:
            sockets = bind(address, ListenConfig(address).backlog)
        except OSError as error:
            if error.errno == errno.EACCES:
                cure = "choose a port above 1023, or give the right with: setcap cap_net_bind_service"
                raise ConfigError("--listen", f"port {candidate} needs more rights; {cure}") from error
            if error.errno != errno.EADDRINUSE:
                raise ConfigError("--listen", f"{address} cannot be used: {error.strerror}") from error
            if candidate == port:
                owner = who_listens(port) or "another process"
                click.echo(f"Port {port} is taken by {owner}; taking the next free one.", err=True)
            continue
        bound_port = sockets[0].getsockname()[1]
        return f"{prefix}:{bound_port}", sockets
    raise ConfigError("--listen", f"no free port between {port} and {port + PORTS_TRIED - 1}")


def zero_config(
    *,
    root: Path | None,
    app: str | None,
    address: str,
    server: ServerConfig,
    certificate: CertificateFiles,
    names: Sequence[str] = (),
) -> Config:
    """The configuration that `serve` stands for: one site for every name, files or an application.

    Args:
        names: those of the certificate, so that TLS sessions of each are its own.
    """
    features = {feature.name: feature for feature in FEATURES}

    def configured(name: str, **settings: Any) -> FeatureConfig:
        feature = features[name]
        where = "--app" if name == "asgi" else "DIRECTORY"
        return FeatureConfig(name, feature.kind, feature.config_class(**settings), where)

    here = Path.cwd()
    contents: list[tuple[FeatureConfig, ...]] = []
    if app is not None:
        contents.append((configured("asgi", app=app),))  # it says itself what browsers should be careful about
    if root is not None:
        files = configured("static_file", root=str(root.absolute()))
        contents.append((files, configured("security_headers", **CAREFUL)))
    routes = [RouteConfig(path, content, "serve") for path, content in zip(("/", "/static"), contents, strict=False)]
    return Config(
        server=server,
        listens=(ListenConfig(address),),
        sites=(SiteConfig((*names, "*"), (certificate,), tuple(routes), here, "serve"),),
        base=here,
    )


def report(
    certificates: dict[str, Any], what: str, config: Config, bound: Sequence[socket.socket], *, moved_from: str
) -> str:
    """What a person is told once the server is up; the URLs come last."""
    authority, leaf, trust = certificates["authority"], certificates["leaf"], certificates["system_trust"]
    url = urls(bound)[0]
    workers = config.server.workers
    engine = choose(config.server.engine).name
    bold, dim = _style(bold=True), _style(dim=True)
    command = f"curl --cacert {_quoted(authority['certificate'])} {url}"
    lines = [
        "",
        f"{bold('securelight')} {__version__} serves {bold(what)} "
        + dim(f"(HTTP/2 and HTTP/1.1, {engine} engine, {workers} worker{'s' if workers > 1 else ''})"),
        "",
        f"  authority    {authority['certificate']} {dim('(made now)' if authority['created'] else '(as before)')}",
        f"  fingerprint  SHA-256 {authority['sha256']}",
        f"  certificate  {leaf['chain']} {dim('(made now)' if leaf['created'] else '(as before)')}",
        f"  expires      {leaf['not_after'][:10]} {dim(_days_left(leaf['not_after']))}",
        f"  names        {', '.join(leaf['names'])}",
    ]
    if trust["trusted"]:
        lines.append(f"  trusted by   this machine ({trust['store']})")
    else:
        lines.append(f"  trusted by   not by this machine's store ({trust['store'] or 'none found'}); to change that:")
        if trust["command"]:
            lines.append(f"                 {trust['command']}")
    lines += [f"  try          {command}", "  stop         Ctrl-C"]
    lines += _expiry_warnings(certificates)
    if moved_from:
        lines.append(f"  note         {moved_from} was taken")
    lines += ["", *(f"  {_style(fg='green', bold=True)(one)}" for one in urls(bound)), ""]
    return "\n".join(lines)


def _expiry_warnings(certificates: dict[str, Any]) -> list[str]:
    """Both are renewed long before, so this is for those who keep the authority's key elsewhere, or locked."""
    warnings = []
    for what, part in (("authority", "authority"), ("certificate", "leaf")):
        end = certificates[part]["not_after"]
        days = (datetime.fromisoformat(end) - datetime.now(UTC)).days
        if days < EXPIRING_DAYS:
            text = f"the {what} expires in {days} days and could not be renewed; see: securelight certs list"
            warnings.append(f"  {_style(fg='yellow')('warning')}      {text}")
    return warnings


def _style(**values: Any) -> Any:
    return lambda text: click.style(text, **values)


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w./-]+", path) else "'" + path.replace("'", "'\\''") + "'"


def _days_left(not_after: str) -> str:
    days = (datetime.fromisoformat(not_after) - datetime.now(UTC)).days
    return f"(in {days} days{', renewed by the next serve' if days >= EXPIRING_DAYS else ''})"


def urls(bound: Sequence[socket.socket]) -> list[str]:
    """Clickable URLs for bound sockets: by name where it is this machine, by address where it is the network."""
    port = bound[0].getsockname()[1]
    suffix = "" if port == 443 else f":{port}"
    hosts: list[str] = []
    for sock in bound:
        address = sock.getsockname()[0]
        if address in ("127.0.0.1", "::1"):
            hosts.append("localhost")
        elif address in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            hosts += ["localhost", socket.gethostname()]
        else:
            hosts.append(f"[{address}]" if ":" in address else address)
    return [f"https://{host}{suffix}/" for host in dict.fromkeys(hosts)]
