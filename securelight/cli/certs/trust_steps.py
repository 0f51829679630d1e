"""What `trust` and `untrust` share: stores taken one after the other, shown, changed, proved, and told as a table.

A store that fails costs its own row and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import click

from securelight.cli.certs.options import certs_option, passphrase_option
from securelight.cli.certs.trust_checks import Target, Verdict, ask_java, ask_nss, ask_python, presented_chain
from securelight.cli.certs.trust_probe import ProbeServer
from securelight.model.errors import CertificateError
from securelight.pki.authority import CERTIFICATE_FILE
from securelight.pki.trust_commands import Command, change, command_line, is_superuser, look
from securelight.pki.trust_facts import root_facts
from securelight.pki.trust_java import JavaKeystore
from securelight.pki.trust_nss import NssDatabase
from securelight.pki.trust_probe import probe_pair
from securelight.pki.trust_root import Root, StoreKind, TrustStore, read_root
from securelight.pki.trust_stores import KINDS, find_stores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.pki.key_files import Passphrase

Outcome = Literal["done", "already", "skipped", "failed", "would"]
"""`would`: a dry run. `skipped`: nothing could be done, and it was not asked for by name."""

UNLIMITED: Final = "may vouch for EVERY site: whoever has its key can pose as any of them to this machine"

CHOICES: Final = click.Choice(KINDS)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one store.

    Args:
        store: its name.
        outcome: see Outcome.
        result: in words.
        proof: what a client said afterwards, or why it was not asked.
    """

    store: str
    outcome: Outcome
    result: str
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of the command.

    Args:
        trusted: what every store is to do in the end.
        yes: do not ask.
        dry_run: change nothing.
        passphrase: that of the authority's keys, which sign what the proof needs.
    """

    trusted: bool
    yes: bool
    dry_run: bool
    passphrase: Passphrase | None = None


def store_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that both commands have."""
    options = (
        certs_option,
        passphrase_option,
        click.option("--store", "kinds", type=CHOICES, multiple=True,
                     help="Only this kind of store; may be repeated. By default all that are found."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask before sudo is used."),
        click.option("--dry-run", is_flag=True, help="Print the commands, and run none."),
        click.option("--root", type=click.Path(path_type=Path, file_okay=False), hidden=True,
                     help="Of the file system whose system and Java stores are meant."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def run(certs: Path, kinds: Sequence[str], root: Path | None, wishes: Wishes) -> int:
    """Do it, print it; returns the exit status: 0 if every store does as it should, else 1.

    Errors: CertificateError if there is no authority, or its certificate is none of an authority.
    """
    authority = read_root(certs / CERTIFICATE_FILE)
    chosen = cast("Sequence[StoreKind]", kinds)
    facts = root_facts(authority)
    stores = find_stores(chosen or KINDS, root)
    if not stores:
        wanted = ", ".join(chosen or KINDS)
        click.echo(f"No trust store was found here ({wanted}). {_nothing_found(chosen)}", err=True)
        return 1
    click.echo(f"{facts.name} ({authority.path})")
    if wishes.trusted:
        click.echo(f"  may vouch for: {facts.limits}" if facts.limits else f"  {UNLIMITED}")
    _warn_of_sudo()
    with contextlib.ExitStack() as stack:
        target, why_not = None, ""
        if not wishes.dry_run:
            try:
                probe = stack.enter_context(ProbeServer(*probe_pair(certs, wishes.passphrase)))
                target = Target("localhost", probe.port)
            except CertificateError as error:
                why_not = str(error)
        rows = [_take(store, authority, wishes, target, asked_for=bool(chosen)) for store in stores]
    click.echo(table(rows))
    if why_not:
        click.echo(f"Not proved with handshakes: {why_not}", err=True)
    if wishes.trusted and any(row.outcome == "done" for row in rows):
        click.echo("Programs that are running notice after a restart.")
    if wishes.trusted and "microsoft" in platform.release().lower():
        click.echo("Windows around this WSL has stores of its own: securelight certs export --for wsl2")
    return 1 if any(row.outcome == "failed" for row in rows) else 0


def _take(store: TrustStore, root: Root, wishes: Wishes, target: Target | None, *, asked_for: bool) -> Row:
    try:
        if obstacle := store.obstacle():
            return Row(store.name, "failed" if asked_for else "skipped", obstacle)
        row = _change(store, root, wishes)
    except CertificateError as error:
        return Row(store.name, "failed", str(error))
    if row.outcome in ("failed", "would", "skipped"):
        return row
    return _prove(store, root, wishes, target, row)


def _change(store: TrustStore, root: Root, wishes: Wishes) -> Row:
    if wishes.trusted:
        if store.holds(root):
            return Row(store.name, "already", "already there")
        commands = store.install(root)
        if not commands:
            return Row(store.name, "skipped", f"{store.path} follows the system's store: trust that one")
    else:
        # Asked for first: what is there without being trusted, because a run was interrupted, goes too.
        commands = store.remove(root)
        if not commands and store.holds(root):
            return Row(store.name, "failed", "somebody else put it there, and it was left: remove it the way it came")
        if not commands:
            return Row(store.name, "already", "not there")
    if wishes.dry_run:
        click.echo(f"{store.name}:\n{_lines(commands)}")
        return Row(store.name, "would", "would be changed")
    click.echo(f"{store.name}: running\n{_lines(commands)}", err=True)
    if any(command.sudo for command in commands) and not wishes.yes and not _agreed():
        return Row(store.name, "failed", f"not done, as you wish; by hand: {command_line(commands)}")
    for command in commands:
        change(command)
    if store.holds(root) != wishes.trusted:
        state = "it is still not there" if wishes.trusted else "it is still there"
        return Row(store.name, "failed", f"the commands ran, but {state} ({store.path})")
    return Row(store.name, "done", "added" if wishes.trusted else "removed")


def has_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def _agreed() -> bool:
    if not has_terminal():
        click.echo("That needs sudo, and there is no terminal to ask on: pass --yes to agree.", err=True)
        return False
    return click.confirm("That needs sudo. Go on?", default=False, err=True)


def _prove(store: TrustStore, root: Root, wishes: Wishes, target: Target | None, row: Row) -> Row:
    if target is None:
        return row
    try:
        verdict = ask(store, target, root)
    except (CertificateError, OSError) as error:
        return Row(row.store, row.outcome, row.result, f"could not be proved: {error}")
    if verdict.trusted is None:
        return Row(row.store, row.outcome, row.result, f"could not be proved: {verdict.by}: {verdict.detail}")
    said = f"{'trusted' if verdict.trusted else 'refused'} in {verdict.by}"
    if verdict.detail:
        said += f" ({verdict.detail})"
    if verdict.trusted != wishes.trusted:
        return Row(row.store, "failed", row.result, said)
    return Row(row.store, row.outcome, row.result, said)


def ask(store: TrustStore, target: Target, root: Root | None) -> Verdict:
    """Whether a client that reads this store trusts the server; the keychain is asked about the root alone."""
    if isinstance(store, NssDatabase):
        return ask_nss(target, store, presented_chain(target)) if store.path.is_dir() else Verdict(False, "no database")
    if isinstance(store, JavaKeystore):
        return ask_java(target, store)
    if store.kind == "keychain":
        if root is None:
            return Verdict(None, "security verify-cert", "there is no authority to ask about")
        done = look("security", "verify-cert", "-c", str(root.path.resolve()), "-p", "ssl")
        return Verdict(done.returncode == 0, "security verify-cert")
    return ask_python(target, store.path)


def _lines(commands: Sequence[Command]) -> str:
    return "\n".join(f"  {command}" for command in commands)


def _warn_of_sudo() -> None:
    if is_superuser() and os.environ.get("SUDO_USER"):
        click.echo(
            "Under sudo, browsers' databases are looked for as root's. Run this as yourself: it asks for sudo itself.",
            err=True,
        )


def _nothing_found(kinds: Sequence[StoreKind]) -> str:
    if not kinds or "system" in kinds:
        return "For the system's store, install the package ca-certificates"
    if "nss" in kinds:
        return "Start Firefox or Chromium once, so that there is a profile"
    return "Install Java, or set JAVA_HOME" if "java" in kinds else "That one exists on macOS only"


_COLOURS: Final = {"done": "green", "already": "green", "skipped": "yellow", "failed": "red", "would": "cyan"}


def table(rows: Sequence[Row]) -> str:
    """The rows as lines, aligned; long reasons at the end of a line, where they wrap without harm."""
    width = max(len(row.store) for row in rows)
    lines = []
    for row in rows:
        mark = click.style(row.outcome.ljust(8), fg=_COLOURS[row.outcome])
        said = f"{row.result}; {row.proof}" if row.proof else row.result
        lines.append(f"  {row.store.ljust(width)}  {mark}  {said}")
    return "\n".join(lines)
