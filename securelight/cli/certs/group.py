"""The group `securelight certs` and the table of its commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from securelight.cli.lazy_group import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "ca": ("securelight.cli.certs.ca", "Make the local authority, or show it."),
    "issue": ("securelight.cli.certs.issue", "Make a certificate for a server or a client."),
    "list": ("securelight.cli.certs.list", "What was issued, and what expires."),
    "inspect": ("securelight.cli.certs.inspect", "Read a certificate, and why clients would refuse it."),
    "revoke": ("securelight.cli.certs.revoke", "Take a certificate back."),
    "crl": ("securelight.cli.certs.crl", "Write the list of what was taken back."),
    "trust": ("securelight.cli.certs.trust", "Make this machine trust the local authority, and prove it."),
    "untrust": ("securelight.cli.certs.untrust", "Undo that."),
    "export": (
        "securelight.cli.certs.export",
        "Write what phones, containers, Node, Java, Windows ... need to trust it.",
    ),
    "serve-root": ("securelight.cli.certs.serve_root", "Show its certificate to phones and other devices."),
    "doctor": ("securelight.cli.certs.doctor", "Ask every client of this machine whether it trusts the server."),
}
"""Each command's module, which has `command: click.Command`, and its line in the help."""

EXAMPLES: Final = """\b
Examples:
  securelight certs ca                            make the authority, or show it
  securelight certs trust                         make this machine trust it
  securelight certs issue shop.test '*.shop.test' a certificate for a server
  securelight certs issue --client --user alice   one for a client
  securelight certs inspect https://shop.test/    what a server shows, and who would refuse it
  securelight certs list                          what expires

\b
Exit codes: 0 done, 1 it cannot be done, 2 wrong usage; list and inspect have more, see their help.
"""


@click.group(
    cls=LazyGroup, commands=COMMANDS, prefix="SECURELIGHT_CERTS", epilog=EXAMPLES, short_help="Local certificates."
)
def command() -> None:
    """Certificates of your own: a local authority, what it signs, and who trusts it."""
