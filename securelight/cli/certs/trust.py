"""`securelight certs trust`: put the authority into this machine's trust stores, and prove that it works."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from securelight.cli.certs.options import passphrase_source
from securelight.cli.certs.trust_steps import Wishes, run, store_options

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = """\b
Examples:
  securelight certs trust --dry-run         what would be run
  securelight certs trust                   every store that is found; asks before sudo
  securelight certs trust --store nss       Firefox and Chromium alone; needs no sudo
  securelight certs trust --yes             for scripts

The stores: system (curl, wget, Python, OpenSSL, Git ...), nss (Firefox, Chromium), java, keychain (macOS).
Every command is printed before it runs. After that, a client of each store connects to a server on
loopback whose certificate the authority has just signed, and the table says what it found.

Exit codes: 0 trusted by every store, 1 not by one of them, 2 wrong usage.
"""


@click.command(epilog=EXAMPLES, short_help="Make this machine trust the local authority, and prove it.")
@store_options
def command(
    *, certs: Path, passphrase_file: Path | None, kinds: tuple[str, ...], yes: bool, dry_run: bool, root: Path | None
) -> None:
    """Make this machine's trust stores trust the local authority."""
    wishes = Wishes(trusted=True, yes=yes, dry_run=dry_run, passphrase=passphrase_source(passphrase_file))
    sys.exit(run(certs, kinds, root, wishes))
