"""`securelight certs untrust`: take the authority out of this machine's trust stores, and nothing else."""

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
  securelight certs untrust --dry-run       what would be run
  securelight certs untrust                 every store that is found; asks before sudo
  securelight certs untrust --store java    one kind of store

Only what `securelight certs trust` put there is removed: the same certificate, under our name. The authority's own
files stay; delete them for a new one.

Exit codes: 0 no store trusts it, 1 one still does, 2 wrong usage.
"""


@click.command(epilog=EXAMPLES, short_help="Make this machine forget the local authority.")
@store_options
def command(
    *, certs: Path, passphrase_file: Path | None, kinds: tuple[str, ...], yes: bool, dry_run: bool, root: Path | None
) -> None:
    """Take the local authority out of this machine's trust stores."""
    wishes = Wishes(trusted=False, yes=yes, dry_run=dry_run, passphrase=passphrase_source(passphrase_file))
    sys.exit(run(certs, kinds, root, wishes))
