"""Where reports go: tried before minutes of work, and written whole or not at all.

`-` is standard output, and so is /dev/stdout. What is no regular file (a pipe, /dev/stderr) is written to as it is; a
file is replaced in one step, so that nobody ever reads half of a report, whatever happens while it is written.
"""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from securelight.config.faults import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

STDOUTS = frozenset({Path("-"), Path("/dev/stdout")})


def refuse_unwritable(paths: Sequence[Path]) -> None:
    """Try every place, and leave no trace there.

    Errors: click.UsageError, which names the path, for the first that no report could be written to, or that two would.
    """
    seen: set[Path] = set()
    for path in paths:
        where = Path("-") if path in STDOUTS else path.resolve()
        if where in seen and (path in STDOUTS or not _is_special(path)):
            raise click.UsageError(f"{_shown(path)} is named for two reports: each needs a file of its own.")
        seen.add(where)
        if path not in STDOUTS:
            _refuse_unwritable(path, where)


def _refuse_unwritable(path: Path, where: Path) -> None:
    if path.exists() and not os.access(path, os.W_OK):
        raise click.UsageError(f"{_shown(path)} cannot be written: you may not change it.")
    if _is_special(path):
        return
    if not where.parent.is_dir():
        raise click.UsageError(f"{_shown(path)} cannot be written: its folder does not exist.")
    try:
        descriptor, name = _beside(where)
    except OSError as error:
        raise click.UsageError(f"{_shown(path)} cannot be written: {error.strerror} (in its folder).") from None
    os.close(descriptor)
    Path(name).unlink(missing_ok=True)


def write_report(path: Path, report: str) -> None:
    """Write it.

    Errors: OSError; then what was in a file before is still there.
    """
    if path in STDOUTS:
        click.echo(report, nl=False)
    elif _is_special(path):
        path.write_text(report, encoding="utf-8")
    else:
        _replace(path.resolve(), report.encode("utf-8"))


def _replace(where: Path, content: bytes) -> None:
    descriptor, name = _beside(where)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), _mode(where))
        os.replace(name, where)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _beside(where: Path) -> tuple[int, str]:
    return tempfile.mkstemp(dir=where.parent, prefix=".report-")  # a name of its own: the report's may be of 255 bytes


def _mode(where: Path) -> int:
    """That of the file which is replaced, or of any new file."""
    with suppress(FileNotFoundError):
        return where.stat().st_mode & 0o777
    mask = os.umask(0)  # there is no other way to ask for it
    os.umask(mask)
    return 0o666 & ~mask


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _shown(path: Path) -> str:
    return printable(str(path))


class Stop:
    """Whether somebody asked to stop."""

    asked = False


@contextmanager
def finished_first() -> Iterator[Stop]:
    """SIGINT and SIGTERM wait until what is inside is done, once: the second one is a KeyboardInterrupt at once.

    A pipe that nobody reads would otherwise be waited for without a way out.
    """
    stop = Stop()

    def note(_number: int, _frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
