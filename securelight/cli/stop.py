"""`securelight stop`: stop a running server gracefully."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from securelight.cli.running import control_options, find_control
from securelight.server.control import ask

EXAMPLES = """\b
Examples:
  securelight stop                         the server of ./securelight.toml, or the one `serve` here
  securelight stop -c /etc/securelight/securelight.toml

Open requests get limits.graceful_stop_seconds; the command returns when the server has ended.

\b
Exit codes: 0 stopped, 1 no server answers or it does not end, 2 wrong usage.
"""
_MARGIN_SECONDS = 5.0


@click.command(epilog=EXAMPLES, short_help="Stop a running server gracefully.")
@control_options
def command(path: Path | None, control: Path | None) -> None:
    """Stop a running server gracefully."""
    answer = ask(find_control(path, control), "stop")
    deadline = time.monotonic() + answer["seconds"] + _MARGIN_SECONDS
    while _alive(answer["process"]):
        if time.monotonic() > deadline:
            click.echo(f"Process {answer['process']} has not ended.", err=True)
            sys.exit(1)
        time.sleep(0.05)
    click.echo("stopped")


def _alive(process: int) -> bool:
    """Whether it runs. One that has ended, and whose parent has not asked for its status yet, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
