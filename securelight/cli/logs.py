"""`securelight logs`: the access log as it is written, in colour; across rotation, until interrupted.

Reads lines of both formats, `combined` and `json`, and shows others as they are. What is not printable is shown
escaped: a log may hold what clients sent.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from securelight.config.load import load
from securelight.features import FEATURES
from securelight.model.errors import SecurelightError

_COMBINED = re.compile(
    r'(?P<client>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]*)\] "(?P<request>[^"]*)" (?P<status>[0-9]{3}) '
    r"(?P<bytes>[0-9]+)"
)
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

\b
Exit codes:
  0  shown, or ended with Ctrl-C
  1  the log cannot be read, or the configuration names no file
  2  the command was not understood
"""


class Line:
    """One request of the log.

    Attributes:
        status: empty if the line is of another format.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.status = ""
        self._parts: tuple[str, str, str, str] = ("", "", "", "")
        if text.startswith("{"):
            self._read_json(text)
        else:
            match = _COMBINED.match(text)
            if match is not None:
                self.status = match["status"]
                self._parts = match["time"], match["client"], match["request"], f"{match['bytes']} bytes"

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
        return " ".join(
            (
                click.style(when, dim=True),
                click.style(_shown(self.status), fg=colour, bold=True),
                request,
                click.style(f"{cost}, {client}", dim=True),
            )
        )


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


def follow(path: Path, offset: int, wait: Callable[[], None]) -> Iterator[str]:
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
def command(file: Path | None, path: Path | None, lines: int, following: bool, status: str) -> None:
    """Show the access log FILE, or that of a configuration, as it is written.

    Rotated logs are followed. Ctrl-C ends it.
    """
    if status and not re.fullmatch(r"[1-5][0-9xX]{2}", status):
        raise click.UsageError(f"--status {status!r}: write a code such as 404, or 5xx")
    log = file or _configured(path or Path("securelight.toml"))
    try:
        before, offset = last_lines(log, lines if not status else 1_000_000)
        chosen = [line for line in map(Line, before) if _matches(line, status)]
        for line in chosen[len(chosen) - min(lines, len(chosen)) :]:
            click.echo(line.styled())
        if following:
            for text in follow(log, offset, lambda: time.sleep(_LOOK_SECONDS)):
                line = Line(text)
                if _matches(line, status):
                    click.echo(line.styled())
    except OSError as error:
        raise SecurelightError(f"{log}: {error.strerror}") from error
    except KeyboardInterrupt:
        pass


def _configured(path: Path) -> Path:
    config = load(path, FEATURES, os.environ)
    settings = config.server.access_log
    if settings.format == "off" or settings.file == "-":
        raise SecurelightError(f"{path}: the access log goes to no file (server.access_log.file)")
    return config.base / settings.file
