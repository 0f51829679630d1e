"""What the commands of `certs` share: where the authority is, its passphrase, and how times are read and shown."""

from __future__ import annotations

import functools
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from securelight.model.errors import CertificateError
from securelight.pki.authority import CERTIFICATE_FILE, read_authority
from securelight.pki.key_files import PASSPHRASE_VARIABLE, environment_passphrase

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.pki.authority import Authority
    from securelight.pki.key_files import Passphrase

MAXIMUM_PASSPHRASE_BYTES: Final = 1024
WARNING_DAYS: Final = 30


def certs_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--certs."""
    return click.option(
        "--certs", type=click.Path(path_type=Path, file_okay=False), default=Path("certs"), show_default=True,
        help="The folder of the authority.",
    )(function)  # fmt: skip


def passphrase_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--passphrase-file, as the argument `passphrase_file`."""
    return click.option(
        "--passphrase-file", type=click.Path(path_type=Path), metavar="FILE",
        help=f"Holds the passphrase of the authority's keys; else it is {PASSPHRASE_VARIABLE}, or asked for.",
    )(function)  # fmt: skip


def passphrase_source(file: Path | None) -> Passphrase:
    """Where the passphrase of a key comes from, asked once: the file, the environment, or the terminal."""

    @functools.cache
    def passphrase(path: Path) -> bytes | None:
        given = given_passphrase(file)
        if given is not None or not sys.stdin.isatty():
            return given
        return click.prompt(f"Passphrase of {path}", hide_input=True, err=True, type=str).encode() or None

    return passphrase


def given_passphrase(file: Path | None) -> bytes | None:
    """The passphrase in the file or the environment; None if there is none.

    Errors: CertificateError for a file that cannot be read or is empty.
    """
    if file is None:
        return environment_passphrase()
    try:
        with file.open("rb") as opened:
            content = opened.read(MAXIMUM_PASSPHRASE_BYTES + 1)
    except OSError as error:
        raise CertificateError(str(file), f"cannot be read: {error.strerror}") from error
    passphrase = content.removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase or b"\n" in passphrase or len(content) > MAXIMUM_PASSPHRASE_BYTES:
        raise CertificateError(str(file), f"is to hold one line of 1 to {MAXIMUM_PASSPHRASE_BYTES} bytes")
    return passphrase


def present_authority(certs: Path, passphrase: Passphrase | None = None) -> Authority:
    """The authority of a folder.

    Errors: CertificateError if there is none.
    """
    authority = read_authority(certs, passphrase)
    if authority is None:
        raise CertificateError(
            str(certs / CERTIFICATE_FILE),
            "there is no authority here; make one with: securelight certs ca, or name its folder with --certs",
        )
    return authority


class Moment(click.ParamType[datetime]):
    """A date or a time, in UTC unless it says otherwise: 2027-01-31, 2027-01-31T12:00:00, with +02:00 or Z."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """As above."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{str(value)[:40]!r} is no time such as 2027-01-31 or 2027-01-31T12:00:00Z", param, ctx)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def time_left(end: datetime, now: datetime) -> str:
    """How far `end` is, for people: `in 89 days`, `in 5 hours`, `3 days ago`."""
    seconds = (end - now).total_seconds()
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = round(abs(seconds) / length) if abs(seconds) >= length else 0
        if count:
            text = f"{count} {unit}{'s' if count > 1 else ''}"
            return f"in {text}" if seconds > 0 else f"{text} ago"
    return "now"


def iso(moment: datetime) -> str:
    """For programs: UTC, ISO 8601."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown_path(path: Path) -> str:
    """A path as short as it can be: relative to this folder if it is in it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
