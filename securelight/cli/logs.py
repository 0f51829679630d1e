"""`securelight logs`: the access log as it is written, in colour; across rotation, until interrupted.

Reads lines of the formats with a name, and those of the configuration's template; shows others as they are. What is not
printable is shown escaped: a log may hold what clients sent. The journal is read by journalctl.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from securelight.config.faults import quoted
from securelight.config.load import load
from securelight.config.log_settings import STANDARD
from securelight.config.log_template import NAMED, parts_of, template_of
from securelight.config.logs import FEATURE_NAME, Output, logs_of
from securelight.features import FEATURES
from securelight.model.errors import SecurelightError

_FIELDS = {
    "status": "[0-9]{3}",
    "bytes": "[0-9]+",
    "duration_ms": r"[0-9.]+",
    "time": r"[^\[\]\"]{20,40}",
}
_SHOWN_FIELDS = frozenset({"client_address", "time", "time_iso", "time_unix", "request", "method", "target", "path"})
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a1-\u061b\u061d-\u200a\u2010-\u2027\u2030-\u205f\u2070-\ufefe]")
_COLOURS = {"2": "green", "3": "cyan", "4": "yellow", "5": "red"}
_LOOK_SECONDS = 0.25
_TAIL_BYTES = 8 << 20
"""How far from the end the last lines are looked for."""
_LINE_BYTES = 65_536
"""Longer lines are shown cut."""


EPILOG: Final = """\b
Examples:
  securelight logs                              the log of ./securelight.toml, and what comes
  securelight logs --status 5xx -n 100          errors alone
  securelight logs --no-follow access.log       what is there
  securelight logs --host shop.example.org      the log of that site, where it has its own

\b
Exit codes:
  0  shown, or ended with Ctrl-C
  1  the log cannot be read, or the configuration names no file
  2  the command was not understood
"""


class Line:
    """One request of the log.

    Args:
        text: the line.
        patterns: of the formats that it may have, beside `json`; see `pattern_of`.

    Attributes:
        status: empty if the line is of another format.
    """

    def __init__(self, text: str, patterns: Sequence[re.Pattern[str]] = ()) -> None:
        self.text = text
        self.status = ""
        self._parts: tuple[str, str, str, str] = ("", "", "", "")
        if text.startswith("{"):
            self._read_json(text)
        else:
            match = next((found for one in (*patterns, *_NAMED) if (found := one.fullmatch(text))), None)
            if match is not None:
                self._read(match.groupdict())

    def _read(self, values: dict[str, str]) -> None:
        self.status = values.get("status", "")
        when = values.get("time") or values.get("time_iso") or values.get("time_unix", "")
        target = values.get("target") or values.get("path", "")
        request = values.get("request") or f"{values.get('method', '')} {target}".strip()
        costs = [f"{values['bytes']} bytes"] if "bytes" in values else []
        costs += [f"{values['duration_ms']} ms"] if "duration_ms" in values else []
        self._parts = when, values.get("client_address", ""), request, ", ".join(costs)

    def _read_json(self, text: str) -> None:
        try:
            values = msgspec.json.decode(
                text.encode(), type=dict[str, str | int | float | bool | dict[str, str] | None]
            )
        except msgspec.MsgspecError:
            return
        self.status = str(values.get("status", ""))
        request = f"{values.get('method')} {values.get('host')}{values.get('target')} {values.get('protocol')}"
        cost = f"{values.get('bytes')} bytes, {values.get('duration_ms')} ms"
        self._parts = str(values.get("time")), str(values.get("client")), request, cost

    def styled(self) -> str:
        """As it is shown."""
        if not self.status:
            return _shown(self.text)
        when, client, request, cost = map(_shown, self._parts)
        colour = _COLOURS.get(self.status[0], "white")
        rest = ", ".join(filter(None, (cost, client)))
        pieces = (
            click.style(when, dim=True) if when else "",
            click.style(_shown(self.status), fg=colour, bold=True),
            request,
            click.style(rest, dim=True) if rest else "",
        )
        return " ".join(filter(None, pieces))


def pattern_of(form: str) -> re.Pattern[str] | None:
    """What lines of the format `form`, a name or a template, look like; None for what has no status to show."""
    parts = parts_of(template_of(form))
    if "status" not in {part.field for part in parts}:
        return None
    seen: set[str] = set()
    quotes = 0
    pattern = ""
    for part in parts:
        quotes += part.literal.count('"')
        if not part.field:
            pattern += re.escape(part.literal)
            continue
        text = _FIELDS.get(part.field) or ('[^"]*' if quotes % 2 else ".+?" if part.field == "request" else r"\S+?")
        name = part.field if part.field in _SHOWN_FIELDS or part.field in _FIELDS else ""
        pattern += f"(?P<{name}>{text})" if name and name not in seen else f"(?:{text})"
        seen.add(name)
    return re.compile(pattern)


_NAMED = tuple(pattern for name in NAMED if (pattern := pattern_of(name)) is not None)


def _shown(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """(the last whole lines, where they end).

    Errors: OSError.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        data = file.read(size - start)
    whole = data[: data.rfind(b"\n") + 1]
    lines = deque(whole.splitlines(), count)
    return [line[:_LINE_BYTES].decode("utf-8", "replace") for line in lines], start + len(whole)


def follow(path: Path, offset: int, wait: Callable[[], None]) -> Generator[str, None, None]:
    """The lines behind `offset`, for ever; those of the next file too once the log is rotated."""
    file = path.open("rb")
    try:
        file.seek(offset)
        rest = b""
        while True:
            data = file.read(_LINE_BYTES)
            if data:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield line[:_LINE_BYTES].decode("utf-8", "replace")
                rest = rest[-_LINE_BYTES:]
                continue
            wait()
            try:
                now = path.stat()
            except FileNotFoundError:
                continue
            if now.st_ino != os.fstat(file.fileno()).st_ino or now.st_size < file.tell():
                if file.read(1):
                    file.seek(-1, os.SEEK_CUR)
                    continue
                file.close()
                file, rest = path.open("rb"), b""
    finally:
        file.close()


def _matches(line: Line, status: str) -> bool:
    return not status or all(want in ("x", "X", have) for want, have in zip(status, line.status.ljust(3), strict=True))


@click.command(epilog=EPILOG, short_help="Show the access log as it is written, in colour.")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(exists=True, path_type=Path),
    help="The configuration that names the log; by default ./securelight.toml.",
)
@click.option("-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="Of what is there already.")
@click.option("--follow/--no-follow", "following", default=True, help="Go on with what is written from now on.")
@click.option("--status", default="", metavar="CODE", help="Only these, such as 404 or 5xx.")
@click.option("--host", default="", metavar="NAME", help="The log of the site with this host, where it has its own.")
def command(file: Path | None, path: Path | None, lines: int, following: bool, status: str, host: str) -> None:
    """Show the access log FILE, or that of a configuration, as it is written.

    Rotated logs are followed. Ctrl-C ends it.
    """
    if status and not re.fullmatch(r"[1-5][0-9xX]{2}", status):
        raise click.UsageError(f"--status {status!r}: write a code such as 404, or 5xx")
    output, form = Output("file", (str(file),)), ""
    if file is None:
        output, form = _configured(path or Path("securelight.toml"), host)
    pattern = pattern_of(form) if form else None
    patterns = () if pattern is None else (pattern,)
    if output.kind == "journal":
        _show_journal(lines, patterns, status, following=following)
        return
    log = Path(output.target[0])
    try:
        before, offset = last_lines(log, lines if not status else 1_000_000)
        chosen = [line for line in (Line(text, patterns) for text in before) if _matches(line, status)]
        for line in chosen[len(chosen) - min(lines, len(chosen)) :]:
            click.echo(line.styled())
        if following:
            for text in follow(log, offset, lambda: time.sleep(_LOOK_SECONDS)):
                line = Line(text, patterns)
                if _matches(line, status):
                    click.echo(line.styled())
    except OSError as error:
        raise SecurelightError(f"{log}: {error.strerror}") from error
    except KeyboardInterrupt:
        pass


def _show_journal(count: int, patterns: Sequence[re.Pattern[str]], status: str, *, following: bool) -> None:
    """What journald has of us."""
    arguments = ["journalctl", "--identifier=securelight", "--output=cat", f"--lines={count}"]
    program = shutil.which(arguments[0])
    if program is None:
        raise SecurelightError("the access log goes to the journal, and there is no journalctl here to read it")
    process = subprocess.Popen(  # noqa: S603 - by its full path, without a shell
        [program, *arguments[1:], *(["--follow"] if following else [])],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        for text in process.stdout or ():
            line = Line(text.rstrip("\n")[:_LINE_BYTES], patterns)
            if _matches(line, status):
                click.echo(line.styled())
    except KeyboardInterrupt:
        pass
    finally:
        process.terminate()
        process.communicate()


def _configured(path: Path, host: str) -> tuple[Output, str]:
    """(where the log goes, its format) of the site with `host`, or of the server."""
    config = load(path, FEATURES, os.environ)
    logs = logs_of(config)
    own = {name: item.where for site in config.sites for route in site.routes for item in route.features
           if item.name == FEATURE_NAME for name in site.hosts}  # fmt: skip
    if host and host not in {name for site in config.sites for name in site.hosts}:
        raise SecurelightError(f"{path}: no site has the host {quoted(host)}")
    log = logs[own.get(host, "")]
    output = log.output
    if output is None or output.target == (STANDARD,):
        raise SecurelightError(f"{path}: the access log goes to no file ({log.where}.file)")
    if output.kind == "syslog":
        raise SecurelightError(f"{path}: the access log goes to syslog, {output.target[0]}, which knows its file")
    if output.kind == "command":
        raise SecurelightError(f"{path}: the access log goes to the program {quoted(output.target[0])}")
    return output, log.form
