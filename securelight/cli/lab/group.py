"""`securelight lab`: runs the lab itself, and is the group of `list` and `check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from securelight.cli.lazy_group import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "list": ("securelight.cli.lab.list", "List the cases, and what a correct client does with each."),
    "check": ("securelight.cli.lab.check", "Run a client once per case, and report what it gets wrong."),
}
"""Each command's module, which has `command: click.Command`, and its line in the help."""

EXAMPLES: Final = """\b
Examples:
  securelight lab                            on https://lab.localhost:9443, until Ctrl-C
  securelight lab --export /tmp/lab          with the authority and client certificates in files
  securelight lab list dates --json
  securelight lab check curl
  securelight lab check -- my-client --cacert {ca} {url}

\b
Exit codes: 0 closed, or done; 1 it cannot run, or check found a surprise; 2 wrong usage.
"""


@click.group(
    cls=LazyGroup,
    commands=COMMANDS,
    prefix="SECURELIGHT_LAB",
    invoke_without_command=True,
    epilog=EXAMPLES,
    short_help="Endpoints with bad TLS, and checks of clients.",
)
@click.option("--address", default="127.0.0.1", show_default=True, envvar="SECURELIGHT_LAB_ADDRESS",
              help="IP address to listen on.")  # fmt: skip
@click.option("--port", default=9443, show_default=True, type=click.IntRange(0, 65_535),
              envvar="SECURELIGHT_LAB_PORT", help="The first of the ports; 0 for any free ones.")  # fmt: skip
@click.option("--export", "directory", type=click.Path(file_okay=False, path_type=Path),
              envvar="SECURELIGHT_LAB_EXPORT",
              help="Write ca.pem and client certificates here, and leave them.")  # fmt: skip
@click.pass_context
def command(ctx: click.Context, address: str, port: int, directory: Path | None) -> None:
    """Run TLS endpoints that are bad on purpose, each in one way, and good ones beside them.

    Certificates are made now, by an authority of this run that signs for localhost alone. Nothing stays behind.
    """
    if ctx.invoked_subcommand is None:
        from securelight.cli.lab.run import run_lab  # noqa: PLC0415 - the subcommands don't need it

        run_lab(address, port, directory)
