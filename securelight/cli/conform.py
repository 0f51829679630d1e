"""`securelight conform`: judge any HTTPS server by the RFCs, and show where it falls short.

The exit code is for scripts: 0 nothing failed at the level asked for (--fail-on), 1 something did, 2 wrong usage (also
a URL, a baseline or the place of a report that cannot be used, told before anything is asked; and a disk that was full
then), 3 the server could not be reached, 130 interrupted (the reports are written all the same).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from securelight.cli.report_files import STDOUTS, finished_first, refuse_unwritable, write_report
from securelight.conformance import baseline as baseline_file
from securelight.conformance.attack_permission import refuse_strangers
from securelight.conformance.case import Level, Outcome
from securelight.conformance.dial import ANSWER_SECONDS, Patience
from securelight.conformance.reports import comparison, html, json_report, junit, sarif, text
from securelight.conformance.results import Result, Run
from securelight.conformance.runner import JOBS, Options, chosen, judge_sync, new_run
from securelight.conformance.suites import Suite, load_suite, suite_names
from securelight.conformance.target import TargetError, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from securelight.conformance.baseline import Baseline

ABUSE = "abuse"
COMPARE = "compare"
"""In the place of a URL: several servers follow, and are shown in one table."""
NOT_WRITTEN = 2
UNREACHABLE = 3
INTERRUPTED = 130
RENDERS = (json_report.render, junit.render, sarif.render, html.render)
LEVELS = {"must": Level.MUST, "should": Level.SHOULD}

EXAMPLES = """\b
Examples:
  securelight conform https://localhost:8443
  securelight conform https://localhost:8443 --suite h2 --suite hpack
  securelight conform https://localhost:8443 --only h2/6.9.1 --bytes
  securelight conform https://localhost:8443 --suite abuse
  securelight conform https://localhost:8443 --html report.html
  securelight conform https://localhost:8443 --json result.json
  securelight conform https://localhost:8443 --only 'h1/*/*-range' --json -
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
              help="Only this case, those of a section (h2/6.9.1), or of a pattern ('h2/*'); repeatable.")  # fmt: skip
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write all results as JSON.",
)
@click.option(
    "--junit", "junit_path", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), help="Write JUnit XML."
)
@click.option(
    "--sarif", "sarif_path", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), help="Write SARIF 2.1.0."
)
@click.option("--html", "html_path", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
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
    A report may go to - (standard output); what is for people is then on standard error.

    Every case has its own connection and deadline. A certificate that is not trusted is reported and no obstacle.
    """
    suites = _suites(suite_options, only)
    if list_only:
        _list(suites, only)
        return
    compares = urls[:1] == (COMPARE,)
    urls = urls[1:] if compares else urls
    if not urls or (len(urls) > 1 and not compares):
        raise click.UsageError("Name one server, as in https://localhost:8443, or several after the word compare.")
    reports = {"--json": json_path, "--junit": junit_path, "--sarif": sarif_path, "--html": html_path}
    asked = {option: path for option, path in reports.items() if path is not None}
    for option in asked:
        if compares and option != "--json":
            raise click.UsageError(f"{option} is about one server: with the word compare, --json has all of them.")
    refuse_unwritable(list(asked.values()))
    options = Options(
        jobs=jobs, only=only, ca=ca, owned_hosts=frozenset(owned_hosts), patience=Patience.of(patience),
    )  # fmt: skip
    try:
        known = baseline_file.read(baseline) if baseline is not None else None
        runs = [new_run(parse_target(url), suites) for url in urls]
        if ABUSE in suite_options or any(one.partition("/")[0] == ABUSE for one in only):
            refuse_strangers([run.target for run in runs], options.owned_hosts)
    except TargetError as error:
        raise click.UsageError(f"{text.printable(str(error))}.") from None
    aside = any(path in STDOUTS for path in asked.values())
    reached = _judge(runs, options, known, lambda: Progress(
        len(chosen(suites, only)), with_bytes=with_bytes, quiet=compares, aside=aside
    ))  # fmt: skip
    if not reached:
        ctx.exit(UNREACHABLE)
    try:
        with finished_first() as stop:
            written = _tell(reached, reports, compares=compares)
    except KeyboardInterrupt:
        ctx.exit(INTERRUPTED)
    if stop.asked:
        ctx.exit(INTERRUPTED)
    if not written:
        ctx.exit(NOT_WRITTEN)
    missing = len(reached) < len(runs) and not any(run.interrupted for run in reached)
    ctx.exit(max(exit_code(run, fail_on) for run in reached) if not missing else UNREACHABLE)


def _tell(runs: Sequence[Run], reports: Mapping[str, Path | None], *, compares: bool) -> bool:
    """The summary, and every report; whether all of them could be written."""
    aside = any(path in STDOUTS for path in reports.values())
    json_path = reports["--json"]
    if compares:
        click.echo(comparison.render(runs), nl=False, err=aside)
        return json_path is None or _write(json_path, comparison.render_json(runs), aside=aside)
    for line in text.summary(runs[0], paint):
        click.echo(line, err=aside)
    written = [
        _write(path, render(runs[0]), aside=aside)
        for path, render in zip(reports.values(), RENDERS, strict=True)
        if path is not None
    ]
    return all(written)


def _list(suites: Sequence[Suite], only: Sequence[str]) -> None:
    """A line a case, and how many there are."""
    cases = chosen(suites, only)
    for case in cases:
        click.echo(f"{case.id:<48} {case.level.name:<7} {case.title}")
    counts = [(suite.name, sum(case.suite == suite.name for case in cases)) for suite in suites]
    click.echo(f"\n{len(cases)} cases: {', '.join(f'{name} {count}' for name, count in counts if count)}")


def _judge(
    runs: Sequence[Run], options: Options, known: Baseline | None, new_progress: Callable[[], Progress]
) -> list[Run]:
    """One server after the other; returns those that were reached. Who was not is told."""
    reached = []
    for run in runs:
        progress = new_progress()
        try:
            judge_sync(run, replace(options, tell=progress.tell), progress)
        except KeyboardInterrupt:  # the second one, or one before the first case: what was found is told all the same
            run.interrupted = True
        except TargetError as error:
            progress.clear()
            click.echo(text.printable(str(error)), err=True)
            continue
        progress.clear()
        reached.append(run)
        if known is not None:
            baseline_file.apply(run, known)
        if run.interrupted:
            break
    return reached


def _suites(names: tuple[str, ...], only: tuple[str, ...]) -> list[Suite]:
    """Those that were named; where only cases were, theirs; otherwise all."""
    wanted = set(names or ([] if only else suite_names()))
    for one in () if names else only:
        first = one.partition("/")[0]
        found = {name for name in suite_names() if fnmatchcase(name, first)}
        if not found:
            raise click.UsageError(f"There is no suite {first!r}. The suites are {', '.join(suite_names())}.")
        wanted |= found
    suites = [load_suite(name) for name in suite_names() if name in wanted]
    for one in only:
        if not chosen(suites, [one]):
            where = f" in {', '.join(names)}" if names else ""
            raise click.UsageError(
                f"--only {one}: there is no such case{where}. `securelight conform --list` shows all."
            )
    return suites


def exit_code(run: Run, fail_on: str) -> int:
    """See the module."""
    if run.interrupted:
        return INTERRUPTED
    level = LEVELS.get(fail_on)
    return int(level is not None and bool(run.failures(level, new_only=True)))


def _write(path: Path, report: str, *, aside: bool) -> bool:
    """Whether it could be written; if not, that is told, and the other reports still have their turn."""
    try:
        write_report(path, report)
    except OSError as error:
        click.echo(f"{text.printable(str(path))} could not be written: {error.strerror}", err=True)
        return False
    if path not in STDOUTS:
        click.echo(f"  written  {path}", err=aside)
    return True


def paint(words: str, colour: str) -> str:
    """Text in a colour; click leaves it out where the output is no terminal."""
    if colour in ("bold", "dim"):
        return click.style(words, bold=colour == "bold", dim=colour == "dim" or None)
    return click.style(words, fg=colour)


class Progress:
    """Failures as they are found; on a terminal also a line that counts, always the last.

    With `aside` everything goes to standard error, because standard output belongs to a report.
    """

    def __init__(self, total: int, *, with_bytes: bool, quiet: bool = False, aside: bool = False) -> None:
        self._total = total
        self._quiet = quiet
        self._aside = aside
        self._with_bytes = with_bytes
        self._done = 0
        self._live = sys.stderr.isatty()

    def __call__(self, result: Result) -> None:
        """One more result."""
        self._done += 1
        if result.outcome is Outcome.FAILED and not self._quiet:
            self.clear()
            for line in text.failure_lines(result, paint, with_bytes=self._with_bytes):
                click.echo(line, err=self._aside)
        self.tell(result.case.id)

    def tell(self, words: str) -> None:
        """What the line says behind its count."""
        if self._live:
            click.echo(f"\r\x1b[K{self._done}/{self._total} {words}", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)
