"""`securelight hash-password`: a line for the file of `basic_auth`, or of `digest_auth`."""

from __future__ import annotations

import hashlib
import sys
from typing import Final

import click

from securelight.model.errors import SecurelightError
from securelight.stages.basic_auth import MAXIMUM_PASSWORD_BYTES
from securelight.stages.password_file import hash_password, libraries_missing
from securelight.stages.user_file import MAXIMUM_USER_CHARACTERS

EPILOG: Final = """\b
Examples:
  securelight hash-password --user alice >> users.htpasswd && chmod o= users.htpasswd
  pass show site/alice | securelight hash-password --user alice --stdin
  securelight hash-password --user alice --realm "the club" >> users.htdigest

\b
Exit codes:
  0  hashed
  1  there is nothing that can be hashed
  2  the command was not understood
"""


class NoPassword(SecurelightError):
    """There is nothing that could be hashed."""


@click.command(epilog=EPILOG)
@click.option("--user", help="Print a whole line, for this user.")
@click.option("--bcrypt", is_flag=True, help="Make a bcrypt hash, which other servers read too, instead of argon2id.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from standard input, its first line.")
@click.option("--realm", help="Print a line for digest_auth, for this realm, with SHA-256.")
@click.option("--md5", is_flag=True, help="With --realm: MD5, for clients that know nothing else.")
def command(user: str | None, *, bcrypt: bool, from_stdin: bool, realm: str | None, md5: bool) -> None:
    """Hash a password for basic_auth or digest_auth.

    The password is asked for, twice, and not shown. It is never an argument: those are seen by all on this machine.
    """
    missing = libraries_missing()
    if (md5 and realm is None) or (realm is not None and (bcrypt or not user or not realm or not realm.isprintable())):
        raise click.UsageError("--realm goes with --user and, if need be, --md5")
    if missing is not None and realm is None:
        raise NoPassword(missing)
    if user is not None and (not user or ":" in user or not user.isprintable() or len(user) > MAXIMUM_USER_CHARACTERS):
        raise NoPassword("a user's name is printable text without a colon")
    if from_stdin:
        password = sys.stdin.readline(MAXIMUM_PASSWORD_BYTES + 2).rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True)
    if not password or "\0" in password or len(password.encode()) > MAXIMUM_PASSWORD_BYTES:
        raise NoPassword(f"a password has 1 to {MAXIMUM_PASSWORD_BYTES} bytes")
    if realm is not None:
        text = f"{user}:{realm}:{password}".encode()
        click.echo(f"{user}:{realm}:{(hashlib.md5 if md5 else hashlib.sha256)(text).hexdigest()}")
        return
    hashed = hash_password(password, bcrypt=bcrypt)
    click.echo(hashed if user is None else f"{user}:{hashed}")
