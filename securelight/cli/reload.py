"""`securelight reload`: make a running server read its configuration again, and say how it went."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from securelight.cli.running import control_options, find_control
from securelight.server.control import ask

EXAMPLES = """\b
Examples:
  securelight reload                       the server of ./securelight.toml, or the one `serve` here
  securelight reload -c /etc/securelight/securelight.toml

Exit codes: 0 the new configuration serves, 1 it is bad (nothing has changed) or no server answers, 2 wrong usage.
"""


@click.command(epilog=EXAMPLES, short_help="Make a running server read its configuration again.")
@control_options
def command(path: Path | None, control: Path | None) -> None:
    """Make a running server read its configuration again.

    If anything in it is bad, nothing changes and the faults are printed here.
    """
    answer = ask(find_control(path, control), "reload")
    click.echo(answer["message"], err=not answer["ok"])
    sys.exit(0 if answer["ok"] else 1)
