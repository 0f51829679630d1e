"""`securelight certs list`: what was issued, and what expires; its exit code is for cron."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from securelight.cli.certs.options import WARNING_DAYS, certs_option, present_authority, shown_path, time_left
from securelight.cli.certs.records import Record, records
from securelight.config.faults import printable

if TYPE_CHECKING:
    from pathlib import Path

EXIT_EXPIRING: Final = 3
EXIT_EXPIRED: Final = 4
NAMES_SHOWN: Final = 3

EXAMPLES = """\b
Examples:
  securelight certs list
  securelight certs list --all                    also what was replaced
  securelight certs list --within 60 --json
  0 6 * * *  cd /srv/shop && securelight certs list --quiet       in a crontab: mail if something is to be done

\b
Exit codes: 0 nothing to do, 1 the list cannot be made, 2 wrong usage,
            3 something expires within 30 days (--within), 4 something has expired.
What was revoked, replaced, or made expired on purpose does not count; a revocation list counts in its last week.
"""

COLOURS: Final = {"expired": "red", "expiring": "yellow", "revoked": "red"}


@click.command("list", epilog=EXAMPLES, short_help="What was issued, and what expires.")
@certs_option
@click.option("--all", "show_all", is_flag=True, help="Also certificates that were replaced by newer ones.")
@click.option("--within", "within_days", type=click.FloatRange(0), default=WARNING_DAYS, show_default=True,
              metavar="DAYS", help="What counts as about to expire.")  # fmt: skip
@click.option("--quiet", "-q", is_flag=True, help="Print only what is about to expire or has expired.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, certs: Path, show_all: bool, within_days: float, quiet: bool, as_json: bool) -> None:
    """List the authority, the certificates that it has issued, and when they expire."""
    now = datetime.now(UTC)
    found = records(certs, present_authority(certs), now, within_days)
    shown = [
        record for record in found
        if (show_all or record.state != "replaced") and (not quiet or record.state in ("expiring", "expired"))
    ]  # fmt: skip
    status = exit_status(found)
    if as_json:
        click.echo(json.dumps({"certificates": [record.facts() for record in shown], "exit_status": status}, indent=2))
    elif shown:
        click.echo(_table(shown, now))
    sys.exit(status)


def exit_status(found: list[Record]) -> int:
    """As the help says. What was made expired was wished for so."""
    states = {record.state for record in found if record.entry is None or record.not_after > record.entry.issued}
    return EXIT_EXPIRED if "expired" in states else EXIT_EXPIRING if "expiring" in states else 0


def _table(shown: list[Record], now: datetime) -> str:
    rows = [("EXPIRES", "", "STATE", "KIND", "FOR", "FILE")]
    for record in shown:
        names = ", ".join(printable(name) for name in record.names[:NAMES_SHOWN])
        if len(record.names) > NAMES_SHOWN:
            names += f" and {len(record.names) - NAMES_SHOWN} more"
        file = shown_path(record.file) if record.file is not None else "-"
        left = time_left(record.not_after, now)
        rows.append((f"{record.not_after:%Y-%m-%d}", left, record.state, record.kind, names, file))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[2] = click.style(cells[2], fg=COLOURS.get(row[2]))
        lines.append("  ".join(cells).rstrip())
    lines[0] = click.style(lines[0], dim=True)
    return "\n".join(lines)
