"""`securelight certs crl`: write the revocation list, or write it anew before it is out of date."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from securelight.cli.certs.options import (
    certs_option,
    passphrase_option,
    passphrase_source,
    present_authority,
    time_left,
)
from securelight.pki.authority import LIST_DAYS, LIST_FILE
from securelight.pki.key_files import locked
from securelight.pki.ledger import Ledger
from securelight.pki.revocation import list_expiry, write_list

MAXIMUM_DAYS = 3650

EXAMPLES = """\b
Examples:
  securelight certs crl                   write certs/crl.pem
  securelight certs crl --if-due          only if a third of its time is left, for cron
  securelight certs crl --days 7 --out /etc/nginx/crl.pem

The file holds the lists of the intermediate and of the root, one after the other: servers that look up whole
chains (securelight, nginx, HAProxy) want both. A list that is out of date makes them refuse everybody.
"""


@click.command(epilog=EXAMPLES, short_help="Write the list of what was taken back.")
@certs_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where.  [default: crl.pem in --certs]",
)
@click.option("--days", type=click.FloatRange(0, MAXIMUM_DAYS, min_open=True), default=LIST_DAYS, show_default=True,
              help="Until the next update.")  # fmt: skip
@click.option("--if-due", is_flag=True, help="Only if it is missing, or has less than a third of its time left.")
@passphrase_option
def command(*, certs: Path, out: Path | None, days: float, if_due: bool, passphrase_file: Path | None) -> None:
    """Write the revocation list of the local authority."""
    now = datetime.now(UTC)
    authority = present_authority(certs, passphrase_source(passphrase_file))
    path = out or certs / LIST_FILE
    with locked(certs):
        end = list_expiry(path) if if_due else None
        if end is not None and end - now > timedelta(days=days) / 3:
            click.echo(f"Nothing to do: {path} is good until {end:%Y-%m-%d} ({time_left(end, now)})")
            sys.exit(0)
        ledger = Ledger.read(certs)
        write_list(authority, ledger, path, now, days)
    count = sum(entry.revoked is not None for entry in ledger.certificates)
    next_update = now + timedelta(days=days)
    click.echo(
        f"Wrote {path}, number {ledger.list_number}, with {count} revoked certificate{'' if count == 1 else 's'}, "
        f"good until {next_update:%Y-%m-%d} ({time_left(next_update, now)})"
    )
    sys.exit(0)
