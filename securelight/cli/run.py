"""`securelight run`: host the sites of a configuration file."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from securelight import __version__
from securelight.cli.config_option import config_option
from securelight.cli.watch_files import folders_of, reloading
from securelight.config.load import load
from securelight.config.schema import Config
from securelight.features import FEATURES
from securelight.model.errors import ConfigError
from securelight.protocol.engine import choose
from securelight.server import event_log
from securelight.server.sockets import shown
from securelight.server.supervisor import Supervisor

CONTROL_NAME = "securelight.sock"

EXAMPLES = """\b
Examples:
  securelight run                          securelight.toml in this folder
  securelight run -c /etc/securelight      every *.toml of a folder
  securelight check -c FILE && securelight run -c FILE

Signals: TERM and INT stop gracefully (a second one at once), HUP reloads, USR1 reopens the access log.

\b
Exit codes: 0 stopped as asked, 1 could not start, 2 wrong usage.
"""

NO_CONFIGURATION = """there is no such file. Name another one with -c, or begin with this one:"""
EXAMPLE = """
    [server]
    user = "www-data"

    [[listen]]
    address = "*:443"

    [[site]]
    hosts = ["www.example.org"]
    root = "/srv/www"

    [[site.certificate]]
    chain = "/etc/ssl/www.example.org.pem"
    key = "/etc/ssl/www.example.org.key"

To serve a folder without any configuration: securelight serve FOLDER"""


def control_path(config: Config) -> Path:
    """Where the control socket of a server with this configuration is."""
    return config.base / config.server.state_directory / CONTROL_NAME


@click.command(epilog=EXAMPLES, short_help="Run the server from a configuration file.")
@config_option
@click.option("--reload", is_flag=True, help="For development: reload when applications or configuration change.")
def command(path: Path, *, reload: bool) -> None:
    """Run the server from a configuration file."""
    if not path.exists():
        raise ConfigError(str(path), f"{NO_CONFIGURATION}\n{EXAMPLE}")
    config = load(path, FEATURES)
    event_log.configure(config.server.event_log)

    def ready(config: Config, bound: Sequence[socket.socket]) -> None:
        event_log.event_log("supervisor").info(
            "serving",
            version=__version__,
            engine=choose(config.server.engine).name,
            workers=config.server.workers,
            sites=len(config.sites),
            addresses=[shown(sock) for sock in bound],
            config=str(path),
        )

    supervisor = Supervisor(lambda: load(path, FEATURES), FEATURES, control_path(config), ready)
    with reloading(folders_of(config)) if reload else contextlib.nullcontext():
        code = supervisor.run()
    sys.exit(code)
