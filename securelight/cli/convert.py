"""`securelight convert`: the common part of nginx.conf and lighttpd.conf as a configuration of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from securelight.config.faults import printable
from securelight.config.foreign.draft import SyntaxFault
from securelight.config.foreign.includes import Includes
from securelight.config.foreign.lighttpd import convert_lighttpd
from securelight.config.foreign.nginx import convert_nginx
from securelight.model.errors import SecurelightError

EPILOG: Final = """\b
Examples:
  securelight convert /etc/nginx/nginx.conf > securelight.toml
  securelight convert --from lighttpd old.conf

\b
Exit codes:
  0  converted; what could not be carried over is named on stderr
  1  the file cannot be read or is not such a configuration
  2  the command was not understood
"""
MAXIMUM_BYTES: Final = 1 << 20


class NotConverted(SecurelightError):
    """A file that is not understood at all."""


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "server", type=click.Choice(["nginx", "lighttpd"]), help="Whose it is; guessed without it.")
def command(file: Path, server: str | None) -> None:
    """Make a configuration from another server's.

    It goes to stdout. What could not be carried over is told on stderr, with the lines of the original, and stands at
    the top of the result. Included files are read too, output of programs is not. Look through the result, above all
    for who may see what, and let `securelight check` read it.
    """
    try:
        if file.stat().st_size > MAXIMUM_BYTES:
            raise NotConverted(f"{file} is larger than {MAXIMUM_BYTES} bytes")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotConverted(f"{printable(str(file))} cannot be read: {printable(str(error))}") from error
    if server is None:
        server = (
            "lighttpd" if "server.document-root" in text or "server.modules" in text or '$HTTP["' in text else "nginx"
        )
    try:
        includes = Includes(file.absolute().parent)
        draft = convert_lighttpd(text, includes) if server == "lighttpd" else convert_nginx(text, includes)
    except SyntaxFault as error:
        raise NotConverted(
            f"{printable(str(file))} is not a configuration of {server}: {printable(str(error))}"
        ) from error
    click.echo(draft.toml(f"{file.name} ({server})"), nl=False)
    for note in draft.notes:
        click.secho(f"not carried over: {note}", fg="yellow", err=True)
