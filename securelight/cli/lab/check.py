"""`securelight lab check`: a client against the lab.

Exit codes: 0 no surprises, 1 surprises, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import trio

from securelight.lab.catalogue import chosen
from securelight.lab.check.outcome import Outcome
from securelight.lab.check.profiles import PROFILES, differences
from securelight.lab.check.report import table, to_json, to_junit
from securelight.lab.check.runner import JOBS, SECONDS, CommandClient, Options, check, client_of, running_lab

INTERRUPTED = 130
TALKING_JOBS = 16
"""For clients that ask many questions in one process."""

EXAMPLES = """\b
Examples:
  securelight lab check curl
  securelight lab check node --only dates --only names/wrong-host
  securelight lab check chromium --junit chromium.xml
  securelight lab check -- my-client --cacert {ca} {url}
  securelight lab check --through-proxy -- my-client --cacert {ca} {url}

\b
In a COMMAND, these are replaced:
  {url} {host} {port}  of the case           {ca}          the authority to trust
  {cert} {key}         a client certificate  {proxy}       a proxy that knows *.localhost

It accepts a case by ending with exit code 0.
"""


@click.command(epilog=EXAMPLES, short_help="Check a client.", context_settings={"ignore_unknown_options": False})
@click.argument("client", metavar="PROFILE | -- COMMAND", nargs=-1, type=click.UNPROCESSED)
@click.option("--only", multiple=True, metavar="CASE|FAMILY", help="Only these; may be given more than once.")
@click.option("--jobs", type=click.IntRange(1, 64), help=f"Clients at a time.  [default: {JOBS}]")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=SECONDS, show_default=True,
              help="For each case; a client that takes longer hangs.")  # fmt: skip
@click.option("--through-proxy", is_flag=True,
              help="Set https_proxy for COMMAND, for clients that cannot look up *.localhost.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Show what is right too.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="Write the results as JSON; - for stdout.")  # fmt: skip
@click.option("--junit", "junit_path", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML.")
@click.pass_context
def command(
    ctx: click.Context,
    client: tuple[str, ...],
    only: tuple[str, ...],
    jobs: int | None,
    seconds: float,
    through_proxy: bool,
    everything: bool,
    json_path: Path | None,
    junit_path: Path | None,
) -> None:
    """Run a client once per case, and report which bad endpoints it accepts and which good ones it refuses.

    PROFILE is one of curl, wget, python, requests, httpx, node, go and chromium: how to run these is known, and so is
    where they are known to differ. Any other client is run as COMMAND.
    """
    cases = chosen(only)
    if not client:
        raise click.UsageError(f"Name a profile ({', '.join(PROFILES)}), or a command after --.")
    profile = PROFILES.get(client[0]) if len(client) == 1 else None
    if profile is not None:
        at_once = TALKING_JOBS if profile.talks or not profile.command else JOBS
        options = Options(cases, jobs or at_once, seconds, known=differences(profile.name))
        name = profile.name
    else:
        _require_command(client)
        options, name = Options(cases, jobs or JOBS, seconds), Path(client[0]).name
    progress = Progress(sum(not case.not_offered for case in cases))
    try:
        outcomes = trio.run(_check, client, options, through_proxy, progress)
    except KeyboardInterrupt:
        progress.clear()
        click.echo("Interrupted.", err=True)
        ctx.exit(INTERRUPTED)
    finally:
        progress.clear()
    if str(json_path) == "-":
        click.echo(to_json(outcomes, name), nl=False)
    else:
        for line in table(outcomes, name, paint, everything=everything):
            click.echo(line)
        if json_path is not None:
            _write(json_path, to_json(outcomes, name))
    if junit_path is not None:
        _write(junit_path, to_junit(outcomes, name))
    ctx.exit(int(any(one.surprise for one in outcomes)))


def _require_command(client: Sequence[str]) -> None:
    """Errors: click.UsageError for a command that cannot work."""
    if not any("{url}" in one or "{host}" in one or "{port}" in one for one in client):
        hint = f" The profiles are {', '.join(PROFILES)}." if len(client) == 1 else ""
        raise click.UsageError(f"The command has no {{url}}, so it would never meet the lab.{hint}")
    if shutil.which(client[0]) is None:
        raise click.UsageError(f"There is no command {client[0]!r}.")


async def _check(client: tuple[str, ...], options: Options, through_proxy: bool, progress: Progress) -> list[Outcome]:
    async with running_lab(options) as (lab, directory):
        if len(client) == 1 and client[0] in PROFILES:
            async with client_of(PROFILES[client[0]], lab, directory) as asked:
                return await check(asked, options, lab, directory, progress)
        environment = {"https_proxy": "{proxy}", "HTTPS_PROXY": "{proxy}"} if through_proxy else {}
        return await check(CommandClient(client, environment=environment), options, lab, directory, progress)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}.") from error
    click.echo(f"  written  {path}", err=True)


def paint(words: str, colour: str) -> str:
    """Text in a colour; click leaves it out where the output is no terminal."""
    if colour in ("bold", "dim"):
        return click.style(words, bold=colour == "bold" or None, dim=colour == "dim" or None)
    return click.style(words, fg=colour)


class Progress:
    """On a terminal, a line that counts."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._live = sys.stderr.isatty()

    def __call__(self, outcome: Outcome) -> None:
        """One more."""
        self._done = min(self._done + 1, self._total)  # some are asked twice
        if self._live:
            click.echo(f"\r\x1b[K{self._done}/{self._total} {outcome.case.id}", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)
