"""`securelight conform`: judge any HTTPS server by the RFCs, and show where it falls short.

The exit code is for scripts: 0 nothing failed at the level asked for (--fail-on), 1 something did, 2 wrong usage,
3 the server could not be reached, 130 interrupted (the reports are written all the same).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from securelight.conformance import baseline as baseline_file
from securelight.conformance.attack_permission import AttackRefused, refuse_strangers
from securelight.conformance.case import Level, Outcome
from securelight.conformance.dial import ANSWER_SECONDS, Patience
from securelight.conformance.reports import comparison, html, json_report, junit, sarif, text
from securelight.conformance.results import Result, Run
from securelight.conformance.runner import JOBS, Options, chosen, judge_sync, new_run
from securelight.conformance.suites import Suite, load_suite, suite_names
from securelight.conformance.target import TargetError, parse_target

ABUSE = "abuse"
COMPARE = "compare"
"""In the place of a URL: several servers follow, and are shown in one table."""
UNREACHABLE = 3
INTERRUPTED = 130
LEVELS = {"must": Level.MUST, "should": Level.SHOULD}

EXAMPLES = """\b
Examples:
  securelight conform https://localhost:8443
  securelight conform https://localhost:8443 --suite h2 --suite hpack
  securelight conform https://localhost:8443 --only h2/6.9.1 --bytes
  securelight conform https://localhost:8443 --suite abuse
  securelight conform https://localhost:8443 --html report.html
  securelight conform https://localhost:8443 --json result.json
  securelight conform https://localhost:8443 --baseline result.json --junit result.xml
  securelight conform compare https://localhost:8443 https://localhost:9443
  securelight conform --list

Exit codes: 0 nothing failed, 1 something failed (see --fail-on), 2 wrong usage, 3 not reachable, 130 interrupted.
"""


@click.command(epilog=EXAMPLES, short_help="Judge an HTTPS server by the RFCs.")
@click.argument("urls", metavar="[compare] URL...", nargs=-1)
@click.option("--suite", "suite_options", multiple=True, type=click.Choice(suite_names()),
              help="Only this suite; may be given more than once.")  # fmt: skip
@click.option("--only", multiple=True, metavar="ID",
              help="Only this case, or those of a section (h2/6.9.1); may be given more than once.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write all results as JSON.")
@click.option("--junit", "junit_path", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML.")
@click.option("--sarif", "sarif_path", type=click.Path(path_type=Path, dir_okay=False), help="Write SARIF 2.1.0.")
@click.option("--html", "html_path", type=click.Path(path_type=Path, dir_okay=False),
              help="Write one page that tells everything.")  # fmt: skip
@click.option("--baseline", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="An earlier JSON report, or a list of ids: what failed there does not count.")  # fmt: skip
@click.option("--fail-on", type=click.Choice([*LEVELS, "never"]), default="must", show_default=True,
              help="Which failures make the exit code 1.")  # fmt: skip
@click.option("--ca", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Authorities to trust instead of the system's, in PEM form.")  # fmt: skip
@click.option("--i-own-this-host", "owned_hosts", multiple=True, metavar="HOST",
              help="Try attacks on HOST too, which is yours; without this only on loopback.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 64), default=JOBS, show_default=True, help="Cases at a time.")
@click.option("--patience", metavar="SECONDS", type=click.FloatRange(0.1, 60), default=ANSWER_SECONDS,
              show_default=True, help="How long to wait for an answer; more for a slow server.")  # fmt: skip
@click.option("--bytes", "with_bytes", is_flag=True, help="Show the exchanged bytes of each failure.")
@click.option("--list", "list_only", is_flag=True, help="List the cases and ask nobody.")
@click.pass_context
def command(
    ctx: click.Context,
    urls: tuple[str, ...],
    suite_options: tuple[str, ...],
    only: tuple[str, ...],
    json_path: Path | None,
    junit_path: Path | None,
    sarif_path: Path | None,
    html_path: Path | None,
    baseline: Path | None,
    fail_on: str,
    ca: Path | None,
    owned_hosts: tuple[str, ...],
    jobs: int,
    patience: float,
    with_bytes: bool,
    list_only: bool,
) -> None:
    """Judge the server at URL by what the RFCs ask of it.

    With the word compare before them, several servers are judged and shown in one table (--json writes all of it).

    Every case has its own connection and deadline. A certificate that is not trusted is reported and no obstacle.
    """
    suites = _suites(suite_options, only)
    if list_only:
        for case in chosen(suites, only):
            click.echo(f"{case.id:<48} {case.level.name:<7} {case.title}")
        return
    compares = urls[:1] == (COMPARE,)
    urls = urls[1:] if compares else urls
    if not urls or (len(urls) > 1 and not compares):
        raise click.UsageError("Name one server, as in https://localhost:8443, or several after the word compare.")
    for path in (json_path, junit_path, sarif_path, html_path):
        if path is not None and not path.absolute().parent.is_dir():
            raise click.UsageError(f"{path} cannot be written: its folder does not exist.")
    options = Options(
        jobs=jobs, only=only, ca=ca, owned_hosts=frozenset(owned_hosts), patience=Patience.of(patience),
    )  # fmt: skip
    known = baseline_file.read(baseline) if baseline is not None else frozenset()
    runs = [new_run(parse_target(url), suites) for url in urls]
    if ABUSE in suite_options or any(one.partition("/")[0] == ABUSE for one in only):
        try:
            refuse_strangers([run.target for run in runs], options.owned_hosts)
        except AttackRefused as error:
            raise click.UsageError(f"{error}.") from None
    reached = []
    for run in runs:
        progress = Progress(len(chosen(suites, only)), with_bytes=with_bytes, quiet=compares)
        try:
            judge_sync(run, replace(options, tell=progress.tell), progress)
        except TargetError as error:
            click.echo(str(error), err=True)
            continue
        finally:
            progress.clear()
        reached.append(run)
        baseline_file.apply(run, known)
        if run.interrupted:
            break
    if not reached:
        ctx.exit(UNREACHABLE)
    missing = len(reached) < len(runs) and not any(run.interrupted for run in reached)
    if compares:
        click.echo(comparison.render(reached), nl=False)
        _write(json_path, comparison.render_json(reached))
    else:
        run = reached[0]
        for line in text.summary(run, paint):
            click.echo(line)
        _write(json_path, json_report.render(run))
        _write(junit_path, junit.render(run))
        _write(sarif_path, sarif.render(run))
        _write(html_path, html.render(run))
    ctx.exit(max(exit_code(run, fail_on) for run in reached) if not missing else UNREACHABLE)


def _suites(names: tuple[str, ...], only: tuple[str, ...]) -> list[Suite]:
    """Those that were named; where only cases were, theirs; otherwise all."""
    wanted = names or tuple(dict.fromkeys(one.partition("/")[0] for one in only)) or suite_names()
    for name in wanted:
        if name not in suite_names():
            raise click.UsageError(f"There is no suite {name!r}. The suites are {', '.join(suite_names())}.")
    suites = [load_suite(name) for name in suite_names() if name in wanted]
    for one in only:
        if not chosen(suites, [one]):
            raise click.UsageError(f"--only {one}: there is no such case. `securelight conform --list` shows all.")
    return suites


def exit_code(run: Run, fail_on: str) -> int:
    """See the module."""
    if run.interrupted:
        return INTERRUPTED
    level = LEVELS.get(fail_on)
    return int(level is not None and bool(run.failures(level, new_only=True)))


def _write(path: Path | None, report: str) -> None:
    if path is not None:
        try:
            path.write_text(report, encoding="utf-8")
        except OSError as error:
            raise click.FileError(str(path), error.strerror) from None
        click.echo(f"  written  {path}")


def paint(words: str, colour: str) -> str:
    """Text in a colour; click leaves it out where the output is no terminal."""
    if colour in ("bold", "dim"):
        return click.style(words, bold=colour == "bold", dim=colour == "dim" or None)
    return click.style(words, fg=colour)


class Progress:
    """Failures as they are found; on a terminal also a line that counts, always the last."""

    def __init__(self, total: int, *, with_bytes: bool, quiet: bool = False) -> None:
        self._total = total
        self._quiet = quiet
        self._with_bytes = with_bytes
        self._done = 0
        self._live = sys.stderr.isatty()

    def __call__(self, result: Result) -> None:
        """One more result."""
        self._done += 1
        if result.outcome is Outcome.FAILED and not self._quiet:
            self.clear()
            for line in text.failure_lines(result, paint, with_bytes=self._with_bytes):
                click.echo(line)
        self.tell(result.case.id)

    def tell(self, words: str) -> None:
        """What the line says behind its count."""
        if self._live:
            click.echo(f"\r\x1b[K{self._done}/{self._total} {words}", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)
