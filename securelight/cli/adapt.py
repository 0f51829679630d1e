"""`securelight adapt`: the configuration in effect, with what is included, inherited and default written out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from securelight.cli.config_option import config_option
from securelight.config.layout import write_toml
from securelight.config.load import load
from securelight.features import FEATURES

if TYPE_CHECKING:
    from securelight.config.schema import Config, RouteConfig, SiteConfig

EPILOG: Final = """\b
Examples:
  securelight adapt -c securelight.toml          the whole configuration, as TOML
  securelight adapt | diff - before.toml         what a change has changed

\b
Exit codes:
  0  shown
  1  the configuration has faults
  2  the command was not understood
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("--print", "_print", is_flag=True, help="Print it on stdout (which is what happens anyway).")
def command(path: Path, *, _print: bool) -> None:
    """Print the configuration that is in effect.

    Everything is in one file: what conf.d has, what the environment sets, what routes inherit from their site, and all
    defaults. It can be used as a configuration again, from the same folder.
    """
    config = load(path, FEATURES, os.environ)
    click.echo(f"# In effect for {path}. Relative paths start from the folder of the file they were written in.\n")
    click.echo(write_toml(effective(config)), nl=False)


def effective(config: Config) -> dict[str, Any]:
    """The configuration as plain tables."""
    server = msgspec.to_builtins(config.server)
    return {
        "include": [],
        "server": server,
        "listen": [msgspec.to_builtins(listen) for listen in config.listens],
        "site": [_site(site) for site in config.sites],
        "tcp": [msgspec.to_builtins(tcp) for tcp in config.tcp],
    }


def _site(site: SiteConfig) -> dict[str, Any]:
    clients = site.client_certificates
    table: dict[str, Any] = {
        "hosts": list(site.hosts),
        "tls": site.tls,
        "trusted_proxies": list(site.trusted_proxies),
        "certificate": [msgspec.to_builtins(pair) for pair in site.certificates],
    }
    if clients is not None:
        table |= {
            "client_certificates": "required" if clients.required else "optional",
            "client_ca": clients.authorities,
            "client_crl": clients.revocations,
            "client_user_from": clients.user_from,
            "client_users": dict(clients.users),
        }
    table["route"] = [_route(route) for route in site.routes]
    return table


def _route(route: RouteConfig) -> dict[str, Any]:
    table: dict[str, Any] = {"path": route.path}
    if route.when is not None:
        table["when"] = _without_empty(msgspec.to_builtins(route.when))
    for item in route.features:
        table[item.name] = _conditions_without_empty(msgspec.to_builtins(item.settings))
    return table


def _conditions_without_empty(value: Any) -> Any:
    """Conditions say little and have many keys: only those that were written are shown."""
    if isinstance(value, dict):
        return {
            key: _without_empty(item) if key == "when" and item is not None else _conditions_without_empty(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_conditions_without_empty(item) for item in value]
    return value


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in (None, "", [], {})}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value
