"""`securelight check`: everything that is wrong with a configuration, at once, without starting anything.

Beyond what loading it finds: files and folders that features name, certificates and keys, users, engines. Faults and
warnings go to stderr, a line each; the verdict goes to stdout.
"""

from __future__ import annotations

import datetime
import grp
import json
import os
import pwd
import shutil
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from securelight.cli.certificate_checks import check_certificates
from securelight.cli.config_option import config_option
from securelight.cli.explain_request import Asked, explain
from securelight.cli.geoip_checks import geoip_faults
from securelight.cli.loose_checks import loose_warnings, sandbox_faults
from securelight.cli.main import COMMANDS
from securelight.config.environment import place_of, unknown_variables
from securelight.config.explain import schema_json
from securelight.config.faults import printable, quoted
from securelight.config.load import load_leniently
from securelight.features import FEATURES
from securelight.model.errors import ConfigError
from securelight.model.extras import install_command
from securelight.model.limits import Limits
from securelight.protocol.engine import native_available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from securelight.config.schema import Config, ServerConfig

EPILOG: Final = """\b
Examples:
  securelight check -c securelight.toml     one file, and the conf.d/*.toml beside it
  securelight check -c /etc/securelight     every *.toml of a folder
  securelight check --json                  for scripts
  securelight check --schema > schema.json  a JSON Schema, for editors
  securelight check --explain https://localhost/a -H 'Accept: text/html' --from 192.0.2.1

\b
Exit codes:
  0  good, perhaps with warnings
  1  it has faults: run would not start, reload would change nothing
  2  the command was not understood
"""
_LOOSER_WHEN_SMALLER: Final = frozenset({"body_minimum_bytes_per_second"})


class Findings(NamedTuple):
    """What there is to tell about a configuration."""

    config: Config
    """All that is good of it."""
    faults: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]


def examine(path: Path, environment: Mapping[str, str]) -> Findings:
    """Find everything that is wrong with the configuration `path`, or that is probably not meant."""
    config, found, server_where = load_leniently(path, FEATURES, environment)

    def place(*keys: str) -> str:
        return str(place_of(keys, environment, server_where))

    faults = [*found, *_server_faults(config.server, place), *sandbox_faults(config), *_feature_faults(config)]
    faults += geoip_faults(config, place)
    warnings = [*_environment_warnings(environment), *_limit_warnings(config.server, place)]
    warnings += loose_warnings(config, place)
    now = datetime.datetime.now(datetime.UTC)
    for site in config.sites:
        for finding in check_certificates(site, now):
            (faults if finding.is_fault else warnings).append(ConfigError(finding.where, finding.what))
    return Findings(config, tuple(_distinct(faults)), tuple(_distinct(warnings)))


def _distinct(errors: Iterable[ConfigError]) -> Iterable[ConfigError]:
    """Without repetitions: a site's filter is in each of its routes, a certificate may serve several sites."""
    return {str(error): error for error in errors}.values()


def _feature_faults(config: Config) -> list[ConfigError]:
    checks = {feature.name: feature.check for feature in FEATURES}
    return [
        ConfigError(item.where, what)
        for site in config.sites
        for route in site.routes
        for item in route.features
        for what in checks[item.name](item.settings, site.base)
    ]


def _server_faults(server: ServerConfig, place: Callable[..., str]) -> list[ConfigError]:
    faults = []
    if server.user and not _exists(pwd.getpwnam, server.user):
        faults.append(ConfigError(place("user"), f"this machine has no user {quoted(server.user)}"))
    if server.group and not _exists(grp.getgrnam, server.group):
        faults.append(ConfigError(place("group"), f"this machine has no group {quoted(server.group)}"))
    if server.engine == "native" and not native_available():
        what = f"the native engine is not installed; run: {install_command('fast')}"
        faults.append(ConfigError(place("engine"), what))
    if server.state_directory and not Path(server.state_directory).is_dir():
        faults.append(ConfigError(place("state_directory"), f"there is no folder {quoted(server.state_directory)}"))
    log = server.access_log
    folder = Path(log.file).parent
    if log.command and shutil.which(log.command[0]) is None:
        what = f"there is no program {quoted(log.command[0])}"
        faults.append(ConfigError(place("access_log", "command"), what))
    if log.format != "off" and log.file != "-" and not folder.is_dir():
        faults.append(ConfigError(place("access_log", "file"), f"there is no folder {quoted(str(folder))}"))
    return faults


def _exists(find: Callable[[str], object], name: str) -> bool:
    try:
        find(name)
    except KeyError:
        return False
    return True


def _environment_warnings(environment: Mapping[str, str]) -> list[ConfigError]:
    prefixes = (f"SECURELIGHT_{name.upper()}_" for name in COMMANDS)
    return unknown_variables(environment, prefixes)


def _limit_warnings(server: ServerConfig, place: Callable[..., str]) -> list[ConfigError]:
    warnings = []
    for item in fields(Limits):
        value = getattr(server.limits, item.name)
        smaller_is_looser = item.name in _LOOSER_WHEN_SMALLER
        if (value < item.default) if smaller_is_looser else (value > item.default):
            what = f"{value} is looser than the default, {item.default} {item.metadata['unit']}"
            warnings.append(ConfigError(place("limits", item.name), f"{what} ({item.metadata['reason']})"))
    return warnings


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _print_text(path: Path, findings: Findings) -> None:
    for fault in findings.faults:
        click.secho(str(fault), fg="red", err=True)
    for warning in findings.warnings:
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    name = printable(str(path), 300)
    warned = f", {_count(len(findings.warnings), 'warning')}" if findings.warnings else ""
    if findings.faults:
        click.echo(f"{name}: {_count(len(findings.faults), 'fault')}{warned}")
        return
    config = findings.config
    hosts = sum(len(site.hosts) for site in config.sites)
    click.secho(
        f"{name}: good: {_count(len(config.sites), 'site')} for {_count(hosts, 'host')} in "
        f"{_count(len(config.files), 'file')}{warned}",
        fg="green",
    )


def _print_json(findings: Findings) -> None:
    def listed(errors: Iterable[ConfigError]) -> list[dict[str, str]]:
        return [{"where": error.where, "what": error.what} for error in errors]

    report = {
        "good": not findings.faults,
        "faults": listed(findings.faults),
        "warnings": listed(findings.warnings),
        "files": [str(file) for file in findings.config.files],
    }
    click.echo(json.dumps(report, indent=2))


@click.command(epilog=EPILOG)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, on stdout.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of configuration files, and check nothing.")
@click.option("--explain", "url", metavar="URL", help="Tell which site, route and rules a request meets.")
@click.option("-H", "--header", "headers", multiple=True, help="With --explain: a field of the request.")
@click.option("--from", "address", default="127.0.0.1", help="With --explain: the client's address.")
@click.option("--method", default="GET", help="With --explain: the request's method.")
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    *,
    as_json: bool,
    schema: bool,
    url: str | None,
    headers: tuple[str, ...],
    address: str,
    method: str,
) -> None:
    """Check a configuration: every fault at once, certificates and keys too.

    Nothing is started or changed. Each fault is one line: the file, the key in it, what is wrong, and what would
    cure it. Lists are counted from 0: site[1] is the second [[site]] of its file.
    """
    if schema:
        click.echo(json.dumps(schema_json(FEATURES), indent=2))
        return
    findings = examine(path, os.environ)
    if url is not None and not findings.faults:
        for line in explain(findings.config, Asked(url, headers, address, method)):
            click.echo(line)
        return
    if as_json:
        _print_json(findings)
    else:
        _print_text(path, findings)
    ctx.exit(1 if findings.faults else 0)
