"""`securelight fmt`: configuration files in the usual layout."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path
from typing import Final

import click

from securelight.config.faults import printable
from securelight.config.layout import format_toml
from securelight.model.errors import SecurelightError

EPILOG: Final = """\b
Examples:
  securelight fmt securelight.toml conf.d/*.toml
  securelight fmt --check securelight.toml     for CI: says what would change, and exits with 1
  securelight fmt --diff securelight.toml      shows it

\b
Exit codes:
  0  all is formatted
  1  --check or --diff found something, or a file cannot be formatted
  2  the command was not understood
"""
MAXIMUM_BYTES: Final = 1 << 20


class NotFormatted(SecurelightError):
    """A file that cannot be formatted."""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if something would change.")
@click.option("--diff", is_flag=True, help="Change nothing; show what would change.")
@click.pass_context
def command(ctx: click.Context, files: tuple[Path, ...], *, check: bool, diff: bool) -> None:
    """Lay configuration files out as usual: white space alone, what they mean stays.

    One space around =, one empty line above each table, none at the ends of lines. Comments and the order stay.
    """
    changed = False
    for path in files:
        before = _read(path)
        try:
            after = format_toml(before)
        except ValueError as error:
            raise NotFormatted(f"{printable(str(path))}: {printable(str(error), 300)}") from error
        if after == before:
            continue
        changed = True
        if diff:
            lines = difflib.unified_diff(
                before.splitlines(keepends=True), after.splitlines(keepends=True), str(path), str(path)
            )
            click.echo("".join(lines), nl=False)
        elif check:
            click.echo(f"{path} would change")
        else:
            _write(path, after)
            click.echo(f"{path} changed")
    ctx.exit(1 if changed and (check or diff) else 0)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise NotFormatted(f"{path} is larger than {MAXIMUM_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFormatted(f"{printable(str(path))} cannot be read: {printable(str(error))}") from error


def _write(path: Path, text: str) -> None:
    """Whole or not at all, with the permissions that the file had."""
    target = path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), target.stat().st_mode & 0o7777)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NotFormatted(f"{printable(str(path))} cannot be written: {error.strerror}") from error
