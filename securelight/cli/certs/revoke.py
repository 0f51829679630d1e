"""`securelight certs revoke`: take certificates back, and write the revocation list anew."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from securelight.cli.certs.options import certs_option, passphrase_option, passphrase_source, present_authority
from securelight.cli.certs.records import find
from securelight.config.faults import printable
from securelight.model.errors import CertificateError
from securelight.pki.authority import LIST_DAYS, LIST_FILE
from securelight.pki.key_files import locked
from securelight.pki.ledger import REASONS, Ledger, Reason
from securelight.pki.revocation import write_list

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = """\b
Examples:
  securelight certs revoke alice                  by name
  securelight certs revoke certs/alice.pem        by file
  securelight certs revoke 3f9a... --reason keyCompromise

The revocation list certs/crl.pem is written anew. A server that has it as client_crl takes
it up while it runs. Browsers do not look up revocation lists of servers' certificates: replace those.
"""


@click.command(epilog=EXAMPLES, short_help="Take a certificate back.")
@click.argument("what", metavar="NAME|SERIAL|FILE")
@certs_option
@click.option("--reason", type=click.Choice(REASONS), default="unspecified", show_default=True, help="Why.")
@click.option("--all", "every", is_flag=True, help="All certificates of that name, not one alone.")
@passphrase_option
def command(*, what: str, certs: Path, reason: Reason, every: bool, passphrase_file: Path | None) -> None:
    """Take back a certificate that the local authority has issued."""
    now = datetime.now(UTC)
    authority = present_authority(certs, passphrase_source(passphrase_file))
    with locked(certs):
        found = find(certs, what)
        open_ones = [entry for entry in found if entry.revoked is None]
        if len(open_ones) > 1 and not every:
            which = "\n".join(f"  {one.serial}  issued {one.issued:%Y-%m-%d %H:%M}  {one.file}" for one in open_ones)
            raise CertificateError(what, f"is the name of several certificates; name one, or add --all:\n{which}")
        ledger = Ledger.read(certs)
        for entry in open_ones:
            ledger.revoke(entry.serial, reason, now)
        if open_ones:
            write_list(authority, ledger, certs / LIST_FILE, now, LIST_DAYS)
    for entry in open_ones:
        who = printable(", ".join(entry.names) or entry.subject)
        click.echo(f"Revoked {who} (serial {entry.serial}, {entry.file or 'in no file'})")
    if not open_ones:
        click.echo(f"Nothing to do: {what} was revoked on {found[0].revoked:%Y-%m-%d %H:%M} UTC")
    else:
        click.echo(f"Wrote {certs / LIST_FILE}, good for {LIST_DAYS} days")
    sys.exit(0)
